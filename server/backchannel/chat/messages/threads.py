"""Threads: the answers to a message, in numbers that are told whole; who follows them; lists of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..counts.tables import thread_reads
from ..counts.unread import thread_read_to, thread_unread
from ..cursors import cursor, read_cursor
from ..tables import channels, members, messages
from .contract import Message
from .finding import find_message
from .mark_contract import (
    FollowedThread,
    FollowThread,
    GetThread,
    ListThreads,
    Thread,
    ThreadFollowed,
    ThreadList,
    ThreadUpdated,
)
from .rows import messages_of
from .tables import followers, threads
from .visible import readable, visible, visible_in

__all__ = ["answer", "counted_threads", "recount"]

_USERS: Final = 5
_users = msgspec.json.Decoder(list[str])


async def answer(ctx: Context, parent: sa.Row[Any], reply: Message) -> None:
    """Count a new answer, tell the numbers, and let its sender and the thread's first follow the thread."""
    channel, seq = reply.channel, parent.seq
    row = await ctx.db.get(threads, channel=channel, seq=seq)
    users = [] if row is None else _users.decode(row.users)
    users = [reply.user, *[user for user in users if user != reply.user]][:_USERS]
    now = ThreadUpdated(
        channel=channel,
        seq=seq,
        replies=1 if row is None else row.replies + 1,
        last_seq=reply.seq,
        last_time=reply.time,
        users=users,
    )
    _store(ctx, now, new=row is None)
    ctx.publish(channel, now)
    await _let_follow(ctx, channel, seq, reply, parent.user)


async def _let_follow(ctx: Context, channel: str, seq: int, reply: Message, first: str) -> None:
    who = [user for user in dict.fromkeys([reply.user, first]) if user]
    rows = await ctx.db.rows(
        sa.select(followers).where(
            followers.c.app == ctx.app,
            followers.c.channel == channel,
            followers.c.seq == seq,
            followers.c.user.in_(who),
        )
    )
    known = {row.user: row.following for row in rows}
    for user in who:
        if user not in known:
            ctx.insert(followers, user=user, channel=channel, seq=seq, following=True)
        elif user == reply.user and not known[user]:
            ctx.update(followers, {"user": user, "channel": channel, "seq": seq}, following=True)
        else:
            continue
        ctx.publish(f"user:{user}", ThreadFollowed(channel=channel, seq=seq, following=True))
    if reply.user and reply.user not in known:
        # Who joins in has seen what was said so far.
        key = {"user": reply.user, "channel": channel, "seq": seq}
        if await ctx.db.get(thread_reads, **key) is None:
            ctx.insert(thread_reads, **key, read_seq=reply.seq)


async def recount(ctx: Context, channel: str, parents: set[int]) -> None:
    """Count the answers of these messages by their rows, after some have gone or come back, and tell the numbers.

    One statement for what there is now, however many messages it is about; the answers that go or come back must have
    been declared before.
    """
    if not parents:
        return
    counted = await counted_threads(ctx, channel, parents)
    stored = await ctx.db.rows(
        sa.select(threads.c.seq).where(
            threads.c.app == ctx.app, threads.c.channel == channel, threads.c.seq.in_(sorted(parents))
        )
    )
    known = {row.seq for row in stored}
    for parent in sorted(parents):
        now = counted.get(parent)
        if now is None:
            ctx.delete(threads, {"channel": channel, "seq": parent})
            now = ThreadUpdated(channel=channel, seq=parent, replies=0, last_seq=0, last_time=0)
        else:
            _store(ctx, now, new=parent not in known)
        ctx.publish(channel, now)


