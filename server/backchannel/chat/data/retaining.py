"""Retention and legal holds: how long messages are kept, and what is kept all the same."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from backchannel import Command, Context, Publisher, Query, Refused, Struct

from ..common import app
from ..messages.expiry import erase
from ..moderation.audit import actor_of, record
from ..people.profiles import require_operator
from ..tables import channels, messages
from .contract import (
    Hold,
    Holds,
    ListHolds,
    ListRetention,
    Retention,
    RetentionRule,
    SetHold,
    SetRetention,
)
from .tables import holds, retained, retention

__all__ = ["retain"]

_EVERY: Final = 60.0
_STEP: Final = 200
"""Messages that go in one command."""
_CHANNELS: Final = 100
_DAY: Final = 86_400_000
_HELD: Final = 3_600_000
"""After how long a channel on hold is looked at again."""


@app.handle(SetRetention)
async def set_retention(ctx: Context, request: SetRetention) -> Retention:
    """The rule, and that all channels that it may be about are looked at anew."""
    require_operator(ctx)
    row = await ctx.db.get(retention, scope=request.scope)
    if (None if row is None else row.days) != request.days:
        if request.days is None:
            ctx.delete(retention, {"scope": request.scope})
        elif row is None:
            ctx.insert(retention, scope=request.scope, days=request.days, by=actor_of(ctx), time=ctx.now)
        else:
            ctx.update(retention, {"scope": request.scope}, days=request.days, by=actor_of(ctx), time=ctx.now)
        if request.scope.startswith("chat:"):
            ctx.delete(retained, {"channel": request.scope})
        else:
            # Few say that all ends earlier, and those channels are looked at anew within a day in any case.
            soon = await ctx.db.rows(
                sa.select(retained.c.channel)
                .where(retained.c.app == ctx.app, retained.c.due > ctx.now)
                .order_by(retained.c.due)
                .limit(1000)
            )
            for one in soon:
                ctx.update(retained, {"channel": one.channel}, due=0)
    return await _rules(ctx)


@app.handle(ListRetention)
async def list_retention(ctx: Context, request: ListRetention) -> Retention:
    """Read them."""
    require_operator(ctx)
    return await _rules(ctx)


async def _rules(ctx: Context) -> Retention:
    rows = await ctx.db.rows(sa.select(retention).where(retention.c.app == ctx.app).order_by(retention.c.scope))
    return Retention([RetentionRule(row.scope, row.days, row.by, row.time) for row in rows])


@app.handle(SetHold)
async def set_hold(ctx: Context, request: SetHold) -> Holds:
    """The row says it; the audit log tells who did it."""
    require_operator(ctx)
    if await ctx.db.get(channels, channel=request.channel) is None:
        raise Refused("not_found", f"There is no channel {request.channel}.")
    row = await ctx.db.get(holds, channel=request.channel)
    if request.held:
        if row is not None:
            return Holds([_hold(row)])
        hold = Hold(request.channel, request.reason, actor_of(ctx), ctx.now)
        ctx.insert(holds, channel=hold.channel, reason=hold.reason, by=hold.by, time=hold.time)
        await record(ctx, request.channel, "hold.set", "channel", reason=request.reason, after={"held": True})
        return Holds([hold])
    if row is not None:
        ctx.delete(holds, {"channel": request.channel})
        await record(ctx, request.channel, "hold.set", "channel", reason=request.reason, after={"held": False})
    return Holds([])


@app.handle(ListHolds)
async def list_holds(ctx: Context, request: ListHolds) -> Holds:
    """Read them."""
    require_operator(ctx)
    rows = await ctx.db.rows(sa.select(holds).where(holds.c.app == ctx.app).order_by(holds.c.channel))
    return Holds([_hold(row) for row in rows])


def _hold(row: Any) -> Hold:
    return Hold(row.channel, row.reason, row.by, row.time)


# What the job asks


class DueChannels(Struct):
    """Channels that are to be looked at."""

    channels: list[str]


@app.query("retention.due", internal=True)
class FindDue(Query[DueChannels]):
    """Channels with something too old, and those for which nobody knows yet."""


def _days(table: sa.FromClause) -> sa.ColumnElement[int]:
    """The days of the nearest rule for a channel's row; NULL: there is none."""

    def rule(scope: sa.ColumnElement[str] | str) -> Any:
        return (
            sa.select(retention.c.days)
            .where(retention.c.app == table.c.app, retention.c.scope == scope)
            .correlate(table)
            .scalar_subquery()
        )

    return sa.func.coalesce(rule(table.c.channel), rule(sa.literal("type:") + table.c.type), rule("*"))


