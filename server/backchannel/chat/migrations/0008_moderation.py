"""Word lists, reports, audit."""

from __future__ import annotations

revision = "chat_0008"
down_revision = "chat_0007"


def upgrade() -> None:
    """Make the tables."""
