"""Where people have read in threads, and which channels' receipts are still to be told."""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["receipts_told", "thread_reads"]

thread_reads = sa.Table(
    "chat_thread_reads",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("read_seq", sa.BigInteger, nullable=False),
)
"""Up to where a user has read the thread of the message `seq`. Written under the channel's lane."""

receipts_told = sa.Table(
    "chat_receipts_told",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("told", sa.BigInteger, nullable=False),
    sa.Column("due", sa.BigInteger),
    sa.Index(
        "chat_receipts_due",
        "app",
        "due",
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    ),
)
"""Large channels, whose receipts are told as sums and not more often than every few seconds: when they were told last
(Unix milliseconds), and when what has changed since is to be told; NULL: nothing has."""
