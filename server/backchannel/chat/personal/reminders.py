"""Reminders: of a message, or of anything, told to their user alone."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Command, Context, Refused

from ..access import access
from ..common import app
from ..messages.finding import find_message
from ..paging import paged
from .contract import (
    AddReminder,
    ListReminders,
    Reminder,
    ReminderChanged,
    ReminderDue,
    ReminderList,
    ReminderRemoved,
    RemoveReminder,
    UpdateReminder,
)
from .owner import own_channel
from .tables import reminders

__all__ = ["TellReminder"]

_MOST: Final = 500
"""Reminders of one user."""

_AHEAD: Final = 5 * 366 * 86_400_000


@app.command("reminder.tell", internal=True)
class TellReminder(Command[bool]):
    """Tell a user of a reminder that is due; whether it was told."""

    id: str


@app.handle(AddReminder)
async def add_reminder(ctx: Context, request: AddReminder) -> Reminder:
    """Keep it until it is due."""
    _check_due(ctx, request.due)
    if (request.channel is None) != (request.seq is None):
        raise Refused("invalid", "Give both `channel` and `seq`, or neither.", details={"reason": "message"})
    if request.channel is not None and request.seq is not None:
        await find_message(ctx, await access(ctx, request.channel, "channel.read"), request.seq)
    elif not request.text.strip():
        raise Refused("invalid", "Say what to be reminded of: `text`, or a message.", details={"reason": "text"})
    mine = sa.select(sa.func.count()).where(reminders.c.app == ctx.app, reminders.c.user == ctx.user)
    if await ctx.db.value(mine) >= _MOST:
        raise Refused(
            "too_large",
            f"There are {_MOST} reminders, which is the most; remove some.",
            details={"reason": "reminders"},
        )
    kept = Reminder(ctx.new_id(), request.due, ctx.now, request.text, request.channel, request.seq)
    ctx.insert(reminders, user=ctx.user, **msgspec.structs.asdict(kept))
    _tell(ctx, kept)
    return kept


@app.handle(UpdateReminder)
async def update_reminder(ctx: Context, request: UpdateReminder) -> Reminder:
    """Change it; with another time it is to come again."""
    row = await ctx.db.get(reminders, user=ctx.user, id=request.id)
    if row is None:
        raise Refused("not_found", f"There is no reminder {request.id}.")
    kept = _reminder(row)
    if request.text is not None:
        kept.text = request.text
    if request.due is not None and request.due != row.due:
        _check_due(ctx, request.due)
        kept.due, kept.told = request.due, None
    if kept != _reminder(row):
        ctx.update(reminders, {"user": ctx.user, "id": row.id}, text=kept.text, due=kept.due, told=kept.told)
        _tell(ctx, kept)
    return kept


@app.handle(RemoveReminder)
async def remove_reminder(ctx: Context, request: RemoveReminder) -> ReminderRemoved:
    """Let it go."""
    if await ctx.db.get(reminders, user=ctx.user, id=request.id) is not None:
        ctx.delete(reminders, {"user": ctx.user, "id": request.id})
        ctx.publish(own_channel(ctx), ReminderChanged(request.id))
    return ReminderRemoved(request.id)


@app.handle(TellReminder)
async def tell_reminder(ctx: Context, request: TellReminder) -> bool:
    """Tell the user's devices, once."""
    row = await ctx.db.get(reminders, user=ctx.user, id=request.id)
    if row is None or row.told is not None or row.due > ctx.now:
        return False
    kept = _reminder(row)
    kept.told = ctx.now
    ctx.update(reminders, {"user": ctx.user, "id": row.id}, told=ctx.now)
    ctx.publish(own_channel(ctx), ReminderDue(**msgspec.structs.asdict(kept)))
    return True


@app.handle(ListReminders)
async def list_reminders(ctx: Context, request: ListReminders) -> ReminderList:
    """A page of them."""
    statement = sa.select(reminders).where(reminders.c.app == ctx.app, reminders.c.user == ctx.user)
    if request.told is not None:
        statement = statement.where(reminders.c.told.is_not(None) if request.told else reminders.c.told.is_(None))
    page = await paged(ctx, statement, (reminders.c.due, reminders.c.id), request)
    return ReminderList([_reminder(row) for row in page.rows], page.next, page.previous, page.total)


def _check_due(ctx: Context, due: int) -> None:
    if not ctx.now < due <= ctx.now + _AHEAD:
        raise Refused("invalid", "`due` is not within the five years to come.", details={"reason": "due"})


def _reminder(row: sa.Row[Any]) -> Reminder:
    return Reminder(row.id, row.due, row.created, row.text, row.channel, row.seq, row.told)


def _tell(ctx: Context, kept: Reminder) -> None:
    ctx.publish(own_channel(ctx), ReminderChanged(kept.id, kept))
