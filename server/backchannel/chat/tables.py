"""Chat's own tables."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["channels", "members", "messages", "metadata"]

metadata = sa.MetaData()

channels = sa.Table(
    "chat_channels",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("public", sa.Boolean, nullable=False),
    sa.Column("creator", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Index("chat_channels_public", "app", "public", "name", "channel"),
)

members = sa.Table(
    "chat_members",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("joined", sa.BigInteger, nullable=False),
    sa.Index("chat_members_user", "app", "user", "channel"),
)

messages = sa.Table(
    "chat_messages",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
)
"""The messages, in the order of `seq`: dense per channel, counted by the counter `chat.seq:<channel>`."""
