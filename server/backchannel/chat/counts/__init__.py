"""Receipts, unread counts with their checksum, and what changed since a position."""
