"""Counters of a channel: changed under its lane, so that no count is lost, and told as the value that they have."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from .contract import ChannelCounted, ChannelUncounted, CounterValue, CountInChannel, UncountInChannel
from .tables import counters

__all__ = ["MAX_COUNTERS", "counters_of"]

MAX_COUNTERS: Final = 50
"""Counters that a channel may have."""

_LARGEST: Final = 2**53 - 1


@app.handle(CountInChannel)
async def count_in_channel(ctx: Context, request: CountInChannel) -> CounterValue:
    """Add, or set. A counter stays within what every client can read exactly (±2**53 - 1)."""
    await access(ctx, request.channel, "channel.counters")
    row = await ctx.db.get(counters, channel=request.channel, name=request.name)
    before = 0 if row is None else row.value
    value = before + request.by if request.to is None else request.to
    if abs(value) > _LARGEST:
        raise Refused("invalid", f"{request.name} would be {value}; it stays within ±{_LARGEST}.")
    key = {"channel": request.channel, "name": request.name}
    if row is None:
        if len(await counters_of(ctx, request.channel)) >= MAX_COUNTERS:
            raise Refused(
                "conflict",
                f"{request.channel} has {MAX_COUNTERS} counters; remove one first.",
                details={"reason": "counters", "limit": MAX_COUNTERS},
            )
        ctx.insert(counters, **key, value=value)
    elif value != before:
        ctx.update(counters, key, value=value)
    if row is None or value != before:
        ctx.publish(request.channel, ChannelCounted(**key, value=value))
    return CounterValue(**key, value=value)


@app.handle(UncountInChannel)
async def uncount_in_channel(ctx: Context, request: UncountInChannel) -> CounterValue:
    """Remove a counter; removing it again changes nothing."""
    await access(ctx, request.channel, "channel.counters")
    key = {"channel": request.channel, "name": request.name}
    if await ctx.db.get(counters, **key) is not None:
        ctx.delete(counters, key)
        ctx.publish(request.channel, ChannelUncounted(**key))
    return CounterValue(**key, value=0)


async def counters_of(ctx: Context, channel: str) -> dict[str, int]:
    """All counters of a channel, by name."""
    rows = await ctx.db.rows(
        sa.select(counters.c.name, counters.c.value)
        .where(counters.c.app == ctx.app, counters.c.channel == channel)
        .order_by(counters.c.name)
    )
    return {row.name: row.value for row in rows}
