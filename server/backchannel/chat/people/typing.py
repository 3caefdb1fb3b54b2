"""Typing: told to who listens, without a trace in the log. It ends by itself.

In a large room it is sampled: every typist is noted, which costs one row of their own, and of all that happens in a
second a few events are told, with the number of those who type. What a listener gets does not grow with the room.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from backchannel import Command, Context, Publisher, Query, Refused, Struct

from ..access import Access, access
from ..common import ChatChannel, app
from . import tables
from .tables import typing_rooms
from .typing_contract import GetTyping, StartTyping, StopTyping, Typing, TypingNow, TypingStarted, TypingStopped

__all__: list[str] = []

_LASTS: Final = 6_000
"""How long one who types is taken to do so unless they say it again, in milliseconds."""
_TOLD: Final = 2
"""How many events a second a large room has of it."""
_COUNTED: Final = 1_000
_NAMED: Final = 10
_FORGET_EVERY: Final = 60.0
_FORGET_MOST: Final = 100


@app.handle(StartTyping)
async def start_typing(ctx: Context, request: StartTyping) -> Typing:
    """Tell the channel, or note it in a large room and tell some."""
    found = await _allowed(ctx, request.channel)
    expires = ctx.now + _LASTS
    if found.shadowed:
        pass  # they are to believe that it is told
    elif not _is_large(found):
        ctx.publish(request.channel, TypingStarted(channel=request.channel, user=ctx.user, expires=expires))
    else:
        await _note(ctx, request.channel, expires)
    return Typing(request.channel, expires)


async def _note(ctx: Context, channel: str, expires: int) -> None:
    typing = tables.typing
    if await ctx.db.get(typing, channel=channel, user=ctx.user) is None:
        ctx.insert(typing, channel=channel, user=ctx.user, expires=expires)
    else:
        ctx.update(typing, {"channel": channel, "user": ctx.user}, expires=expires)
    second = ctx.now // 1000
    room = await ctx.db.get(typing_rooms, channel=channel)
    told = room.told if room is not None and room.second == second else 0
    if told >= _TOLD:
        return
    if room is None:
        ctx.insert(typing_rooms, channel=channel, second=second, told=1)
    else:
        ctx.update(typing_rooms, {"channel": channel}, second=second, told=told + 1)
    count = await _count(ctx, channel)
    ctx.publish(channel, TypingStarted(channel=channel, user=ctx.user, expires=expires, count=count))


@app.handle(StopTyping)
async def stop_typing(ctx: Context, request: StopTyping) -> Typing:
    """Tell the channel; in a large room, where few were told of it, forget it."""
    found = await _allowed(ctx, request.channel)
    if found.shadowed:
        pass
    elif not _is_large(found):
        ctx.publish(request.channel, TypingStopped(channel=request.channel, user=ctx.user))
    else:
        ctx.delete(tables.typing, {"channel": request.channel, "user": ctx.user})
    return Typing(request.channel)


@app.handle(GetTyping)
async def get_typing(ctx: Context, request: GetTyping) -> TypingNow:
    """How many are typing in a large room, and some of them: two statements beside those of the access."""
    found = await access(ctx, request.channel, "channel.read")
    if not _is_large(found):
        raise Refused(
            "invalid",
            f"{request.channel} is small: its events tell of everybody who types.",
            details={"reason": "small"},
        )
    rows = await ctx.db.rows(_typing_now(ctx, request.channel).order_by(tables.typing.c.expires.desc()).limit(_NAMED))
    return TypingNow(request.channel, await _count(ctx, request.channel), [row.user for row in rows])


async def _allowed(ctx: Context, channel: str) -> Access:
    found = await access(ctx, channel, "typing.tell")
    if not found.rules.features.typing:
        raise Refused("invalid", f"Nobody tells in {channel} that they type.", details={"reason": "feature"})
    return found


def _is_large(found: Access) -> bool:
    return not found.rules.type.membership or found.channel.member_count > found.rules.features.members_told


def _typing_now(ctx: Context, channel: str) -> sa.Select[tuple[str]]:
    typing = tables.typing
    return sa.select(typing.c.user).where(
        typing.c.app == ctx.app, typing.c.channel == channel, typing.c.expires > ctx.now
    )


async def _count(ctx: Context, channel: str) -> int:
    some = _typing_now(ctx, channel).limit(_COUNTED).subquery()
    count: int = await ctx.db.value(sa.select(sa.func.count()).select_from(some))
    return count


# What is over


class OverRooms(Struct):
    """Large rooms in which nobody has said for a while that they type."""

    channels: list[str]


@app.query("typing.over", internal=True)
class ListOver(Query[OverRooms]):
    """Where there is something to be forgotten."""


@app.handle(ListOver)
async def list_over(ctx: Context, request: ListOver) -> OverRooms:
    """Rooms whose last event is older than any typing lasts."""
    rows = await ctx.db.rows(
        sa.select(typing_rooms.c.channel)
        .where(typing_rooms.c.app == ctx.app, typing_rooms.c.second < (ctx.now - _LASTS) // 1000)
        .limit(_FORGET_MOST)
    )
    return OverRooms([row.channel for row in rows])


@app.command("typing.forget", internal=True, lane="channel", own_transaction=True)
class ForgetTyping(Command[None]):
    """Forget who typed in a room."""

    channel: ChatChannel


@app.handle(ForgetTyping)
async def forget_typing(ctx: Context, request: ForgetTyping) -> None:
    """Rows that are over, of the room and of those who typed there."""
    for table, over in (
        (tables.typing, tables.typing.c.expires <= ctx.now),
        (typing_rooms, typing_rooms.c.second < (ctx.now - _LASTS) // 1000),
    ):
        await ctx.db.execute(sa.delete(table).where(table.c.app == ctx.app, table.c.channel == request.channel, over))


@app.every(_FORGET_EVERY)
async def forget_what_is_over(publisher: Publisher) -> None:
    """Keep the tables small."""
    for channel in (await publisher.call(ListOver(), user="")).channels:
        await publisher.call(ForgetTyping(channel), user="")
