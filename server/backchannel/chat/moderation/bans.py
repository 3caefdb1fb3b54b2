"""Bans: out of a channel, or out of all, for a time or for good."""

from __future__ import annotations

from backchannel import Context

from ..access import FOREVER
from ..channels.entering import give_role, go, heir_of, refuse_direct
from ..common import app
from ..tables import bans, members
from .audit import actor_of, record
from .contract import Ban, Restrained, Restraint, RestraintSet, Unban
from .restraints import end_of, not_restrained, summary
from .standing import apply, may_restrain, settle_later

__all__: list[str] = []


@app.handle(Ban)
async def ban(ctx: Context, request: Ban) -> Restraint:
    """Put a user out; who is none of the members cannot become one. Again: with the new end and reason.

    A ban from everywhere leaves the memberships, which do nothing while it holds, and closes the user's connections.
    """
    channel, user = request.channel, request.user
    found = await may_restrain(ctx, channel, user, "moderate.ban")
    if found is not None:
        refuse_direct(found)
    before = await ctx.db.get(bans, channel=channel, user=user)
    if before is not None and before.until <= ctx.now:
        before = None
    until = end_of(ctx, request.seconds)
    told = None if until == FOREVER else until
    ctx.delete(bans, {"channel": channel, "user": user})
    ctx.insert(bans, channel=channel, user=user, until=until, reason=request.reason, by=actor_of(ctx), time=ctx.now)
    role = None
    if found is None:
        await apply(ctx, [user])
        await settle_later(ctx, user)
        ctx.disconnect(user)
    else:
        member = await ctx.db.get(members, channel=channel, user=user)
        if member is not None:
            role = member.role
            if role == "owner" and (heir := await heir_of(ctx, channel, [user])) is not None:
                give_role(ctx, found.rules, heir, "owner")
            go(ctx, found, [user], by=actor_of(ctx))
        # A room that has no members is left by this event.
        ctx.publish(channel, RestraintSet(channel, user, "ban", told), ends=[user])
    await record(
        ctx,
        channel,
        "ban.add",
        user,
        reason=request.reason,
        before=None if before is None else summary(before),
        after={"until": told} if role is None else {"until": told, "was": role},
    )
    ctx.publish(f"user:{user}", RestraintSet(channel, user, "ban", told, request.reason))
    return Restraint(channel, user, "ban", ctx.now, told, request.reason, actor_of(ctx))


@app.handle(Unban)
async def unban(ctx: Context, request: Unban) -> Restrained:
    """Let a user come back. A ban from everywhere goes on in the channel, and the other way round."""
    channel, user = request.channel, request.user
    await may_restrain(ctx, channel, user, "moderate.ban")
    before = await ctx.db.get(bans, channel=channel, user=user)
    if before is None or before.until <= ctx.now:
        raise not_restrained(user, "ban", channel)
    ctx.delete(bans, {"channel": channel, "user": user})
    if channel == "*":
        await apply(ctx, [user])
        await settle_later(ctx, user)
    await record(ctx, channel, "ban.remove", user, reason=request.reason, before=summary(before))
    ctx.publish(f"user:{user}", RestraintSet(channel, user, "ban", 0))
    return Restrained(channel, user, "ban")
