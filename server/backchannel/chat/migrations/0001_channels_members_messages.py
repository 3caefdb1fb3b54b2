"""Channels, members, messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chat_channels",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("public", sa.Boolean, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_channels_public", "chat_channels", ["app", "public", "name", "channel"])
    op.create_table(
        "chat_members",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("joined", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_members_user", "chat_members", ["app", "user", "channel"])
    op.create_table(
        "chat_messages",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
