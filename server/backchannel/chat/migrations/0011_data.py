"""Exports, retention."""

from __future__ import annotations

revision = "chat_0011"
down_revision = "chat_0010"


def upgrade() -> None:
    """Make the tables."""
