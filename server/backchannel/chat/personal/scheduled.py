"""Scheduled messages: sent once when they are due, as if the user had sent them then.

All that touches one runs in its channel's lane, and the row goes in the transaction that sends the message: however
often it is tried, and whatever dies meanwhile, there is one message or none.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Command, Context, Refused

from ..access import Access, access
from ..common import ChatChannel, app
from ..messages.contract import SendMessage
from ..messages.pipeline import Draft
from ..messages.sending import check_content
from ..paging import paged
from .contract import (
    ListScheduled,
    RemoveScheduled,
    ScheduledChanged,
    ScheduledList,
    ScheduledMessage,
    ScheduleMessage,
    UpdateScheduled,
)
from .owner import own_channel
from .tables import scheduled

__all__ = ["SendScheduled"]

_MOST: Final = 200
"""Scheduled messages of one user."""

_AHEAD: Final = 366 * 86_400_000

_message = msgspec.json.Decoder(SendMessage)


@app.command("scheduled.send", lane="channel", internal=True)
class SendScheduled(Command[bool]):
    """Send a scheduled message that is due, as its user; whether it was sent."""

    channel: ChatChannel
    id: str


@app.handle(ScheduleMessage)
async def schedule_message(ctx: Context, request: ScheduleMessage) -> ScheduledMessage:
    """Keep a message until it is due."""
    await _check(ctx, request.channel, request.message, request.due)
    mine = sa.select(sa.func.count()).where(scheduled.c.app == ctx.app, scheduled.c.user == ctx.user)
    if await ctx.db.value(mine) >= _MOST:
        raise Refused(
            "too_large",
            f"There are {_MOST} scheduled messages, which is the most; remove some.",
            details={"reason": "scheduled"},
        )
    kept = ScheduledMessage(ctx.new_id(), request.due, request.message, ctx.now)
    ctx.insert(
        scheduled,
        user=ctx.user,
        id=kept.id,
        channel=request.channel,
        message=msgspec.json.encode(request.message).decode(),
        due=request.due,
        created=ctx.now,
    )
    _tell(ctx, request.channel, kept)
    return kept


@app.handle(UpdateScheduled)
async def update_scheduled(ctx: Context, request: UpdateScheduled) -> ScheduledMessage:
    """Change it; it waits again, if it was refused."""
    row = await _row(ctx, request.channel, request.id)
    kept = _scheduled(row)
    if request.message is not None:
        kept.message = request.message
    if request.due is not None:
        kept.due = request.due
    elif row.code is not None:
        # It is tried at once.
        kept.due = ctx.now + 1
    kept.code = kept.reason = None
    await _check(ctx, request.channel, kept.message, kept.due)
    ctx.update(
        scheduled,
        {"user": ctx.user, "id": row.id},
        message=msgspec.json.encode(kept.message).decode(),
        due=kept.due,
        code=None,
        reason=None,
    )
    _tell(ctx, request.channel, kept)
    return kept


@app.handle(RemoveScheduled)
async def remove_scheduled(ctx: Context, request: RemoveScheduled) -> ScheduledChanged:
    """Let it go."""
    row = await _row(ctx, request.channel, request.id)
    ctx.delete(scheduled, {"user": ctx.user, "id": row.id})
    gone = ScheduledChanged(row.id, row.channel)
    ctx.publish(own_channel(ctx), gone)
    return gone


@app.handle(SendScheduled)
async def send_scheduled(ctx: Context, request: SendScheduled) -> bool:
    """Send it, or keep why it cannot be sent."""
    row = await ctx.db.get(scheduled, user=ctx.user, id=request.id)
    if row is None or row.code is not None or row.due > ctx.now:
        return False
    key = {"user": ctx.user, "id": row.id}
    try:
        sent = await ctx.call(_message.decode(row.message))
    except Refused as refused:
        if refused.code == "rate_limited":
            ctx.update(scheduled, key, due=ctx.now + int((refused.retry_after or 1.0) * 1000))
            return False
        if refused.retry or refused.code == "internal":
            # It says nothing of the message, which is tried again.
            raise
        kept = _scheduled(row)
        kept.code, kept.reason = refused.code, refused.message
        ctx.update(scheduled, key, code=kept.code, reason=kept.reason)
        _tell(ctx, row.channel, kept)
        return False
    ctx.delete(scheduled, key)
    ctx.publish(own_channel(ctx), ScheduledChanged(row.id, row.channel, seq=sent.seq))
    return True


@app.handle(ListScheduled)
async def list_scheduled(ctx: Context, request: ListScheduled) -> ScheduledList:
    """A page of them."""
    statement = sa.select(scheduled).where(scheduled.c.app == ctx.app, scheduled.c.user == ctx.user)
    if request.channel is not None:
        statement = statement.where(scheduled.c.channel == request.channel)
    page = await paged(ctx, statement, (scheduled.c.due, scheduled.c.id), request)
    return ScheduledList([_scheduled(row) for row in page.rows], page.next, page.previous, page.total)


async def _check(ctx: Context, channel: str, message: SendMessage, due: int) -> Access:
    """See now what can be seen now; whether the message may be sent when it is due is asked then.

    Raises:
        Refused: `invalid`, and as `access`.
    """
    found = await access(ctx, channel, "message.send" if message.parent is None else "thread.reply")
    if message.channel != channel:
        raise Refused("invalid", "`message.channel` is another channel than `channel`.", details={"reason": "channel"})
    if message.type == "poll":
        raise Refused("invalid", "A poll cannot be scheduled.", details={"reason": "type"})
    if not ctx.now < due <= ctx.now + _AHEAD:
        raise Refused("invalid", "`due` is not within the year to come.", details={"reason": "due"})
    draft = Draft(purpose="send", type=message.type, text=message.text, data=message.data, files=list(message.files))
    check_content(found, draft)
    return found


async def _row(ctx: Context, channel: str, which: str) -> sa.Row[Any]:
    row = await ctx.db.get(scheduled, user=ctx.user, id=which)
    if row is None or row.channel != channel:
        raise Refused("not_found", f"There is no scheduled message {which}: it was sent, or removed.")
    return row


def _scheduled(row: sa.Row[Any]) -> ScheduledMessage:
    return ScheduledMessage(row.id, row.due, _message.decode(row.message), row.created, row.code, row.reason)


def _tell(ctx: Context, channel: str, kept: ScheduledMessage) -> None:
    ctx.publish(own_channel(ctx), ScheduledChanged(kept.id, channel, kept))
