"""Carries commands and queries to workers and replies back."""
