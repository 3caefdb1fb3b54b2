"""The ledger: what every table of chat holds of people, and what erasing, exporting and importing do with it.

A table without an entry, or a column of text that its entry does not name, fails a test: whoever adds one decides here
what becomes of a user's name in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import sqlalchemy as sa

from ..channels import tables as channels
from ..counts import tables as counts
from ..files import tables as files
from ..messages import tables as messages
from ..moderation import tables as moderation
from ..people import tables as people
from ..personal import tables as personal
from ..tables import bans, members
from ..tables import channels as channel_table
from ..tables import messages as message_table
from . import tables as data

__all__ = ["LEDGER", "OWN", "Entry", "Erase", "entry_of", "name_of"]

Erase = Literal["row", "ghost", "own"]
"""What becomes of a column that holds a user's name: the row goes, the ghost's name takes its place, or the table has
code of its own for it (`erasing`)."""


class Entry(NamedTuple):
    """One table."""

    table: sa.Table
    users: dict[str, Erase] = {}
    """The columns that hold a user's name, whole, or behind `user:`."""
    nested: Sequence[str] = ()
    """The columns of JSON in which a user's name can stand as a value."""
    text: Sequence[str] = ()
    """The other columns of text: none holds a user's name by itself. What people wrote in words is theirs."""
    mine: Sequence[str] = ()
    """The columns by which a row belongs to a user's own export."""
    secret: Sequence[str] = ()
    """Columns that no user is told of themselves."""
    space: bool = True
    """Whether a whole space's export has it: what passes by itself, or is made of other rows, it has not."""
    local: Sequence[str] = ()
    """Columns that mean nothing in another database."""


_WORD: Final = ("reason",)

