"""Full-text indexes."""

from __future__ import annotations

revision = "chat_0010"
down_revision = "chat_0009"


def upgrade() -> None:
    """Make the tables."""
