"""Unread counts: per channel and thread, in all, and a checksum by which a client finds out whether it counts alike."""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access
from ..common import app
from ..messages.tables import followers, threads
from ..tables import channels, members
from .contract import (
    ChannelUnread,
    GetUnread,
    MarkThread,
    ThreadRead,
    ThreadUnread,
    UnreadChanged,
    UnreadChannels,
    UnreadCounts,
)
from .tables import thread_reads
from .unread import Place, last_seq, mentions, thread_read_to, thread_unread, unread

__all__ = ["checksum", "tell_unread", "unread_in", "unread_of"]

_LISTED: Final = 5000
"""As many channels as fit into a reply."""


def checksum(channels: list[ChannelUnread], in_threads: list[ThreadUnread]) -> int:
    """The sum that `UnreadCounts` describes."""
    texts = [f"{one.channel} {one.unread} {one.mentions}" for one in channels if one.unread or one.mentions]
    texts += [f"{one.channel} {one.seq} {one.unread} thread" for one in in_threads if one.unread]
    return sum(crc32(text.encode()) for text in texts) % 2**32


async def unread_of(ctx: Context, found: Access, read: int) -> ChannelUnread:
    """What the asking member has not read in a channel, if all up to `read` is read: one statement, none of whose
    tables is written by marks, so that those of one batch do not wait for each other's."""
    member = found.member
    assert member is not None
    channel = found.channel.channel
    place = Place(ctx.app, channel, ctx.user, member.role, max(read, member.history_from))
    statement: Any = sa.select(
        unread(place).label("unread"), mentions(place).label("mentions"), last_seq(place).label("last")
    )
    row = await ctx.db.row(statement)
    assert row is not None
    return ChannelUnread(
        channel=channel,
        unread=row.unread,
        mentions=row.mentions,
        read_seq=read,
        last_seq=row.last,
        muted=member.muted > ctx.now,
    )


def tell_unread(ctx: Context, user: str, counts: ChannelUnread) -> None:
    """Tell a user's devices what is not read in a channel now."""
    ctx.publish(
        f"user:{user}",
        UnreadChanged(
            channel=counts.channel,
            unread=counts.unread,
            mentions=counts.mentions,
            read_seq=counts.read_seq,
            last_seq=counts.last_seq,
        ),
    )


async def unread_in(ctx: Context, named: list[str] | None = None) -> list[ChannelUnread]:
    """What the asking user has not read in each of their channels, or in those that are named: one statement."""
    statement = (
        sa.select(
            members.c.channel,
            members.c.read_seq,
            members.c.muted,
            unread(members).label("unread"),
            mentions(members).label("mentions"),
            last_seq(members).label("last"),
        )
        .join(channels, sa.and_(channels.c.app == members.c.app, channels.c.channel == members.c.channel))
        .where(
            members.c.app == ctx.app,
            members.c.user == ctx.user,
            members.c.banned <= ctx.now,
            channels.c.deleted.is_(None),
        )
    )
    if named is not None:
        statement = statement.where(members.c.channel.in_(named))
    return [
        ChannelUnread(
            channel=row.channel,
            unread=row.unread,
            mentions=row.mentions,
            read_seq=row.read_seq,
            last_seq=row.last,
            muted=row.muted > ctx.now,
        )
        for row in await ctx.db.rows(statement)
    ]


async def _unread_in_threads(ctx: Context, named: list[str] | None) -> list[ThreadUnread]:
    user = sa.literal(ctx.user, sa.Text)
    statement = (
        sa.select(
            followers.c.channel,
            followers.c.seq,
            thread_unread(followers, user).label("unread"),
            thread_read_to(followers, user).label("read"),
        )
        .join(
            members,
            sa.and_(
                members.c.app == followers.c.app,
                members.c.channel == followers.c.channel,
                members.c.user == followers.c.user,
            ),
        )
        .join(channels, sa.and_(channels.c.app == followers.c.app, channels.c.channel == followers.c.channel))
        .where(
            followers.c.app == ctx.app,
            followers.c.user == ctx.user,
            followers.c.following,
            members.c.banned <= ctx.now,
            channels.c.deleted.is_(None),
        )
    )
    if named is not None:
        statement = statement.where(followers.c.channel.in_(named))
    rows = await ctx.db.rows(statement)
    return [ThreadUnread(row.channel, row.seq, row.unread, row.read) for row in rows if row.unread]


@app.handle(GetUnread)
async def get_unread(ctx: Context, request: GetUnread) -> UnreadCounts:
    """Two statements, however many channels and threads there are."""
    await ctx.position(f"user:{ctx.user}")
    counted = await unread_in(ctx, request.channels)
    in_threads = await _unread_in_threads(ctx, request.channels)
    answer = UnreadCounts(
        unread=sum(one.unread for one in counted),
        mentions=sum(one.mentions for one in counted),
        threads=sum(one.unread for one in in_threads),
        checksum=checksum(counted, in_threads),
        muted=sum(one.unread for one in counted if one.muted),
    )
    if request.checksum == answer.checksum:
        answer.same = True
        return answer
    answer.channels = [one for one in counted if request.channels is not None or one.unread or one.mentions]
    if len(answer.channels) > _LISTED:
        answer.channels.sort(key=lambda one: (one.mentions, one.unread), reverse=True)
        del answer.channels[_LISTED:]
    answer.in_threads = in_threads
    return answer


@app.handle(UnreadChannels)
async def unread_channels(ctx: Context, request: UnreadChannels) -> list[ChannelUnread]:
    """What marking all as read begins with."""
    return [one for one in await unread_in(ctx) if one.unread or one.mentions]


@app.handle(MarkThread)
async def mark_thread(ctx: Context, request: MarkThread) -> ThreadUnread:
    """Move what is read in a thread."""
    found = await access(ctx, request.channel, "receipt.mark")
    if found.member is None:
        raise Refused(
            "forbidden",
            f"Only members of {request.channel} have read its threads.",
            details={"action": "receipt.mark", "reason": "not_member"},
        )
    thread = await ctx.db.get(threads, channel=request.channel, seq=request.seq)
    if thread is None or request.seq <= found.member.history_from:
        raise Refused("not_found", f"There is no thread of the message {request.seq} in {request.channel}.")
    row = await ctx.db.get(thread_reads, user=ctx.user, channel=request.channel, seq=request.seq)
    before = 0 if row is None else row.read_seq
    read = min(request.read, thread.last_seq)
    if not request.unread:
        read = max(read, before)
    key: dict[str, Any] = {"user": ctx.user, "channel": request.channel, "seq": request.seq}
    if row is None:
        ctx.insert(thread_reads, **key, read_seq=read)
    elif read != before:
        ctx.update(thread_reads, key, read_seq=read)
    unread_now = await ctx.db.value(
        sa.select(thread_unread(threads, sa.literal(ctx.user, sa.Text))).where(
            threads.c.app == ctx.app, threads.c.channel == request.channel, threads.c.seq == request.seq
        )
    )
    answer = ThreadUnread(request.channel, request.seq, unread_now, read)
    if read != before:
        ctx.publish(
            f"user:{ctx.user}",
            ThreadRead(channel=request.channel, seq=request.seq, unread=answer.unread, read_seq=read),
        )
    return answer
