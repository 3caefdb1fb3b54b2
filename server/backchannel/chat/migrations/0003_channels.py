"""Invitations, join links, counters, types that were changed."""

from __future__ import annotations

revision = "chat_0003"
down_revision = "chat_0002"


def upgrade() -> None:
    """Make the tables."""