@app.handle(FindDue)
async def find_due(ctx: Context, request: FindDue) -> DueChannels:
    """By the index over when; without any rule nothing is read but that."""
    late = await ctx.db.rows(
        sa.select(retained.c.channel)
        .where(retained.c.app == ctx.app, retained.c.due <= ctx.now)
        .order_by(retained.c.due)
        .limit(_CHANNELS)
    )
    found = [row.channel for row in late]
    any_rule = sa.select(retention.c.scope).where(retention.c.app == ctx.app, retention.c.days > 0).limit(1)
    if len(found) < _CHANNELS and await ctx.db.row(any_rule) is not None:
        known = sa.exists().where(retained.c.app == channels.c.app, retained.c.channel == channels.c.channel)
        new = await ctx.db.rows(
            sa.select(channels.c.channel)
            .where(channels.c.app == ctx.app, ~known.correlate(channels), _days(channels) > 0)
            .limit(_CHANNELS - len(found))
        )
        found += [row.channel for row in new]
    return DueChannels(found)


class Retained(Struct):
    """How many messages went, and whether there are more."""

    count: int
    more: bool


@app.command("retention.apply", lane="channel", internal=True)
class ApplyRetention(Command[Retained]):
    """Take away what is too old in one channel."""

    channel: str


@app.handle(ApplyRetention)
async def apply_retention(ctx: Context, request: ApplyRetention) -> Retained:
    """A number of messages, from where it ended the last time; then note when the next one is due."""
    channel = request.channel
    state = await ctx.db.get(retained, channel=channel)
    days = await ctx.db.value(
        sa.select(_days(channels)).where(channels.c.app == ctx.app, channels.c.channel == channel)
    )
    if not days:
        ctx.delete(retained, {"channel": channel})
        return Retained(0, more=False)
    seq = 0 if state is None else state.seq
    if await ctx.db.get(holds, channel=channel) is not None:
        _note(ctx, channel, state, seq, ctx.now + _HELD)
        return Retained(0, more=False)
    before = ctx.now - days * _DAY
    rows = await ctx.db.rows(
        sa.select(messages)
        .where(messages.c.app == ctx.app, messages.c.channel == channel, messages.c.seq > seq)
        .order_by(messages.c.seq)
        .limit(_STEP + 1)
    )
    page = rows[:_STEP]
    old = []
    for row in page:
        if row.time >= before:
            break
        old.append(row)
    going = [row for row in old if not _empty(row)]
    if going:
        await erase(ctx, channel, going)
    more = len(old) == len(page) and len(rows) > _STEP
    following = rows[len(old)].time + days * _DAY + 1 if len(rows) > len(old) else ctx.now + days * _DAY
    # A day at most, so that a change of the rules is heeded by then.
    due = 0 if more else min(following, ctx.now + _DAY)
    _note(ctx, channel, state, old[-1].seq if old else seq, due)
    return Retained(len(going), more)


def _empty(row: sa.Row[Any]) -> bool:
    """Whether nothing is left of what a message said."""
    said = (row.data, row.forwarded, row.mentions, row.files, row.links, row.quote)
    return row.deleted is not None and row.deleted_by is None and not row.text and not any(said)


def _note(ctx: Context, channel: str, state: Any, seq: int, due: int) -> None:
    if state is None:
        ctx.insert(retained, channel=channel, seq=seq, due=due)
    else:
        ctx.update(retained, {"channel": channel}, seq=seq, due=due)


@app.every(_EVERY)
async def retain(publisher: Publisher) -> None:
    """Once in the installation, until nothing is due."""
    while True:
        found = (await publisher.call(FindDue(), user="")).channels
        failed = 0
        for channel in found:
            try:
                while (await publisher.call(ApplyRetention(channel), user="")).more:
                    pass
            except Refused:
                failed += 1  # a busy channel is asked again next time
        if len(found) < _CHANNELS or failed:
            return
