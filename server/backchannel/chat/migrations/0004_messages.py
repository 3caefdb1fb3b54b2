"""Reactions, threads, pins, mentions, edits, messages hidden for one."""

from __future__ import annotations

revision = "chat_0004"
down_revision = "chat_0003"


def upgrade() -> None:
    """Make the tables."""
