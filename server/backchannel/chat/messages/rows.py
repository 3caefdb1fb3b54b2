"""Messages as clients are told of them, from their rows and from what hangs on these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from sys import intern
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from backchannel import Context

from ..files.contract import FileInfo, LinkPreview
from ..tables import messages
from .contract import Forwarded, Mentions, Message, Quote, Reaction, ThreadInfo
from .tables import hidden, pins, reaction_counts, reactions, threads
from .visible import gone

__all__ = ["EXCERPT", "excerpt", "message", "messages_of"]

EXCERPT: Final = 300
"""Characters of a quoted message."""

_data = msgspec.json.Decoder(dict[str, Any])
_forwarded = msgspec.json.Decoder(Forwarded)
_mentions = msgspec.json.Decoder(Mentions)
_files = msgspec.json.Decoder(list[FileInfo])
_links = msgspec.json.Decoder(list[LinkPreview])
_users = msgspec.json.Decoder(list[str])

_Place = tuple[str, int]


def excerpt(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def message(row: sa.Row[Any], now: int = 0) -> Message:
    """A row of `tables.messages`, without what hangs on it; a tombstone for what is deleted, or has expired by `now`
    (Unix milliseconds; `ctx.now`, unless the statement saw to it by `visible.readable`)."""
    told = Message(
        id=row.id,
        channel=row.channel,
        seq=row.seq,
        user=row.user,
        text=row.text,
        time=row.time,
        # The very text of the default, so that encoders leave it out.
        type=intern(row.type),
        parent=row.parent,
        shown=bool(row.shown),
        silent=bool(row.silent),
    )
    if gone(row, now):
        told.text = ""
        told.deleted = row.expires if row.deleted is None else row.deleted
        told.deleted_by = row.deleted_by
        return told
    told.expires = row.expires
    told.edits = row.edits
    told.edited = row.edited
    if row.data is not None:
        told.data = _data.decode(row.data)
    if row.forwarded is not None:
        told.forwarded = _forwarded.decode(row.forwarded)
    if row.mentions is not None:
        told.mentions = _mentions.decode(row.mentions)
    if row.files is not None:
        told.files = _files.decode(row.files)
    if row.links is not None:
        told.links = _links.decode(row.links)
    return told


async def messages_of(ctx: Context, rows: Sequence[sa.Row[Any]], *, user: str | None = None) -> list[Message]:
    """Messages with all that hangs on them: what they quote, reactions, threads, pins. Two statements, however many.

    Args:
        ctx: the request.
        rows: rows of `tables.messages`, of any channels, that the user may see.
        user: whose reactions are their own; None: nobody's, as in events.
    """
    if not rows:
        return []
    told = {(row.channel, row.seq): message(row, ctx.now) for row in rows}
    if quoting := [row for row in rows if row.quote is not None and told[row.channel, row.seq].deleted is None]:
        await _quotes(ctx, quoting, told, user)
    hanging = await _hanging(ctx, told.keys(), user)
    for place, one in told.items():
        if (thread := hanging.threads.get(place)) is not None:
            one.thread = thread
        if one.deleted is None:
            one.pinned = place in hanging.pinned
            one.reactions = [
                Reaction(emoji, count, (place, emoji) in hanging.own)
                for _, emoji, count in sorted(hanging.counts.get(place, ()))
            ]
    return list(told.values())


async def _quotes(ctx: Context, rows: Sequence[sa.Row[Any]], told: Mapping[_Place, Message], user: str | None) -> None:
    columns = messages.c
    wish: sa.ColumnElement[bool] = sa.false()
    if user:
        wish = sa.exists().where(
            hidden.c.app == columns.app,
            hidden.c.user == user,
            hidden.c.channel == columns.channel,
            hidden.c.seq == columns.seq,
        )
    found = await ctx.db.rows(
        sa.select(
            columns.channel,
            columns.seq,
            columns.user,
            columns.type,
            sa.func.substr(columns.text, 1, EXCERPT + 1).label("text"),
            columns.deleted,
            columns.expires,
            columns.shadow,
            wish.label("hidden"),
        ).where(columns.app == ctx.app, _at(messages, {(row.channel, row.quote) for row in rows}))
    )
    quoted = {(row.channel, row.seq): row for row in found}
    for row in rows:
        one = quoted.get((row.channel, row.quote))
        unseen = one is None or gone(one, ctx.now) or one.hidden or (one.shadow and one.user != user)
        told[row.channel, row.seq].quote = (
            Quote(seq=row.quote, user="" if one is None else one.user, deleted=True)
            if one is None or unseen
            else Quote(seq=one.seq, user=one.user, type=intern(one.type), text=excerpt(one.text))
        )


class _Hanging(NamedTuple):
    counts: dict[_Place, list[tuple[int, str, int]]]
    own: set[tuple[_Place, str]]
    threads: dict[_Place, ThreadInfo]
    pinned: set[_Place]


async def _hanging(ctx: Context, places: Collection[_Place], user: str | None) -> _Hanging:
    """One statement: the parts are told apart by `kind`, and say what they have in columns of the same types."""
    nothing: sa.ColumnElement[str] = sa.literal_column("''")
    parts = [
        _part(
            ctx,
            0,
            reaction_counts,
            places,
            [reaction_counts.c.emoji, reaction_counts.c.number, reaction_counts.c.place],
        ),
        _part(ctx, 1, threads, places, [threads.c.users, threads.c.replies, threads.c.last_seq, threads.c.last_time]),
        _part(ctx, 2, pins, places, [nothing]),
    ]
    if user:
        parts.append(_part(ctx, 3, reactions, places, [reactions.c.emoji], reactions.c.user == user))
    found = _Hanging({}, set(), {}, set())
    every: sa.Select[Any] = sa.select(sa.union_all(*parts).subquery())
    for row in await ctx.db.rows(every):
        kind, text, a, b, c = row.kind, row.text, row.a, row.b, row.c
        place = (row.channel, row.seq)
        if kind == 0:
            found.counts.setdefault(place, []).append((b, text, a))
        elif kind == 1:
            found.threads[place] = ThreadInfo(replies=a, last_seq=b, last_time=c, users=_users.decode(text))
        elif kind == 2:
            found.pinned.add(place)
        else:
            found.own.add((place, text))
    return found


def _part(
    ctx: Context,
    kind: int,
    table: sa.Table,
    places: Iterable[_Place],
    columns: Sequence[sa.ColumnElement[Any]],
    *where: sa.ColumnElement[bool],
) -> sa.Select[Any]:
    filled = [*columns, *[sa.literal_column("0")] * (4 - len(columns))]
    return sa.select(
        sa.literal_column(str(kind)).label("kind"),
        table.c.channel,
        table.c.seq,
        *[column.label(name) for column, name in zip(filled, ("text", "a", "b", "c"), strict=True)],
    ).where(table.c.app == ctx.app, _at(table, places), *where)


def _at(table: sa.Table, places: Iterable[_Place]) -> sa.ColumnElement[bool]:
    """The rows of these messages: each channel's by its numbers, which every key begins with."""
    seqs: dict[str, list[int]] = {}
    for channel, seq in sorted(places):
        seqs.setdefault(channel, []).append(seq)
    return sa.or_(*[sa.and_(table.c.channel == channel, table.c.seq.in_(some)) for channel, some in seqs.items()])
