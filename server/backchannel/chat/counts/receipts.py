"""Receipts: how far members have read and got messages; told one by one in small channels, as sums in large ones.

A member's place is two numbers in the member's row, so a mark costs the same in every room. In large rooms nobody could
use one event per member and message: there the sums are told, at once if the last time was long enough ago, else by a
job when it is, so that the last state is always told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import sqlalchemy as sa

from backchannel import Context, Publisher, Refused

from ..access import Access, access
from ..common import app
from ..cursors import cursor, read_cursor
from ..tables import channels, members, messages
from .contract import (
    AllRead,
    ChannelUnread,
    DueReceipts,
    GetReceipts,
    ListReceipts,
    MarkAllRead,
    MarkReceipt,
    MarkUnread,
    Receipt,
    ReceiptChanged,
    ReceiptList,
    Receipts,
    ReceiptsSummed,
    ReceiptStep,
    TellReceipts,
    UnreadChannels,
)
from .counting import tell_unread, unread_of
from .tables import receipts_told

__all__ = ["INTERVAL", "sums_of", "tells_each"]

INTERVAL: Final = 5_000
"""Milliseconds between two events `receipt.summed` of a channel, at least."""

_STEPS: Final = 100
"""So many of the newest messages are told about in sums."""
_DUE: Final = 200
"""So many channels are told per run of the job."""
_AT_ONCE: Final = 50
"""So many channels are marked at once."""


# Marks


@app.handle(MarkReceipt)
async def mark_receipt(ctx: Context, request: MarkReceipt) -> ChannelUnread:
    """Move a member's receipts on; where they are further already, nothing changes."""
    if request.read is None and request.delivered is None:
        raise Refused("invalid", "Give `read`, `delivered`, or both.")
    found = await access(ctx, request.channel, "receipt.mark")
    member = _member(found)
    read = max(member.read_seq, request.read or 0)
    counts = await unread_of(ctx, found, read)
    counts.read_seq = max(member.read_seq, min(read, counts.last_seq))
    delivered = max(member.delivered_seq, min(request.delivered or 0, counts.last_seq), counts.read_seq)
    await _move(ctx, found, counts, delivered)
    return counts


@app.handle(MarkUnread)
async def mark_unread(ctx: Context, request: MarkUnread) -> ChannelUnread:
    """Move what a member has read back behind a message. What is unread already stays so."""
    found = await access(ctx, request.channel, "receipt.mark")
    member = _member(found)
    read = min(member.read_seq, request.seq - 1)
    counts = await unread_of(ctx, found, read)
    counts.read_seq = read
    await _move(ctx, found, counts, member.delivered_seq)
    return counts


@app.handle(MarkAllRead)
async def mark_all_read(ctx: Context, request: MarkAllRead) -> AllRead:
    """Mark each channel under its own lane, as the user: nothing is read here, where it would hold a transaction."""
    if not ctx.user:
        raise Refused("invalid", "An API key that acts for itself has read nothing; name a user.")
    unread = await ctx.publisher.call(UnreadChannels(), user=ctx.user)
    for start in range(0, len(unread), _AT_ONCE):
        await asyncio.gather(*(_mark_read(ctx, one) for one in unread[start : start + _AT_ONCE]))
    return AllRead(len(unread))


async def _mark_read(ctx: Context, one: ChannelUnread) -> None:
    try:
        await ctx.publisher.call(MarkReceipt(channel=one.channel, read=one.last_seq), user=ctx.user)
    except Refused as exc:
        # Meanwhile the user is no member any more: there is nothing left to read.
        if exc.code not in ("forbidden", "not_found"):
            raise


def _member(found: Access) -> Any:
    if found.member is None:
        raise Refused(
            "forbidden",
            f"Receipts are for members of {found.channel.channel}.",
            details={"action": "receipt.mark", "reason": "not_member"},
        )
    return found.member


