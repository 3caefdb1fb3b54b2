"""Invitations, join links, counters, types that were changed; until which message a channel is hidden."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0003"
down_revision = "chat_0002"


def upgrade() -> None:
    """Make the tables."""
    for name in ("hidden_seq", "events_from"):
        op.add_column("chat_members", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("chat_members_role", "chat_members", ["app", "channel", "role", "user"])
    op.create_table(
        "chat_invitations",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_invitations_user", "chat_invitations", ["app", "user", "time", "channel"])
    op.create_table(
        "chat_links",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("code", sa.Text, primary_key=True),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("uses", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_links_code", "chat_links", ["app", "code"], unique=True)
    op.create_table(
        "chat_counters",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_types",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, primary_key=True),
        sa.Column("rules", sa.Text, nullable=False),
    )
