"""Listing: messages of a channel or a thread both ways, single ones, and what they said before."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..paging import paged
from ..tables import messages
from .contract import GetMessage, ListEdits, ListMessages, Mentions, Message, MessageEdit, MessageEdits, MessagePage
from .finding import find_message
from .rows import messages_of
from .tables import edits
from .visible import gone, visible_in

__all__: list[str] = []


@app.handle(ListMessages)
async def list_messages(ctx: Context, request: ListMessages) -> MessagePage:
    """A page of messages. How many statements it takes does not depend on it, but that around a number it takes two."""
    if sum(place is not None for place in (request.before, request.after, request.around)) > 1:
        raise Refused("invalid", "Give `before`, `after` or `around`, not several of them.")
    found = await access(ctx, request.channel, "channel.read")
    await ctx.position(request.channel)
    if request.parent is not None:
        await find_message(ctx, found, request.parent, deleted=True)

    def behind(after: int) -> sa.Select[Any]:
        wanted = messages.c.shown if request.parent is None else messages.c.parent == request.parent
        return sa.select(messages).where(visible_in(ctx, found, after=after), wanted)

    statement = behind(0)
    total = None
    if request.total:
        total = await ctx.db.value(statement.with_only_columns(sa.func.count(), maintain_column_froms=True))
    seq = messages.c.seq
    older = newer = False
    if request.after is not None:
        rows, newer = await _read(ctx, behind(request.after).order_by(seq), request.limit)
        older = request.after > 0
    elif request.around is None:
        if request.before is not None:
            statement = statement.where(seq < request.before)
            newer = True
        rows, older = await _read(ctx, statement.order_by(seq.desc()), request.limit)
        rows.reverse()
    else:
        half = (request.limit + 1) // 2
        above, older = await _read(ctx, statement.where(seq <= request.around).order_by(seq.desc()), half)
        rows, newer = await _read(ctx, behind(request.around).order_by(seq), max(request.limit - len(above), 1))
        rows = [*reversed(above), *rows]
    return MessagePage(
        messages=await messages_of(ctx, rows, user=ctx.user),
        more=newer if request.after is not None else older,
        previous=rows[0].seq if rows and older else None,
        next=rows[-1].seq if rows and newer else None,
        total=total,
    )


async def _read(ctx: Context, statement: sa.Select[Any], limit: int) -> tuple[list[sa.Row[Any]], bool]:
    """So many rows, and whether there are more."""
    rows = list(await ctx.db.rows(statement.limit(limit + 1)))
    return rows[:limit], len(rows) > limit


@app.handle(GetMessage)
async def get_message(ctx: Context, request: GetMessage) -> Message:
    """One message; a tombstone if it is deleted."""
    found = await access(ctx, request.channel, "channel.read")
    await ctx.position(request.channel)
    row = await find_message(ctx, found, request.seq, deleted=True)
    [told] = await messages_of(ctx, [row], user=ctx.user)
    return told


@app.handle(ListEdits)
async def list_edits(ctx: Context, request: ListEdits) -> MessageEdits:
    """For who may see the message; of a deleted one for who may restore it."""
    found = await access(ctx, request.channel, "channel.read")
    row = await find_message(ctx, found, request.seq, deleted=True)
    if gone(row, ctx.now):
        found.require("message.restore")
    statement = sa.select(edits).where(
        edits.c.app == ctx.app, edits.c.channel == request.channel, edits.c.seq == request.seq
    )
    page = await paged(ctx, statement, [edits.c.edit], request, newest_first=True)
    return MessageEdits(
        [
            MessageEdit(
                edit=one.edit,
                user=one.user,
                time=one.time,
                text=one.text,
                data=None if one.data is None else msgspec.json.decode(one.data),
                mentions=None if one.mentions is None else msgspec.json.decode(one.mentions, type=Mentions),
            )
            for one in page.rows
        ],
        page.next,
        page.previous,
        page.total,
    )
