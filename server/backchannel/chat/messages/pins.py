"""Pins: messages that a channel keeps in view."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..paging import paged
from ..tables import messages
from .finding import find_message
from .mark_contract import ListPins, MessagePinned, MessageUnpinned, PinList, PinMessage, PinState, UnpinMessage
from .rows import messages_of
from .sending import require_open
from .tables import pins
from .visible import readable, visible_in

__all__ = ["MOST_PINS", "unpin"]

MOST_PINS: Final = 100
"""Pinned messages of a channel."""


@app.handle(PinMessage)
async def pin_message(ctx: Context, request: PinMessage) -> PinState:
    """Pin it, unless it is pinned."""
    found = await access(ctx, request.channel, "message.pin")
    require_open(found)
    row = await find_message(ctx, found, request.seq)
    count, pinned = await _state(ctx, request.channel, request.seq)
    if pinned:
        return PinState(request.channel, request.seq, True, count)
    if row.shadow:
        raise Refused("conflict", f"Message {request.seq} cannot be pinned.")
    if count >= MOST_PINS:
        raise Refused(
            "conflict",
            f"{request.channel} has {count} pinned messages; unpin one first.",
            details={"reason": "pins", "most": MOST_PINS},
        )
    ctx.insert(pins, channel=request.channel, seq=request.seq, by=ctx.user, time=ctx.now)
    ctx.publish(
        request.channel,
        MessagePinned(channel=request.channel, seq=request.seq, by=ctx.user, time=ctx.now, pins=count + 1),
    )
    return PinState(request.channel, request.seq, True, count + 1)


@app.handle(UnpinMessage)
async def unpin_message(ctx: Context, request: UnpinMessage) -> PinState:
    """Unpin it, if it is pinned."""
    found = await access(ctx, request.channel, "message.pin")
    require_open(found)
    await find_message(ctx, found, request.seq, deleted=True)
    count = await unpin(ctx, request.channel, request.seq)
    if count is None:
        return PinState(request.channel, request.seq, False, (await _state(ctx, request.channel, request.seq))[0])
    ctx.publish(request.channel, MessageUnpinned(channel=request.channel, seq=request.seq, by=ctx.user, pins=count))
    return PinState(request.channel, request.seq, False, count)


async def unpin(ctx: Context, channel: str, seq: int) -> int | None:
    """Take a pin away without telling; how many are left, or None if there was none."""
    count, pinned = await _state(ctx, channel, seq)
    if not pinned:
        return None
    ctx.delete(pins, {"channel": channel, "seq": seq})
    return count - 1


async def _state(ctx: Context, channel: str, seq: int) -> tuple[int, bool]:
    """How many pins a channel has, and whether this message is one."""
    own = sa.func.count(sa.case((pins.c.seq == seq, 1)))
    counted = (
        sa.select(pins.c.channel, sa.func.count().label("pins"), own.label("own"))
        .where(pins.c.app == ctx.app, pins.c.channel == channel)
        .group_by(pins.c.channel)
    )
    row = await ctx.db.row(counted)
    return (0, False) if row is None else (row.pins, bool(row.own))


@app.handle(ListPins)
async def list_pins(ctx: Context, request: ListPins) -> PinList:
    """The last pinned first."""
    found = await access(ctx, request.channel, "channel.read")
    await ctx.position(request.channel)
    pinned = (
        sa.select(pins.c.seq, pins.c.time.label("pinned_at"))
        .where(pins.c.app == ctx.app, pins.c.channel == request.channel)
        .subquery()
    )
    statement = (
        sa.select(messages, pinned.c.pinned_at)
        .join(pinned, pinned.c.seq == messages.c.seq)
        .where(visible_in(ctx, found), readable(ctx.now))
    )
    page = await paged(ctx, statement, [pinned.c.pinned_at, messages.c.seq], request, newest_first=True)
    return PinList(await messages_of(ctx, page.rows, user=ctx.user), page.next, page.previous, page.total)
