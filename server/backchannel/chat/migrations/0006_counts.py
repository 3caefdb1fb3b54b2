"""What receipts and changes need."""

from __future__ import annotations

revision = "chat_0006"
down_revision = "chat_0005"


def upgrade() -> None:
    """Make the tables."""
