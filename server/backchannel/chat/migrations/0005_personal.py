"""Drafts, scheduled messages, reminders, saved messages, polls."""

from __future__ import annotations

revision = "chat_0005"
down_revision = "chat_0004"


def upgrade() -> None:
    """Make the tables."""
