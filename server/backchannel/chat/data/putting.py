"""Putting records into the database: what an import asks, some hundred rows of one table at a time.

A row that is there already is left as it is, so an import that is repeated, or goes on after a crash, doubles nothing.
The counters go on behind what came in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Command, Context, Struct

from ..common import app
from ..messages.tables import reaction_counts, reactions, threads
from ..messages.threads import counted_threads
from ..moderation.tables import acts
from ..tables import channels, members, messages
from .ledger import Entry
from .records import check_row, completed, key_columns

__all__ = ["PutRecords", "Put", "SettleChannel", "Settled", "Skipped"]

_EVERYWHERE: Final = frozenset({"*", ""})
_OF_MESSAGES: Final = frozenset(
    {
        "mentions",
        "edits",
        "reactions",
        "reaction_counts",
        "threads",
        "followers",
        "pins",
        "hidden",
        "thread_reads",
        "file_uses",
        "polls",
        "poll_votes",
        "saved",
    }
)
"""Tables whose rows hang on a message."""
_THREADS: Final = 500
_ROWS: Final = msgspec.json.Decoder(list[dict[str, Any]])


class Skipped(Struct):
    """A record that was not put in, and why."""

    index: int
    reason: str


class Put(Struct):
    """What became of records."""

    inserted: int = 0
    known: int = 0
    """They were there already."""
    skipped: list[Skipped] = []


@app.command("space.put", lane="lane", internal=True, timeout=30.0)
class PutRecords(Command[Put]):
    """Put in records of one table."""

    table: str
    rows: str
    """A list of objects as JSON, so that whatever is wrong with one is told of that one."""
    dry: bool = False
    """Only tell what would become of them. What others of the same import bring is not there then."""
    lane: str = "chat.import"


@app.handle(PutRecords)
async def put_records(ctx: Context, request: PutRecords) -> Put:
    """Leave out what is wrong, what has nothing to hang on, and what is there; put in the rest."""
    skipped: dict[int, str] = {}
    good: dict[int, dict[str, Any]] = {}
    entry = None
    for index, row in enumerate(_ROWS.decode(request.rows)):
        found, wrong = check_row(request.table, row)
        entry = found or entry
        if wrong or found is None:
            skipped[index] = wrong
        else:
            good[index] = completed(found, row)
    known = 0
    if entry is not None and good:
        if not request.dry:
            await _need_places(ctx, request.table, entry, good, skipped)
        known = await _leave_out_known(ctx, entry, good, skipped)
        if entry.table is messages and not request.dry:
            await _in_order(ctx, good, skipped)
        if not request.dry:
            if entry.table is acts:
                await _advance(ctx, "chat.acts", good)
            for row in good.values():
                ctx.insert(entry.table, **row)
    return Put(len(good), known, [Skipped(index, skipped[index]) for index in sorted(skipped)])


def _skip(good: dict[int, dict[str, Any]], skipped: dict[int, str], index: int, reason: str) -> None:
    del good[index]
    skipped[index] = reason


async def _need_places(
    ctx: Context, name: str, entry: Entry, good: dict[int, dict[str, Any]], skipped: dict[int, str]
) -> None:
    """Leave out rows of channels, and of messages, that are not there."""
    if "channel" not in entry.table.c or entry.table is channels:
        return
    wanted = {row["channel"] for row in good.values()} - _EVERYWHERE - {None}
    rows = await ctx.db.rows(
        sa.select(channels.c.channel).where(channels.c.app == ctx.app, channels.c.channel.in_(sorted(wanted)))
    )
    there = {row.channel for row in rows} | _EVERYWHERE | {None}
    for index, row in list(good.items()):
        if row["channel"] not in there:
            _skip(good, skipped, index, f"There is no channel {row['channel']!r}.")
    if name not in _OF_MESSAGES or not good:
        return
    places = {(row["channel"], row["seq"]) for row in good.values()}
    found = await ctx.db.rows(
        sa.select(messages.c.channel, messages.c.seq).where(
            messages.c.app == ctx.app, sa.tuple_(messages.c.channel, messages.c.seq).in_(sorted(places))
        )
    )
    at = {(row.channel, row.seq) for row in found}
    for index, row in list(good.items()):
        if (row["channel"], row["seq"]) not in at:
            _skip(good, skipped, index, f"There is no message {row['seq']} in {row['channel']!r}.")


async def _leave_out_known(ctx: Context, entry: Entry, good: dict[int, dict[str, Any]], skipped: dict[int, str]) -> int:
    """Leave out rows that are there, or come twice; those that are there and say something else are told as skipped."""
    key = [column.key for column in key_columns(entry.table)]
    places: dict[tuple[Any, ...], int] = {}
    for index, row in list(good.items()):
        place = tuple(row[name] for name in key)
        if place in places:
            _skip(good, skipped, index, "It comes twice.")
        else:
            places[place] = index
    table = entry.table
    statement = sa.select(table).where(table.c.app == ctx.app)
    if key:
        statement = statement.where(sa.tuple_(*(table.c[name] for name in key)).in_(list(places)))
    known = 0
    for stored in await ctx.db.rows(statement):
        there = stored._mapping
        index = places[tuple(there[name] for name in key)]
        new = good[index]
        # Another database's own columns are not compared, nor what is brought up to date here.
        differs = [name for name, value in new.items() if name not in entry.local and there[name] != value]
        if differs and not (table is channels and differs == ["member_count"]):
            _skip(good, skipped, index, f"Another one is there already ({', '.join(differs)}).")
        else:
            del good[index]
            known += 1
    return known


async def _in_order(ctx: Context, good: dict[int, dict[str, Any]], skipped: dict[int, str]) -> None:
    """Leave out messages behind a hole: `seq` counts without one. The counter goes on behind the last."""
    by_channel: defaultdict[str, list[int]] = defaultdict(list)
    for index, row in good.items():
        by_channel[row["channel"]].append(index)
    for channel in sorted(by_channel):
        counter = f"chat.seq:{channel}"
        stands = await ctx.advance(counter, 0)
        before = stands
        for index in sorted(by_channel[channel], key=lambda index: good[index]["seq"]):
            seq = good[index]["seq"]
            if seq < 1 or seq > stands + 1:
                _skip(good, skipped, index, f"Message {seq} of {channel!r} does not follow message {stands}.")
            else:
                stands = max(stands, seq)
        if stands > before:
            await ctx.advance(counter, stands)


async def _advance(ctx: Context, counter: str, good: dict[int, dict[str, Any]]) -> None:
    most: dict[str, int] = {}
    for row in good.values():
        most[row["channel"]] = max(most.get(row["channel"], 0), row["seq"])
    for channel in sorted(most):
        await ctx.advance(f"{counter}:{channel}", most[channel])


# What follows from rows


class Settled(Struct):
    """From which message on there is more to do; None: all is done."""

    after: int | None


@app.command("space.settle", lane="channel", internal=True, own_transaction=True, timeout=120.0)
class SettleChannel(Command[Settled]):
    """Count anew what follows from a channel's rows: its members, its reactions, its threads."""

    channel: str
    after: int = 0
    """Threads of messages up to this one are counted already."""