async def counted_threads(ctx: Context, channel: str, parents: Collection[int]) -> dict[int, ThreadUpdated]:
    """What the threads of these messages are by their rows, one statement; a message without answers is left out."""
    last = sa.func.max(messages.c.seq)
    each = (
        sa.select(
            messages.c.parent,
            messages.c.user,
            last.label("last"),
            sa.func.sum(sa.func.count()).over(partition_by=messages.c.parent).label("replies"),
            sa.func.max(sa.func.max(messages.c.time)).over(partition_by=messages.c.parent).label("time"),
            sa.func.row_number().over(partition_by=messages.c.parent, order_by=last.desc()).label("place"),
        )
        .where(
            messages.c.app == ctx.app,
            messages.c.channel == channel,
            messages.c.parent.in_(sorted(parents)),
            sa.not_(messages.c.shadow),
            readable(ctx.now),
        )
        .group_by(messages.c.parent, messages.c.user)
        .subquery()
    )
    rows = await ctx.db.rows(sa.select(each).where(each.c.place <= _USERS).order_by(each.c.parent, each.c.place))
    counted: dict[int, ThreadUpdated] = {}
    for row in rows:
        if row.parent in counted:
            counted[row.parent].users.append(row.user)
            continue
        counted[row.parent] = ThreadUpdated(
            channel=channel,
            seq=row.parent,
            replies=int(row.replies),
            last_seq=row.last,
            last_time=row.time,
            users=[row.user],
        )
    return counted


def _store(ctx: Context, thread: ThreadUpdated, *, new: bool) -> None:
    values: dict[str, Any] = {
        "replies": thread.replies,
        "last_seq": thread.last_seq,
        "last_time": thread.last_time,
        "users": msgspec.json.encode(thread.users).decode(),
    }
    key = {"channel": thread.channel, "seq": thread.seq}
    if new:
        ctx.insert(threads, **key, **values)
    else:
        ctx.update(threads, key, **values)


@app.handle(FollowThread)
async def follow_thread(ctx: Context, request: FollowThread) -> FollowedThread:
    """Follow, or stop; again changes nothing."""
    found = await access(ctx, request.channel, "channel.read")
    row = await find_message(ctx, found, request.seq, deleted=True)
    if row.parent is not None or not found.rules.features.threads or not ctx.user:
        raise Refused("invalid", "Follow the thread of a message that stands in the channel itself, as a user.")
    key = {"user": ctx.user, "channel": request.channel, "seq": request.seq}
    stored = await ctx.db.get(followers, **key)
    if stored is None and request.following:
        ctx.insert(followers, **key, following=True)
    elif stored is not None and bool(stored.following) != request.following:
        ctx.update(followers, key, following=request.following)
    else:
        return FollowedThread(request.channel, request.seq, request.following)
    ctx.publish(
        f"user:{ctx.user}",
        ThreadFollowed(channel=request.channel, seq=request.seq, following=request.following),
    )
    return FollowedThread(request.channel, request.seq, request.following)


@app.handle(GetThread)
async def get_thread(ctx: Context, request: GetThread) -> Thread:
    """A message with its answers in numbers."""
    found = await access(ctx, request.channel, "channel.read")
    await ctx.position(request.channel)
    root = await find_message(ctx, found, request.seq, deleted=True)
    user = sa.literal(ctx.user, sa.Text)
    asked = sa.select(
        messages.c.seq,
        thread_unread(messages, user).label("unread"),
        thread_read_to(messages, user).label("read"),
        _following(ctx, messages).label("following"),
    ).where(messages.c.app == ctx.app, messages.c.channel == request.channel, messages.c.seq == request.seq)
    numbers = await ctx.db.row(asked)
    assert numbers is not None
    [message] = await messages_of(ctx, [root], user=ctx.user)
    return Thread(message, bool(numbers.following), numbers.unread, numbers.read)


