"""Who may do what in chat: the rules that more than one handler asks."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backchannel import Context, Refused

from .contract import ChannelInfo
from .tables import channels, members, messages

__all__ = ["channel_row", "describe", "last_seq", "require_member"]


async def channel_row(ctx: Context, channel: str) -> Any:
    """The channel, if the asking user may know that it exists. Raises `not_found`."""
    row = await ctx.db.get(channels, channel=channel)
    if row is None or not (row.public or await ctx.db.get(members, channel=channel, user=ctx.user)):
        raise Refused("not_found", f"There is no channel {channel}, or it is not yours to see.")
    return row


async def require_member(ctx: Context, channel: str) -> Any:
    """The asking user's membership. Raises `not_found` or `forbidden`."""
    member = await ctx.db.get(members, channel=channel, user=ctx.user)
    if member is None:
        await channel_row(ctx, channel)
        raise Refused("forbidden", f"You are not a member of {channel}; join it first.")
    return member


async def describe(ctx: Context, row: Any, *, joined: bool) -> ChannelInfo:
    """A channel as this user sees it."""
    count = await ctx.db.value(
        sa.select(sa.func.count())
        .select_from(members)
        .where(members.c.app == ctx.app, members.c.channel == row.channel)
    )
    return ChannelInfo(
        channel=row.channel,
        name=row.name,
        public=row.public,
        creator=row.creator,
        created=row.created,
        joined=joined,
        members=count or 0,
        last_seq=await last_seq(ctx, row.channel),
    )


async def last_seq(ctx: Context, channel: str) -> int:
    """The `seq` of the channel's newest message; 0 if there is none."""
    newest = await ctx.db.value(
        sa.select(messages.c.seq)
        .where(messages.c.app == ctx.app, messages.c.channel == channel)
        .order_by(messages.c.seq.desc())
        .limit(1)
    )
    return newest or 0
