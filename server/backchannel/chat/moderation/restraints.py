"""Silences and shadows, and the list of who is held back."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import FOREVER, access
from ..common import app
from ..paging import paged
from ..rules import Action
from ..tables import bans
from .audit import actor_of, record, require_operator
from .contract import (
    ListRestraints,
    Restrained,
    Restraint,
    RestraintKind,
    RestraintList,
    RestraintSet,
    Shadow,
    Silence,
    Unshadow,
    Unsilence,
)
from .standing import apply, may_restrain, settle_later
from .tables import restraints

__all__ = ["described", "end_of", "not_restrained", "summary"]

_ACTIONS: Final[dict[RestraintKind, Action]] = {
    "ban": "moderate.ban",
    "silence": "moderate.mute",
    "shadow": "moderate.shadow",
}


def end_of(ctx: Context, seconds: int | None) -> int:
    """When a restraint of so many seconds ends; `FOREVER` without."""
    return FOREVER if seconds is None else ctx.now + seconds * 1000


def described(kind: RestraintKind, row: Any) -> Restraint:
    """A restraint by its row, of either table."""
    return Restraint(
        channel=row.channel,
        user=row.user,
        kind=kind,
        time=row.time,
        until=None if row.until == FOREVER else row.until,
        reason=row.reason,
        by=row.by,
    )


def summary(row: Any) -> dict[str, Any]:
    """What the audit log keeps of a restraint."""
    return {"until": None if row.until == FOREVER else row.until, "reason": row.reason, "by": row.by}


def not_restrained(user: str, kind: RestraintKind, channel: str) -> Refused:
    """The refusal to lift what is not there."""
    where = "everywhere" if channel == "*" else f"in {channel}"
    return Refused("not_found", f"There is no {kind} of {user} {where}.")


async def _restrain(ctx: Context, request: Silence | Shadow, kind: RestraintKind, seconds: int | None) -> Restraint:
    channel, user = request.channel, request.user
    await may_restrain(ctx, channel, user, _ACTIONS[kind])
    key = {"channel": channel, "user": user, "kind": kind}
    before = await ctx.db.get(restraints, **key)
    if before is not None and before.until <= ctx.now:
        before = None
    until = end_of(ctx, seconds)
    ctx.delete(restraints, key)
    ctx.insert(restraints, **key, until=until, reason=request.reason, by=actor_of(ctx), time=ctx.now)
    await apply(ctx, [user], channel)
    if channel == "*":
        await settle_later(ctx, user)
    told = None if until == FOREVER else until
    await record(
        ctx,
        channel,
        f"{kind}.add",
        user,
        reason=request.reason,
        before=None if before is None else summary(before),
        after={"until": told},
    )
    if kind != "shadow":
        ctx.publish(f"user:{user}", RestraintSet(channel, user, kind, told, request.reason))
    return Restraint(channel, user, kind, ctx.now, told, request.reason, actor_of(ctx))


async def _lift(ctx: Context, request: Unsilence | Unshadow, kind: RestraintKind) -> Restrained:
    channel, user = request.channel, request.user
    await may_restrain(ctx, channel, user, _ACTIONS[kind])
    key = {"channel": channel, "user": user, "kind": kind}
    before = await ctx.db.get(restraints, **key)
    if before is None or before.until <= ctx.now:
        raise not_restrained(user, kind, channel)
    ctx.delete(restraints, key)
    await apply(ctx, [user], channel)
    if channel == "*":
        await settle_later(ctx, user)
    await record(ctx, channel, f"{kind}.remove", user, reason=request.reason, before=summary(before))
    if kind != "shadow":
        ctx.publish(f"user:{user}", RestraintSet(channel, user, kind, 0))
    return Restrained(channel, user, kind)


@app.handle(Silence)
async def silence(ctx: Context, request: Silence) -> Restraint:
    """Take a user's voice."""
    return await _restrain(ctx, request, "silence", request.seconds)


@app.handle(Unsilence)
async def unsilence(ctx: Context, request: Unsilence) -> Restrained:
    """Give it back. A silence that holds everywhere goes on in the channel, and the other way round."""
    return await _lift(ctx, request, "silence")


@app.handle(Shadow)
async def shadow(ctx: Context, request: Shadow) -> Restraint:
    """Let others see no more of what a user sends; the user hears nothing of it."""
    return await _restrain(ctx, request, "shadow", None)


@app.handle(Unshadow)
async def unshadow(ctx: Context, request: Unshadow) -> Restrained:
    """Let others see it again; what was sent in between stays unseen."""
    return await _lift(ctx, request, "shadow")


@app.handle(ListRestraints)
async def list_restraints(ctx: Context, request: ListRestraints) -> RestraintList:
    """Those that hold now, by user; one statement."""
    if request.channel == "*":
        require_operator(ctx, "What holds everywhere")
    else:
        await access(ctx, request.channel, _ACTIONS[request.kind])
    table = bans if request.kind == "ban" else restraints
    statement = sa.select(table).where(
        table.c.app == ctx.app, table.c.channel == request.channel, table.c.until > ctx.now
    )
    if request.kind != "ban":
        statement = statement.where(restraints.c.kind == request.kind)
    page = await paged(ctx, statement, [table.c.user], request)
    return RestraintList([described(request.kind, row) for row in page.rows], page.next, page.previous, page.total)
