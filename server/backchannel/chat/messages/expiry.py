"""Expiry: messages that go by themselves. A job finds what is due, and each channel's lane takes its own away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from backchannel import Command, Context, Publisher, Query, Refused, Struct

from ..common import app
from ..data.tables import holds
from ..files.tables import uses
from ..tables import messages
from .contract import MessagesExpired
from .tables import edits, mentions, pins, reaction_counts, reactions
from .threads import recount

__all__ = ["erase"]

_CHANNELS: Final = 100
_MESSAGES: Final = 200
_EVERY: Final = 5.0


class DueChannels(Struct):
    """Channels that have messages whose time is over."""

    channels: list[str]


@app.query("message.due", internal=True)
class FindDue(Query[DueChannels]):
    """The channels, those with the longest overdue message first."""


class Expired(Struct):
    """How many messages went, and whether there are more."""

    count: int
    more: bool


@app.command("message.expire", lane="channel", internal=True)
class ExpireMessages(Command[Expired]):
    """Take away what is due in one channel."""

    channel: str


@app.handle(FindDue)
async def find_due(ctx: Context, request: FindDue) -> DueChannels:
    """By the index over what expires at all."""
    rows = await ctx.db.rows(
        sa.select(messages.c.channel)
        .where(
            messages.c.app == ctx.app,
            messages.c.expires.is_not(None),
            messages.c.expires <= ctx.now,
            ~sa.exists()
            .where(holds.c.app == messages.c.app, holds.c.channel == messages.c.channel)
            .correlate(messages),
        )
        .order_by(messages.c.expires)
        .limit(_CHANNELS * 10)
    )
    return DueChannels(list(dict.fromkeys(row.channel for row in rows))[:_CHANNELS])


@app.handle(ExpireMessages)
async def expire_messages(ctx: Context, request: ExpireMessages) -> Expired:
    """Take away a number of them, so that no transaction grows long; none of a channel on legal hold."""
    if await ctx.db.get(holds, channel=request.channel) is not None:
        return Expired(0, more=False)
    rows = await ctx.db.rows(
        sa.select(messages)
        .where(
            messages.c.app == ctx.app,
            messages.c.channel == request.channel,
            messages.c.expires.is_not(None),
            messages.c.expires <= ctx.now,
        )
        .order_by(messages.c.seq)
        .limit(_MESSAGES + 1)
    )
    page = rows[:_MESSAGES]
    if page:
        await erase(ctx, request.channel, page)
    return Expired(len(page), len(rows) > _MESSAGES)


async def erase(ctx: Context, channel: str, rows: Sequence[sa.Row[Any]]) -> None:
    """Take away all that messages said, and all that hangs on them; their places stay. Under the channel's lane.

    Args:
        ctx: the command.
        channel: theirs.
        rows: rows of `tables.messages`.
    """
    for row in rows:
        key = {"channel": channel, "seq": row.seq}
        ctx.update(
            messages,
            key,
            text="",
            data=None,
            quote=None,
            forwarded=None,
            mentions=None,
            files=None,
            links=None,
            expires=None,
            counted=False,
            deleted=ctx.now if row.deleted is None else row.deleted,
            deleted_by=None,
        )
        for table in (edits, mentions, reactions, reaction_counts, pins, uses):
            ctx.delete(table, key)
    told = [row.seq for row in rows if row.deleted is None and not row.shadow]
    if told:
        ctx.publish(channel, MessagesExpired(channel=channel, seqs=told))
    await recount(ctx, channel, {row.parent for row in rows if row.parent is not None})


@app.every(_EVERY)
async def expire(publisher: Publisher) -> None:
    """Once in the installation."""
    due = await publisher.call(FindDue(), user="")
    for channel in due.channels:
        try:
            while (await publisher.call(ExpireMessages(channel), user="")).more:
                pass
        except Refused:
            continue  # a busy channel is asked again next time
