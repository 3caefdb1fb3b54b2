"""Profiles, devices, preferences, blocks, status."""

from __future__ import annotations

revision = "chat_0007"
down_revision = "chat_0006"


def upgrade() -> None:
    """Make the tables."""