@app.handle(SettleChannel)
async def settle_channel(ctx: Context, request: SettleChannel) -> Settled:
    """Members and reactions in one statement each, threads some hundred at a time."""
    channel = request.channel
    if not request.after:
        await _count_members(ctx, channel)
        await _count_reactions(ctx, channel)
    rows = await ctx.db.rows(
        sa.select(messages.c.parent)
        .where(messages.c.app == ctx.app, messages.c.channel == channel, messages.c.parent > request.after)
        .group_by(messages.c.parent)
        .order_by(messages.c.parent)
        .limit(_THREADS)
    )
    parents = [row.parent for row in rows]
    if parents:
        counted = await counted_threads(ctx, channel, parents)
        ours = sa.and_(threads.c.app == ctx.app, threads.c.channel == channel)
        await ctx.db.execute(sa.delete(threads).where(ours, threads.c.seq.in_(parents)))
        for thread in counted.values():
            ctx.insert(
                threads,
                channel=channel,
                seq=thread.seq,
                replies=thread.replies,
                last_seq=thread.last_seq,
                last_time=thread.last_time,
                users=msgspec.json.encode(thread.users).decode(),
            )
    return Settled(parents[-1] if len(parents) == _THREADS else None)


async def _count_members(ctx: Context, channel: str) -> None:
    number = (
        sa.select(sa.func.count())
        .select_from(members)
        .where(members.c.app == ctx.app, members.c.channel == channel)
        .scalar_subquery()
    )
    await ctx.db.execute(
        sa.update(channels).where(channels.c.app == ctx.app, channels.c.channel == channel).values(member_count=number)
    )


async def _count_reactions(ctx: Context, channel: str) -> None:
    ours = sa.and_(reactions.c.app == ctx.app, reactions.c.channel == channel)
    each = (
        sa.select(
            reactions.c.app,
            reactions.c.channel,
            reactions.c.seq,
            reactions.c.emoji,
            sa.func.count().label("number"),
            sa.func.row_number()
            .over(partition_by=reactions.c.seq, order_by=(sa.func.min(reactions.c.time), reactions.c.emoji))
            .label("place"),
        )
        .where(ours)
        .group_by(reactions.c.app, reactions.c.channel, reactions.c.seq, reactions.c.emoji)
    )
    there = sa.and_(reaction_counts.c.app == ctx.app, reaction_counts.c.channel == channel)
    await ctx.db.execute(sa.delete(reaction_counts).where(there))
    names: Sequence[str] = ("app", "channel", "seq", "emoji", "number", "place")
    await ctx.db.execute(sa.insert(reaction_counts).from_select(names, each))
