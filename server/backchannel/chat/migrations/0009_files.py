"""Uploads and files."""

from __future__ import annotations

revision = "chat_0009"
down_revision = "chat_0008"


def upgrade() -> None:
    """Make the tables."""
