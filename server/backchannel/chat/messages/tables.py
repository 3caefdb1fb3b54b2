"""What hangs on messages. Rows of one user for themselves have the user before the channel in their key.

All of it is written under the channel's lane, but `hidden`, which is the user's own.
"""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["edits", "followers", "hidden", "mentions", "pins", "reaction_counts", "reactions", "threads"]

mentions = sa.Table(
    "chat_mentions",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Index("chat_mentions_message", "app", "channel", "seq"),
)
"""Who a message mentions: a user by name, `*` for all who read the channel, `role:<role>` for a role's members."""

hidden = sa.Table(
    "chat_hidden",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
)
"""Messages that one user deleted for themselves alone."""

edits = sa.Table(
    "chat_edits",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("edit", sa.BigInteger, primary_key=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("data", sa.Text),
    sa.Column("mentions", sa.Text),
)
"""What a message said until its edit number `edit`, which `user` made at `time`."""

reactions = sa.Table(
    "chat_reactions",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("emoji", sa.Text, primary_key=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_reactions_time", "app", "channel", "seq", "time", "user", "emoji"),
    sa.Index("chat_reactions_emoji", "app", "channel", "seq", "emoji", "time", "user"),
)
"""Who reacted with what."""

reaction_counts = sa.Table(
    "chat_reaction_counts",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("emoji", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("place", sa.BigInteger, nullable=False),
)
"""How many rows of `reactions` a message has for an emoji, so that what everybody reacts to is not counted each time;
`place` is its place among the message's emoji. There is none for 0."""

threads = sa.Table(
    "chat_threads",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("replies", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sa.Column("last_time", sa.BigInteger, nullable=False),
    sa.Column("users", sa.Text, nullable=False),
    sa.Index("chat_threads_last", "app", "channel", "last_seq"),
)
"""Messages that were answered: how often, without what is deleted or shadowed, and when last; `users` are the last five
who did (JSON), the latest first."""

followers = sa.Table(
    "chat_followers",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("following", sa.Boolean, nullable=False),
    sa.Index("chat_followers_thread", "app", "channel", "seq", "user"),
)
"""Who follows the thread of a message. `following` is false for who stopped."""

pins = sa.Table(
    "chat_pins",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_pins_time", "app", "channel", "time", "seq"),
)
"""The messages that are pinned to a channel."""