async def _move(ctx: Context, found: Access, counts: ChannelUnread, delivered: int) -> None:
    member, channel = found.member, found.channel.channel
    assert member is not None
    moved = counts.read_seq != member.read_seq
    if not moved and delivered == member.delivered_seq:
        return
    changes: dict[str, Any] = {"read_seq": counts.read_seq, "read_time": ctx.now} if moved else {}
    ctx.update(members, {"channel": channel, "user": ctx.user}, **changes, delivered_seq=delivered)
    if moved:
        tell_unread(ctx, ctx.user, counts)
    if not found.rules.features.receipts:
        return
    if tells_each(found):
        ctx.publish(channel, ReceiptChanged(channel=channel, user=ctx.user, read=counts.read_seq, delivered=delivered))
    else:
        await _tell_sums_in_time(ctx, found)


# What is told


def tells_each(found: Access) -> bool:
    """Whether each member's receipts are told in this channel."""
    return bool(found.channel.member_count <= found.rules.features.members_told)


async def _tell_sums_in_time(ctx: Context, found: Access) -> None:
    """Tell the sums now, or have the job do it."""
    channel = found.channel.channel
    told = await ctx.db.get(receipts_told, channel=channel)
    if told is None:
        ctx.insert(receipts_told, channel=channel, told=ctx.now, due=None)
    elif ctx.now >= told.told + INTERVAL:
        ctx.update(receipts_told, {"channel": channel}, told=ctx.now, due=None)
    else:
        if told.due is None:
            ctx.update(receipts_told, {"channel": channel}, due=told.told + INTERVAL)
        return
    ctx.publish(channel, await sums_of(ctx, found.channel))


@app.handle(TellReceipts)
async def tell_receipts(ctx: Context, request: TellReceipts) -> None:
    """Tell the sums of a channel that is due."""
    told = await ctx.db.get(receipts_told, channel=request.channel)
    channel = await ctx.db.get(channels, channel=request.channel)
    if told is None or told.due is None or channel is None:
        return
    ctx.update(receipts_told, {"channel": request.channel}, told=ctx.now, due=None)
    if channel.deleted is None:
        ctx.publish(request.channel, await sums_of(ctx, channel))


@app.handle(DueReceipts)
async def due_receipts(ctx: Context, request: DueReceipts) -> list[str]:
    """Channels whose time has come."""
    rows = await ctx.db.rows(
        sa.select(receipts_told.c.channel)
        .where(receipts_told.c.app == ctx.app, receipts_told.c.due <= ctx.now)
        .order_by(receipts_told.c.due)
        .limit(_DUE)
    )
    return [row.channel for row in rows]


@app.every(INTERVAL / 1000)
async def tell_due_receipts(publisher: Publisher) -> None:
    """Tell what has changed since the last event of each large channel."""
    due = await publisher.call(DueReceipts(), user="")
    await asyncio.gather(*(publisher.call(TellReceipts(channel=channel), user="") for channel in due))


async def sums_of(ctx: Context, channel: sa.Row[Any]) -> ReceiptsSummed:
    """How many members are how far: one statement, over an index, for both kinds of receipts."""
    newest = (
        sa.select(sa.func.coalesce(sa.func.max(messages.c.seq), 0))
        .where(messages.c.app == ctx.app, messages.c.channel == channel.channel)
        .scalar_subquery()
    )
    steps = [
        sa.select(sa.literal(kind, sa.Text).label("kind"), place.label("seq"), sa.func.count().label("members"))
        .where(members.c.app == ctx.app, members.c.channel == channel.channel, place > newest - _STEPS)
        .group_by(place)
        for kind, place in (("read", members.c.read_seq), ("delivered", members.c.delivered_seq))
    ]
    last = sa.select(sa.literal("newest", sa.Text), newest, sa.literal(0, sa.BigInteger))
    rows = await ctx.db.rows(sa.union_all(*steps, last))  # type: ignore[arg-type]  # a union is read as a select is
    since = max(0, max(row.seq for row in rows if row.kind == "newest") - _STEPS)
    return ReceiptsSummed(
        channel=channel.channel,
        members=channel.member_count,
        since=since,
        read=_steps([row for row in rows if row.kind == "read"]),
        delivered=_steps([row for row in rows if row.kind == "delivered"]),
    )