LEDGER: Final[Sequence[Entry]] = (
    # People come before what they do, channels before what is in them, messages before what hangs on them.
    Entry(people.profiles, {"user": "row"}, text=("name", "avatar", "data"), mine=("user",)),
    Entry(people.preferences, {"user": "row"}, text=("data",), mine=("user",)),
    Entry(
        people.devices,
        {"user": "row"},
        text=("device", "name", "platform", "push_kind", "push_token"),
        mine=("user",),
    ),
    Entry(people.presences, {"user": "row"}, text=("text", "emoji"), mine=("user",), space=False),
    Entry(people.blocks, {"user": "row", "blocked": "row"}, mine=("user",)),
    Entry(channels.types, text=("type", "rules")),
    Entry(
        channel_table,
        {"creator": "ghost"},
        text=("channel", "name", "type", "topic", "cover", "data", "type_rules", "rules", "filters"),
        mine=("creator",),
        secret=("filters",),
    ),
    Entry(
        members,
        {"user": "own"},
        text=("channel", "role", "data"),
        mine=("user",),
        secret=("shadowed",),
        local=("events_from",),
    ),
    Entry(bans, {"user": "row", "by": "ghost"}, text=("channel", *_WORD), mine=("user",), secret=("by",)),
    Entry(channels.invitations, {"user": "row", "by": "ghost"}, text=("channel", "role"), mine=("user", "by")),
    Entry(channels.links, {"by": "ghost"}, text=("channel", "code", "role"), mine=("by",)),
    Entry(channels.counters, text=("channel", "name")),
    Entry(
        files.files,
        {"user": "own"},
        text=("id", "name", "type", "digest", "thumbnails", "secret"),
        mine=("user",),
        secret=("secret",),
    ),
    Entry(
        message_table,
        {"user": "own", "deleted_by": "ghost"},
        nested=("mentions", "forwarded"),
        text=("channel", "id", "text", "type", "data", "files", "links"),
        mine=("user",),
        secret=("shadow",),
    ),
    Entry(messages.edits, {"user": "own"}, nested=("mentions",), text=("channel", "text", "data"), mine=("user",)),
    Entry(messages.mentions, {"user": "row"}, text=("channel",), mine=("user",)),
    Entry(messages.reactions, {"user": "own"}, text=("channel", "emoji"), mine=("user",)),
    Entry(messages.reaction_counts, text=("channel", "emoji")),
    Entry(messages.threads, nested=("users",), text=("channel",)),
    Entry(messages.followers, {"user": "row"}, text=("channel",), mine=("user",)),
    Entry(messages.pins, {"by": "ghost"}, text=("channel",), mine=("by",)),
    Entry(messages.hidden, {"user": "row"}, text=("channel",), mine=("user",)),
    Entry(counts.thread_reads, {"user": "row"}, text=("channel",), mine=("user",)),
    Entry(counts.receipts_told, text=("channel",), space=False),
    Entry(files.uses, text=("file", "channel")),
    Entry(files.uploads, {"user": "own"}, text=("id", "name", "type"), mine=("user",), space=False),
    Entry(files.parts, text=("upload", "place"), space=False),
    Entry(files.garbage, text=("id",), space=False),
    Entry(files.link_wishes, text=("channel", "urls"), space=False),
    Entry(personal.drafts, {"user": "row"}, text=("channel", "text", "data"), mine=("user",)),
    Entry(
        personal.scheduled,
        {"user": "row"},
        nested=("message",),
        text=("id", "channel", "code", "reason"),
        mine=("user",),
    ),
    Entry(personal.reminders, {"user": "row"}, text=("id", "channel", "text"), mine=("user",)),
    Entry(personal.saved, {"user": "row"}, text=("channel", "folder", "note"), mine=("user",)),
    Entry(personal.polls, {"user": "ghost"}, text=("channel",), mine=("user",)),
    # A vote stays as the ghost's, so that what was decided stays what it was.
    Entry(personal.poll_votes, {"user": "ghost"}, text=("channel",), mine=("user",)),
    Entry(
        moderation.restraints,
        {"user": "row", "by": "ghost"},
        text=("channel", "kind", *_WORD),
        # Whoever is shadowed is not told so.
        mine=(),
    ),
    Entry(moderation.settling, {"user": "row"}, space=False),
    Entry(moderation.paces, {"user": "row"}, text=("channel",), space=False),
    Entry(
        moderation.filters,
        {"by": "ghost"},
        text=("scope", "name", "kind", "action", "entries", "message"),
    ),
    Entry(moderation.filter_heads, text=("digests",)),
    Entry(
        moderation.cases,
        {"user": "ghost", "subject": "ghost", "claimed_by": "ghost", "resolved_by": "ghost"},
        nested=("content",),
        text=("id", "channel", "kind", "state", "verdict", "note"),
    ),
    Entry(moderation.reports, {"user": "ghost"}, text=("case", "reason", "text"), mine=("user",)),
    Entry(
        moderation.acts,
        {"actor": "ghost", "target": "ghost"},
        nested=("before", "after"),
        text=("channel", "act", "reason"),
        mine=("actor",),
    ),
    Entry(people.typing, {"user": "row"}, text=("channel",), space=False),
    Entry(people.typing_rooms, text=("channel",), space=False),
    Entry(data.retention, {"by": "ghost"}, text=("scope",)),
    Entry(data.retained, text=("channel",), space=False),
    Entry(data.holds, {"by": "ghost"}, text=("channel", *_WORD)),
    Entry(data.erasures, {"user": "own"}, text=("id", "ghost", "messages"), space=False),
)
"""Every table, in the order of exports: what is referred to comes first."""


OWN: Final = frozenset(
    {"chat_drafts", "chat_reminders", "chat_saved", "chat_hidden"}
    | {entry.table.name for entry in LEDGER if "channel" not in entry.table.c}
)
"""Tables whose rows are one user's own, or in no channel; all others are written under their channel's lane."""


def name_of(entry: Entry) -> str:
    """A table's name in exports."""
    return entry.table.name.removeprefix("chat_")


def entry_of(name: str) -> Entry | None:
    """The entry of a table by its name in exports."""
    return _BY_NAME.get(name)


_BY_NAME: Final = {name_of(entry): entry for entry in LEDGER}
