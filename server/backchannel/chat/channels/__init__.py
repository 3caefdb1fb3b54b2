"""Channels and their members: create, change, join, leave, invite, list."""
