"""What is due: scheduled messages, reminders, polls that close by themselves."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import sqlalchemy as sa
import structlog

from backchannel import Context, Publisher, Query, Refused, Struct

from ..common import app
from .polls import EndPoll
from .reminders import TellReminder
from .scheduled import SendScheduled
from .tables import polls, reminders, scheduled

__all__: list[str] = []

_EVERY: Final = 10.0
"""Seconds: as late as anything of this is."""

_AT_ONCE: Final = 100
"""Of each kind, so many are done side by side; those of one batch share its transaction."""

log = structlog.get_logger(__name__)


class Due(Struct):
    """Something whose time has come."""

    kind: int
    user: str
    channel: str
    id: str
    seq: int


@app.query("personal.due", internal=True)
class FindDue(Query[list[Due]]):
    """What is due now, the longest first."""


@app.handle(FindDue)
async def find_due(ctx: Context, request: FindDue) -> list[Due]:
    """One statement for all kinds."""
    no_text, no_number = sa.literal_column("''", sa.Text), sa.literal_column("0", sa.BigInteger)
    parts = [
        _first(
            sa.select(
                sa.literal_column("0").label("kind"),
                scheduled.c.user.label("user"),
                scheduled.c.channel.label("channel"),
                scheduled.c.id.label("id"),
                no_number.label("seq"),
            ).where(scheduled.c.app == ctx.app, scheduled.c.code.is_(None), scheduled.c.due <= ctx.now),
            scheduled.c.due,
        ),
        _first(
            sa.select(
                sa.literal_column("1").label("kind"),
                reminders.c.user.label("user"),
                no_text.label("channel"),
                reminders.c.id.label("id"),
                no_number.label("seq"),
            ).where(reminders.c.app == ctx.app, reminders.c.told.is_(None), reminders.c.due <= ctx.now),
            reminders.c.due,
        ),
        _first(
            sa.select(
                sa.literal_column("2").label("kind"),
                polls.c.user.label("user"),
                polls.c.channel.label("channel"),
                no_text.label("id"),
                polls.c.seq.label("seq"),
            ).where(polls.c.app == ctx.app, polls.c.closed.is_(None), polls.c.closes <= ctx.now),
            polls.c.closes,
        ),
    ]
    rows = await ctx.db.rows(sa.select(sa.union_all(*parts).subquery()))
    return [Due(row.kind, row.user, row.channel, row.id, row.seq) for row in rows]


def _first(statement: sa.Select[Any], by: sa.Column[int]) -> sa.Select[Any]:
    return sa.select(statement.order_by(by).limit(_AT_ONCE).subquery())


@app.every(_EVERY)
async def do_what_is_due(publisher: Publisher) -> None:
    """Do all of it; what fails is tried again at the next beat."""
    while True:
        due = await publisher.call(FindDue(), user="")
        done = await asyncio.gather(*(_do(publisher, one) for one in due))
        if len(due) < _AT_ONCE or not any(done):
            return


async def _do(publisher: Publisher, due: Due) -> bool:
    """Whether it was done. Each has one effect, however often it is tried: its row says what is done."""
    try:
        if due.kind == 0:
            return await publisher.call(SendScheduled(due.channel, due.id), user=due.user)
        if due.kind == 1:
            return await publisher.call(TellReminder(due.id), user=due.user)
        return await publisher.call(EndPoll(due.channel, due.seq), user=due.user)
    except Refused as refused:
        log.warning("what is due could not be done", user=due.user, kind=due.kind, reason=str(refused))
        return False
