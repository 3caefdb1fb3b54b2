"""Tables of people. Every row is one user's own: it is written under that user's lane, typing under the channel's."""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["blocks", "devices", "preferences", "presences", "profiles", "typing", "typing_rooms"]

profiles = sa.Table(
    "chat_profiles",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("avatar", sa.Text, nullable=False, server_default=""),
    sa.Column("data", sa.Text, nullable=False, server_default="{}"),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("deactivated", sa.BigInteger),
    sa.Column("open", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("chat_profiles_name", "app", "name", "user"),
)
"""What a user shows of themselves; `data` is JSON. `deactivated`: since when the user may do nothing; NULL: they may.
`open`: everybody may see whether they are there. A user without a row is as good as one with it, called by their id."""

presences = sa.Table(
    "chat_presences",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("online", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("last_seen", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("text", sa.Text, nullable=False, server_default=""),
    sa.Column("emoji", sa.Text, nullable=False, server_default=""),
    sa.Column("until", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("quiet", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("invisible", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("checked", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index(
        "chat_presences_online",
        "app",
        "checked",
        sqlite_where=sa.text("online"),
        postgresql_where=sa.text("online"),
    ),
)
"""Whether a user is there, over all of their devices, and what they say about it: a status (`until` when; 0: without an
end), do-not-disturb (`quiet`: until when; 0: not), `invisible` (others see them as away, since `last_seen`). `checked`:
when `online` was last known to be so."""

devices = sa.Table(
    "chat_devices",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("platform", sa.Text, nullable=False, server_default=""),
    sa.Column("push_kind", sa.Text, nullable=False, server_default=""),
    sa.Column("push_token", sa.Text, nullable=False, server_default=""),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Index("chat_devices_push", "app", "push_kind", "push_token"),
)
"""A user's devices; the push token, where it has one, belongs to whoever registered it last."""

preferences = sa.Table(
    "chat_preferences",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
)
"""A user's own settings (JSON), the same on each of their devices."""

blocks = sa.Table(
    "chat_blocks",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("blocked", sa.Text, primary_key=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("chat_blocks_blocked", "app", "blocked", "user"),
)
"""Whom a user has blocked. The one who is blocked is never told."""

typing = sa.Table(
    "chat_typing",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Index("chat_typing_expires", "app", "channel", "expires"),
)
"""Who is typing in large rooms, until when. In small ones the events say all of it."""

typing_rooms = sa.Table(
    "chat_typing_rooms",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("second", sa.BigInteger, nullable=False),
    sa.Column("told", sa.BigInteger, nullable=False),
)
"""How many typing events a large room had in a second (Unix seconds): beyond some, none is told."""
