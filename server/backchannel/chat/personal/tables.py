"""Tables of what users keep, and of polls.

Drafts, reminders and saved messages are written under their user's lane; scheduled messages and votes under the
channel's, so that what is sent, taken back and voted at once comes one after the other.
"""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["drafts", "poll_votes", "polls", "reminders", "saved", "scheduled"]

drafts = sa.Table(
    "chat_drafts",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("parent", sa.BigInteger, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("data", sa.Text),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Index("chat_drafts_changed", "app", "user", "changed", "channel", "parent"),
)
"""What a user has begun to write in a channel, or in the thread of its message `parent` (0: in none)."""

scheduled = sa.Table(
    "chat_scheduled",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Index("chat_scheduled_list", "app", "user", "due", "id"),
    sa.Index(
        "chat_scheduled_due",
        "app",
        "due",
        sqlite_where=sa.text("code IS NULL"),
        postgresql_where=sa.text("code IS NULL"),
    ),
)
"""Messages that are to be sent later: `message` is the JSON of `message.send`. What was sent has no row any more; what
was refused keeps it, with the refusal's `code` and the `reason` in words."""

reminders = sa.Table(
    "chat_reminders",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text),
    sa.Column("seq", sa.BigInteger),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("told", sa.BigInteger),
    sa.Index("chat_reminders_list", "app", "user", "due", "id"),
    sa.Index(
        "chat_reminders_due",
        "app",
        "due",
        sqlite_where=sa.text("told IS NULL"),
        postgresql_where=sa.text("told IS NULL"),
    ),
)
"""What a user wants to be reminded of, of a message or of anything; `told` is when they were."""

saved = sa.Table(
    "chat_saved",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("saved", sa.BigInteger, nullable=False),
    sa.Index("chat_saved_list", "app", "user", "saved", "channel", "seq"),
    sa.Index("chat_saved_folder", "app", "user", "folder", "saved", "channel", "seq"),
)
"""Messages that a user keeps, in a folder (none: an empty name), with a note of their own."""

polls = sa.Table(
    "chat_polls",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("closes", sa.BigInteger),
    sa.Column("closed", sa.BigInteger),
    sa.Index(
        "chat_polls_due",
        "app",
        "closes",
        sqlite_where=sa.text("closed IS NULL AND closes IS NOT NULL"),
        postgresql_where=sa.text("closed IS NULL AND closes IS NOT NULL"),
    ),
)
"""Whose poll a message is, and when it closes by itself. What it is, with how many votes each option has, is the
message's `data` (`poll_contract.PollState`): it is counted under the channel's lane, together with the votes."""

poll_votes = sa.Table(
    "chat_poll_votes",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("option", sa.BigInteger, primary_key=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_poll_votes_option", "app", "channel", "seq", "option", "user"),
    sa.Index("chat_poll_votes_user", "app", "user"),
)
"""Who voted for what."""
