"""Tables of channels: invitations, join links, counters, what operators changed of a type's rules."""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["counters", "invitations", "links", "types"]

invitations = sa.Table(
    "chat_invitations",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_invitations_user", "app", "user", "time", "channel"),
)
"""Who is invited and has not answered. A row goes with the answer."""

links = sa.Table(
    "chat_links",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("uses", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Index("chat_links_code", "app", "code", unique=True),
)
"""Codes by which whoever has one may join. `expires` (0: never) and `uses` (how often; 0: any number) end it."""

counters = sa.Table(
    "chat_counters",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
"""Numbers that a channel counts, changed under its lane."""

types = sa.Table(
    "chat_types",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("rules", sa.Text, nullable=False),
)
"""What operators changed of the types' rules (`rules.Override`, JSON); `chat_channels.type_rules` says the same. Who
makes a channel shares the type's row until the commit, who changes it has it alone."""
