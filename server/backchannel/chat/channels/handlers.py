"""Create, join, leave, list."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..cursors import cursor, read_cursor
from ..tables import channels, members, messages
from .contract import (
    AddedToChannel,
    ChannelInfo,
    ChannelList,
    CreateChannel,
    JoinChannel,
    LeaveChannel,
    Left,
    ListChannels,
    ListMembers,
    MemberInfo,
    MemberJoined,
    MemberLeft,
    MemberList,
    RemovedFromChannel,
)

__all__: list[str] = []


@app.handle(CreateChannel)
async def create_channel(ctx: Context, request: CreateChannel) -> ChannelInfo:
    """Create a channel and make its first members."""
    channel = f"chat:{request.id or ctx.new_id()}"
    if await ctx.db.get(channels, channel=channel) is not None:
        raise Refused("conflict", f"{channel} exists already; choose another id, or join it.")
    users = [ctx.user, *dict.fromkeys(user for user in request.members if user != ctx.user)]
    ctx.insert(
        channels,
        channel=channel,
        name=request.name,
        public=request.public,
        creator=ctx.user,
        created=ctx.now,
        type="group",
        member_count=len(users),
    )
    info = ChannelInfo(
        channel=channel,
        name=request.name,
        public=request.public,
        creator=ctx.user,
        created=ctx.now,
        joined=True,
        members=len(users),
        last_seq=0,
    )
    for user in users:
        _add(ctx, info, user, "owner" if user == ctx.user else "member")
    return info


@app.handle(JoinChannel)
async def join_channel(ctx: Context, request: JoinChannel) -> ChannelInfo:
    """Become a member; joining again changes nothing."""
    found = await access(ctx, request.channel)
    info = await describe(ctx, found.channel, joined=True)
    if found.member is not None:
        return info
    info.members += 1
    ctx.update(channels, {"channel": request.channel}, member_count=info.members)
    _add(ctx, info, ctx.user, "member")
    return info


def _add(ctx: Context, info: ChannelInfo, user: str, role: str) -> None:
    ctx.insert(members, channel=info.channel, user=user, role=role, joined=ctx.now)
    ctx.publish(info.channel, MemberJoined(channel=info.channel, user=user))
    ctx.publish(f"user:{user}", msgspec.convert(msgspec.to_builtins(info), AddedToChannel))


@app.handle(LeaveChannel)
async def leave_channel(ctx: Context, request: LeaveChannel) -> Left:
    """Stop being a member; the right to listen ends in the log. Leaving twice changes nothing."""
    found = await access(ctx, request.channel)
    if found.member is None:
        return Left(request.channel)
    ctx.update(channels, {"channel": request.channel}, member_count=found.channel.member_count - 1)
    ctx.delete(members, {"channel": request.channel, "user": ctx.user})
    ctx.publish(request.channel, MemberLeft(channel=request.channel, user=ctx.user), ends=[ctx.user])
    ctx.publish(f"user:{ctx.user}", RemovedFromChannel(channel=request.channel))
    return Left(request.channel)


@app.handle(ListChannels)
async def list_channels(ctx: Context, request: ListChannels) -> ChannelList:
    """One statement for a page: joined ones first, then public ones, by name and channel."""
    mine = sa.select(members.c.channel).where(members.c.app == ctx.app, members.c.user == ctx.user).scalar_subquery()
    other = sa.case((channels.c.channel.in_(mine), 0), else_=1).label("other")
    member_count = (
        sa.select(sa.func.count())
        .where(members.c.app == channels.c.app, members.c.channel == channels.c.channel)
        .scalar_subquery()
        .label("members")
    )
    newest = (
        sa.select(sa.func.max(messages.c.seq))
        .where(messages.c.app == channels.c.app, messages.c.channel == channels.c.channel)
        .scalar_subquery()
        .label("last_seq")
    )
    statement = (
        sa.select(channels, other, member_count, newest)
        .where(channels.c.app == ctx.app, sa.or_(channels.c.public, channels.c.channel.in_(mine)))
        .order_by(other, channels.c.name, channels.c.channel)
        .limit(request.limit + 1)
    )
    if request.cursor is not None:
        at = read_cursor(request.cursor, tuple[int, str, str])
        statement = statement.where(sa.tuple_(other, channels.c.name, channels.c.channel) > sa.tuple_(*at))
    rows = list(await ctx.db.rows(statement))
    page = rows[: request.limit]
    return ChannelList(
        channels=[
            ChannelInfo(
                channel=row.channel,
                name=row.name,
                public=bool(row.public),
                creator=row.creator,
                created=row.created,
                joined=not row.other,
                members=row.members,
                last_seq=row.last_seq or 0,
            )
            for row in page
        ],
        next=cursor(page[-1].other, page[-1].name, page[-1].channel) if len(rows) > request.limit else None,
    )


@app.handle(ListMembers)
async def list_members(ctx: Context, request: ListMembers) -> MemberList:
    """Who is a member, for whoever may see the channel."""
    await access(ctx, request.channel)
    rows = await ctx.db.rows(
        sa.select(members)
        .where(members.c.app == ctx.app, members.c.channel == request.channel)
        .order_by(members.c.user)
    )
    return MemberList([MemberInfo(row.user, row.role, row.joined) for row in rows])


async def describe(ctx: Context, row: Any, *, joined: bool) -> ChannelInfo:
    """A channel as this user sees it."""
    newest = await ctx.db.value(
        sa.select(messages.c.seq)
        .where(messages.c.app == ctx.app, messages.c.channel == row.channel)
        .order_by(messages.c.seq.desc())
        .limit(1)
    )
    return ChannelInfo(
        channel=row.channel,
        name=row.name,
        public=row.public,
        creator=row.creator,
        created=row.created,
        joined=joined,
        members=row.member_count,
        last_seq=newest or 0,
    )
