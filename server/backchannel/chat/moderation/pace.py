"""Slow mode: how often one user may send."""

from __future__ import annotations

from backchannel import Context, Refused

from ..access import Access
from ..messages.pipeline import Draft, before_message
from ..tables import members
from .tables import paces

__all__: list[str] = []


@before_message("sender")
async def keep_the_pace(ctx: Context, found: Access, draft: Draft) -> Draft:
    """Between two messages of a user lie the seconds that slow mode says; edits are none."""
    seconds = found.rules.features.slow_mode
    if not seconds or draft.purpose == "edit" or found.allows("message.no_slow_mode"):
        return draft
    channel = found.channel.channel
    if found.member is not None:
        last = found.member.last_sent
        ctx.update(members, {"channel": channel, "user": ctx.user}, last_sent=ctx.now)
    else:
        row = await ctx.db.get(paces, channel=channel, user=ctx.user)
        last = 0 if row is None else row.time
        if row is None:
            ctx.insert(paces, channel=channel, user=ctx.user, time=ctx.now)
        else:
            ctx.update(paces, {"channel": channel, "user": ctx.user}, time=ctx.now)
    wait = (last + seconds * 1000 - ctx.now) / 1000
    if wait > 0:
        raise Refused(
            "rate_limited",
            f"Slow mode: one message every {seconds} s in {channel}; wait {wait:.0f} s.",
            details={"reason": "slow_mode", "seconds": seconds},
            retry_after=wait,
        )
    return draft
