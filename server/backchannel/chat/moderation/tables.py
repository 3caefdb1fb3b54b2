"""Tables of moderation: restraints, word lists, reports, what moderators did."""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["acts", "cases", "filter_heads", "filters", "paces", "reports", "restraints", "settling"]

restraints = sa.Table(
    "chat_restraints",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_restraints_user", "app", "user"),
)
"""Who is silenced or shadowed (`kind`: `silence`, `shadow`) until when, in one channel or, where `channel` is `*`, in
all. The columns `silenced` and `shadowed` of `chat_members` say the same, for who is a member."""

settling = sa.Table(
    "chat_settling",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("due", sa.BigInteger, nullable=False),
)
"""Whose rows in `chat_members` are set again, once whatever ran beside an act that holds everywhere has ended."""

paces = sa.Table(
    "chat_paces",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_paces_time", "app", "time"),
)
"""When a user who is no member last sent, where there is slow mode; a member's row has `last_sent` for it."""

filters = sa.Table(
    "chat_filters",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("entries", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
)
"""Lists of words, domains and regular expressions (`entries`: JSON). `scope` is a channel, `type:` with a type of
channels, or `*`."""

filter_heads = sa.Table(
    "chat_filter_heads",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("digests", sa.Text, nullable=False),
)
"""The digests of the lists of each scope that is no channel (JSON): what a new channel begins with. Whoever changes
such lists holds the row until the commit, and who makes a channel shares it."""

cases = sa.Table(
    "chat_cases",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger),
    sa.Column("content", sa.Text),
    sa.Column("reports", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("opened", sa.BigInteger, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed", sa.BigInteger),
    sa.Column("resolved_by", sa.Text),
    sa.Column("resolved", sa.BigInteger),
    sa.Column("verdict", sa.Text),
    sa.Column("note", sa.Text),
    sa.Index("chat_cases_subject", "app", "channel", "subject", unique=True),
    sa.Index("chat_cases_queue", "app", "channel", "state", "opened", "id"),
    sa.Index("chat_cases_all", "app", "state", "opened", "id"),
)
"""What was reported, once per subject (`message:7`, `user:bob`, `channel`); `content` keeps what a message said when it
was first reported (JSON). `state`: `open`, `claimed`, `resolved`; a new report opens a resolved case again."""

reports = sa.Table(
    "chat_reports",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("case", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
)
"""Who reported what, and why. A word list that flags reports as the user `""`."""

acts = sa.Table(
    "chat_acts",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_acts_actor", "app", "actor", "time", "channel", "seq"),
    sa.Index("chat_acts_target", "app", "target", "time", "channel", "seq"),
    sa.Index("chat_acts_time", "app", "time", "channel", "seq"),
)
"""Every act of a moderator: who (`key:` with the id of an API key that acts for itself), what, to whom, why, and what
was so before and after (JSON). `seq` counts the acts of a channel from 1, those that hold everywhere under `*`; nothing
changes a row or takes it away."""