@app.handle(ListThreads)
async def list_threads(ctx: Context, request: ListThreads) -> ThreadList:
    """The threads of a channel, or those that one follows, the latest answered first."""
    statement: sa.Select[Any] = sa.select(
        threads.c.app, threads.c.channel, threads.c.seq, threads.c.last_seq, threads.c.last_time
    ).where(threads.c.app == ctx.app)
    user = sa.literal(ctx.user, sa.Text)
    order = [threads.c.last_time, threads.c.channel, threads.c.seq]
    if request.channel is not None:
        found = await access(ctx, request.channel, "channel.read")
        await ctx.position(request.channel)
        statement = statement.where(threads.c.channel == request.channel, _answered(visible_in(ctx, found)))
        if request.following:
            statement = statement.where(_following(ctx, threads))
        order = [threads.c.last_seq]
    else:
        statement = _followed(ctx, statement)
    if request.unread:
        statement = statement.where(thread_unread(threads, user) > 0)
    total = None
    if request.total:
        total = await ctx.db.value(sa.select(sa.func.count()).select_from(statement.subquery()))
    back = False
    if request.cursor is not None:
        back, place = read_cursor(request.cursor, tuple[bool, list[int | str]])
        if [type(part) for part in place] != [int, str, int][: len(order)]:
            raise Refused("invalid", "This is no cursor of this query; begin without one.")
        here, at = sa.tuple_(*order), sa.tuple_(*place)
        statement = statement.where(here > at if back else here < at)
    statement = statement.order_by(*[column if back else column.desc() for column in order]).limit(request.limit + 1)
    page = statement.subquery()
    # What is costly to count is counted for the page alone.
    rows = list(
        await ctx.db.rows(
            sa.select(
                messages,
                page.c.last_time.label("last_time"),
                page.c.last_seq.label("last_seq"),
                thread_unread(page, user).label("unread"),
                thread_read_to(page, user).label("read"),
                _following(ctx, page).label("following"),
            )
            .join(
                page,
                sa.and_(
                    messages.c.app == page.c.app, messages.c.channel == page.c.channel, messages.c.seq == page.c.seq
                ),
            )
            .order_by(*[page.c[column.name] if back else page.c[column.name].desc() for column in order])
        )
    )
    more = len(rows) > request.limit
    rows = rows[: request.limit]
    if back:
        rows.reverse()
    told = await messages_of(ctx, rows, user=ctx.user)
    has_next, has_previous = (True, more) if back else (more, request.cursor is not None)

    def place_of(row: sa.Row[Any], *, before: bool) -> str:
        return cursor(before, [getattr(row, column.name) for column in order])

    return ThreadList(
        threads=[
            Thread(message, bool(row.following), row.unread, row.read) for message, row in zip(told, rows, strict=True)
        ],
        next=place_of(rows[-1], before=False) if rows and has_next else None,
        previous=place_of(rows[0], before=True) if rows and has_previous else None,
        total=total,
    )


def _answered(seen: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether the message that a thread answers is one of these. Asked of each thread, and not joined, lest a database
    begin with the messages, of which there are far more."""
    return (
        sa.exists()
        .where(
            messages.c.app == threads.c.app,
            messages.c.channel == threads.c.channel,
            messages.c.seq == threads.c.seq,
            seen,
        )
        .correlate(threads, members)
    )


def _followed(ctx: Context, statement: sa.Select[Any]) -> sa.Select[Any]:
    """Only threads that the asking user follows, in channels that they are a member of."""
    return (
        statement.join(
            followers,
            sa.and_(
                followers.c.app == threads.c.app,
                followers.c.user == ctx.user,
                followers.c.channel == threads.c.channel,
                followers.c.seq == threads.c.seq,
                followers.c.following,
            ),
        )
        .join(
            members,
            sa.and_(members.c.app == threads.c.app, members.c.channel == threads.c.channel, members.c.user == ctx.user),
        )
        .join(channels, sa.and_(channels.c.app == threads.c.app, channels.c.channel == threads.c.channel))
        .where(
            members.c.banned <= ctx.now,
            channels.c.deleted.is_(None),
            _answered(visible(ctx.user, history_from=members.c.history_from)),
        )
    )


def _following(ctx: Context, thread: sa.FromClause) -> sa.ColumnElement[bool]:
    follower = followers.alias()
    return (
        sa.exists()
        .where(
            follower.c.app == thread.c.app,
            follower.c.user == ctx.user,
            follower.c.channel == thread.c.channel,
            follower.c.seq == thread.c.seq,
            follower.c.following,
        )
        .correlate(thread)
    )
