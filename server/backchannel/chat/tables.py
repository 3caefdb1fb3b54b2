"""The tables that all of chat stands on: channels, members, messages. The areas add their own to the same metadata."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["bans", "channels", "members", "messages", "metadata"]

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
    sa.Column("type", sa.Text, nullable=False, server_default="group"),
    sa.Column("topic", sa.Text, nullable=False, server_default=""),
    sa.Column("cover", sa.Text, nullable=False, server_default=""),
    sa.Column("data", sa.Text, nullable=False, server_default="{}"),
    sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("deleted", sa.BigInteger),
    sa.Column("member_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("type_rules", sa.Text, nullable=False, server_default="{}"),
    sa.Column("rules", sa.Text, nullable=False, server_default="{}"),
    sa.Column("filters", sa.Text, nullable=False, server_default=""),
    sa.Index("chat_channels_public", "app", "public", "name", "channel"),
    sa.Index("chat_channels_type", "app", "type"),
)
"""`type_rules` and `rules` hold what was changed of the type's rules (`rules.Override`, JSON), for all channels of the
type and for this one; `filters` names the word lists that hold here, by a digest of what they contain, or is empty."""

members = sa.Table(
    "chat_members",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("joined", sa.BigInteger, nullable=False),
    sa.Column("data", sa.Text, nullable=False, server_default="{}"),
    sa.Column("history_from", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("events_from", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("read_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("read_time", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("delivered_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("hidden_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("pinned", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("muted", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("silenced", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("shadowed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("banned", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_sent", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("chat_members_user", "app", "user", "channel"),
    sa.Index("chat_members_role", "app", "channel", "role", "user"),
    sa.Index("chat_members_read", "app", "channel", "read_seq", "user"),
    sa.Index("chat_members_delivered", "app", "channel", "delivered_seq", "user"),
)
"""`hidden`, `archived`, `pinned` (when, for the order; 0: not) and `muted` (until when; 0: not) are the member's own
wishes; what is `hidden` is so until a message comes behind `hidden_seq`. `silenced` (until when; 0: not) and `shadowed`
are the moderators', `banned` (until when; 0: not) the operators'. Messages up to `history_from`, and events
up to the offset `events_from`, are not theirs to see. `last_sent` is kept where there is slow mode."""

bans = sa.Table(
    "chat_bans",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_bans_user", "app", "user"),
)
"""Who may not come (back) into a channel, or, where `channel` is `*`, into any. A banned user is no member; for a ban
from everything, which may end, the memberships stay with `banned` set."""

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
    sa.Column("type", sa.Text, nullable=False, server_default="text"),
    sa.Column("data", sa.Text),
    sa.Column("parent", sa.BigInteger),
    sa.Column("shown", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("counted", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("silent", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("shadow", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("quote", sa.BigInteger),
    sa.Column("forwarded", sa.Text),
    sa.Column("mentions", sa.Text),
    sa.Column("files", sa.Text),
    sa.Column("links", sa.Text),
    sa.Column("edited", sa.BigInteger),
    sa.Column("edits", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("deleted", sa.BigInteger),
    sa.Column("deleted_by", sa.Text),
    sa.Column("expires", sa.BigInteger),
    sa.Index("chat_messages_user", "app", "user", "channel", "seq", "counted"),
    sa.Index(
        "chat_messages_uncounted",
        "app",
        "channel",
        "seq",
        "counted",
        sqlite_where=sa.text("NOT counted"),
        postgresql_where=sa.text("NOT counted"),
    ),
    sa.Index(
        "chat_messages_replies",
        "app",
        "channel",
        "parent",
        "seq",
        sqlite_where=sa.text("parent IS NOT NULL"),
        postgresql_where=sa.text("parent IS NOT NULL"),
    ),
    sa.Index(
        "chat_messages_expiring",
        "app",
        "expires",
        sqlite_where=sa.text("expires IS NOT NULL"),
        postgresql_where=sa.text("expires IS NOT NULL"),
    ),
)
"""The messages, in the order of `seq`: dense per channel, counted by the counter `chat.seq:<channel>`.

`shown`: it stands in the channel itself; a reply stands in its thread (`parent` is the first message's seq) unless it
was sent to both. `counted`: it makes the channel unread for those who see it; a silent, system, shadowed, deleted or
expired message does not, nor one that is in its thread alone. `data`, `forwarded`, `mentions`, `files`, `links` are
JSON. What is deleted keeps its row, and nobody is shown what it said."""
