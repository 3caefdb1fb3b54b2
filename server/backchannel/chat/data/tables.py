"""Tables of data: how long messages are kept, what is held, which users are being erased."""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["erasures", "holds", "retained", "retention"]

retention = sa.Table(
    "chat_retention",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("days", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
)
"""How many days messages are kept (0: for ever). `scope` is a channel, `type:` with a type of channels, or `*`; the
nearest one holds."""

retained = sa.Table(
    "chat_retained",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Index("chat_retained_due", "app", "due"),
)
"""How far retention has come in the channels that it holds for: messages up to `seq` are dealt with, and the next one
is at `due`. A row that is missing is made; a change of the rules takes rows away."""

holds = sa.Table(
    "chat_holds",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
)
"""Channels on legal hold: nothing in them expires, ages out or is erased."""

erasures = sa.Table(
    "chat_erasures",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("ghost", sa.Text, nullable=False),
    sa.Column("messages", sa.Text, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("finished", sa.BigInteger),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("chat_erasures_user", "app", "user"),
    sa.Index(
        "chat_erasures_open",
        "app",
        "started",
        sqlite_where=sa.text("finished IS NULL"),
        postgresql_where=sa.text("finished IS NULL"),
    ),
)
"""Users who are being erased, and who stands in their place (`ghost`). What is `finished` names nobody any more."""
