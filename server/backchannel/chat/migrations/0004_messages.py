"""Reactions, threads, pins, mentions, edits, messages hidden for one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0004"
down_revision = "chat_0003"


def upgrade() -> None:
    """Make the tables."""
    op.create_table("chat_mentions", *_key("user", "channel", "seq"))
    op.create_index("chat_mentions_message", "chat_mentions", ["app", "channel", "seq"])
    op.create_table("chat_hidden", *_key("user", "channel", "seq"))
    op.create_table(
        "chat_edits",
        *_key("channel", "seq", "edit"),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.Text),
        sa.Column("mentions", sa.Text),
    )
    op.create_table(
        "chat_reactions",
        *_key("channel", "seq", "user", "emoji"),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_reactions_time", "chat_reactions", ["app", "channel", "seq", "time", "user", "emoji"])
    op.create_index("chat_reactions_emoji", "chat_reactions", ["app", "channel", "seq", "emoji", "time", "user"])
    op.create_table(
        "chat_reaction_counts",
        *_key("channel", "seq", "emoji"),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_threads",
        *_key("channel", "seq"),
        sa.Column("replies", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("last_time", sa.BigInteger, nullable=False),
        sa.Column("users", sa.Text, nullable=False),
    )
    op.create_index("chat_threads_last", "chat_threads", ["app", "channel", "last_seq"])
    op.create_table(
        "chat_followers",
        *_key("user", "channel", "seq"),
        sa.Column("following", sa.Boolean, nullable=False),
    )
    op.create_index("chat_followers_thread", "chat_followers", ["app", "channel", "seq", "user"])
    op.create_table(
        "chat_pins",
        *_key("channel", "seq"),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_pins_time", "chat_pins", ["app", "channel", "time", "seq"])


def _key(*names: str) -> list[sa.Column[object]]:
    numbers = ("seq", "edit")
    return [
        sa.Column(name, sa.BigInteger if name in numbers else sa.Text, primary_key=True) for name in ("app", *names)
    ]