def _steps(rows: Sequence[sa.Row[Any]]) -> list[ReceiptStep]:
    falling = sorted(((row.seq, row.members) for row in rows if row.seq), reverse=True)
    sums = accumulate(count for _, count in falling)
    return [ReceiptStep(seq, members) for (seq, _), members in zip(falling, sums, strict=True)][::-1]


# What is asked


@app.handle(GetReceipts)
async def get_receipts(ctx: Context, request: GetReceipts) -> Receipts:
    """The state that events go on from."""
    found = await _with_receipts(ctx, request.channel)
    await ctx.position(request.channel)
    answer = Receipts(members=found.channel.member_count)
    if not tells_each(found):
        answer.sums = await sums_of(ctx, found.channel)
        return answer
    rows = await ctx.db.rows(
        sa.select(members.c.user, members.c.read_seq, members.c.delivered_seq)
        .where(members.c.app == ctx.app, members.c.channel == request.channel, members.c.delivered_seq > 0)
        .order_by(members.c.user)
    )
    answer.each = [Receipt(row.user, row.read_seq, row.delivered_seq) for row in rows]
    return answer


@app.handle(ListReceipts)
async def list_receipts(ctx: Context, request: ListReceipts) -> ReceiptList:
    """A page out of the index of places, and the two numbers out of the same indexes."""
    found = await _with_receipts(ctx, request.channel)
    author = await ctx.db.value(
        sa.select(messages.c.user).where(
            messages.c.app == ctx.app,
            messages.c.channel == request.channel,
            messages.c.seq == request.seq,
            messages.c.seq > (0 if found.member is None else found.member.history_from),
            sa.or_(sa.not_(messages.c.shadow), messages.c.user == ctx.user, sa.literal(found.operator)),
        )
    )
    if author is None:
        raise Refused("not_found", f"There is no message {request.seq} in {request.channel}, or not for you to see.")
    places = {"read": members.c.read_seq, "delivered": members.c.delivered_seq}
    here = (members.c.app == ctx.app, members.c.channel == request.channel, members.c.user != author)
    place = places[request.kind]
    order = sa.tuple_(place, members.c.user)
    back = False
    page = sa.select(members.c.user, members.c.read_seq, members.c.delivered_seq).where(*here, place >= request.seq)
    if request.cursor is not None:
        back, seq, user = read_cursor(request.cursor, tuple[bool, int, str])
        at = sa.tuple_(sa.literal(seq, sa.BigInteger), sa.literal(user, sa.Text))
        page = page.where(order < at if back else order > at)
    counts = [sa.select(sa.func.count()).where(*here, one >= request.seq).scalar_subquery() for one in places.values()]
    numbers = await ctx.db.row(sa.select(counts[0].label("read"), counts[1].label("delivered")))
    assert numbers is not None
    ordered = page.order_by(place.desc(), members.c.user.desc()) if back else page.order_by(place, members.c.user)
    rows = list(await ctx.db.rows(ordered.limit(request.limit + 1)))
    more = len(rows) > request.limit
    rows = rows[: request.limit]
    if back:
        rows.reverse()
    receipts = [Receipt(row.user, row.read_seq, row.delivered_seq) for row in rows]

    def edge(one: Receipt, *, before: bool) -> str:
        return cursor(before, one.read if request.kind == "read" else one.delivered, one.user)

    answer = ReceiptList(receipts, numbers.read, numbers.delivered)
    if receipts and (more or back):
        answer.next = edge(receipts[-1], before=False)
    if receipts and (more if back else request.cursor is not None):
        answer.previous = edge(receipts[0], before=True)
    return answer


async def _with_receipts(ctx: Context, channel: str) -> Access:
    found = await access(ctx, channel, "channel.read")
    if not found.rules.features.receipts:
        raise Refused("forbidden", f"{channel} has no receipts.", details={"reason": "feature"})
    return found
