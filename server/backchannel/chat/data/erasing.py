"""Erasing a user: what is asked for it, and the job that does it in small steps.

Nothing of it is done at once. The command notes what is wanted and locks the user out; the job finds where something
of them is left, and takes it away under the lane that writes there, some hundred rows at a time. It is done when it
finds nothing more, so it goes on wherever a crash has left it, and a step that runs twice changes nothing.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import sqlalchemy as sa
import structlog

from backchannel import Command, Context, Publisher, Query, Refused, Struct

from ..access import is_operator
from ..common import app
from ..files.internal import DropUpload
from ..files.tables import files, uploads
from ..people.profiles import require_operator
from ..people.tables import profiles
from .contract import EraseUser, Erasure, GetErasure
from .erasing_channel import ErasedRows, EraseInChannel
from .ledger import LEDGER, OWN, Entry
from .naming import STEP, holds_name, mentions_name, rename
from .policy import rules
from .tables import erasures, holds

__all__ = ["erase_users"]

_EVERY: Final = 10.0
_AT_ONCE: Final = 20
"""Erasures in one run of the job."""
_CHANNELS: Final = 100
"""Channels that are looked for at once."""

log = structlog.get_logger(__name__)


@app.handle(EraseUser)
async def erase_user(ctx: Context, request: EraseUser) -> Erasure:
    """Note it, and lock the user out; a repeat gives what was noted."""
    if not is_operator(ctx) and not (ctx.user == request.user and rules().erase):
        raise Refused(
            "forbidden",
            "Only an API key that acts for itself may erase a user here; leave out Backchannel-User.",
            details={"reason": "operators"},
        )
    begun = await ctx.db.row(
        sa.select(erasures).where(
            erasures.c.app == ctx.app, erasures.c.user == request.user, erasures.c.finished.is_(None)
        )
    )
    if begun is not None:
        return _erasure(begun)
    row = await ctx.db.get(profiles, user=request.user)
    if row is None:
        ctx.insert(
            profiles, user=request.user, name=request.user, created=ctx.now, changed=ctx.now, deactivated=ctx.now
        )
    elif row.deactivated is None:
        ctx.update(profiles, {"user": request.user}, deactivated=ctx.now, changed=ctx.now)
    ctx.revoke(request.user)
    kept = Erasure(id=ctx.new_id(), ghost=f"erased-{secrets.token_hex(8)}", messages=request.messages, started=ctx.now)
    ctx.insert(
        erasures,
        id=kept.id,
        user=request.user,
        ghost=kept.ghost,
        messages=kept.messages,
        started=kept.started,
        finished=None,
        rows=0,
        held=False,
    )
    return kept


@app.handle(GetErasure)
async def get_erasure(ctx: Context, request: GetErasure) -> Erasure:
    """Read it."""
    require_operator(ctx)
    row = await ctx.db.get(erasures, id=request.id)
    if row is None:
        raise Refused("not_found", f"There is no erasure {request.id!r}; user.erase answers with its id.")
    return _erasure(row)


def _erasure(row: Any) -> Erasure:
    return Erasure(
        id=row.id,
        ghost=row.ghost,
        messages=row.messages,
        started=row.started,
        rows=row.rows,
        finished=row.finished,
        held=bool(row.held),
    )


# What the job asks


class OpenErasure(Struct):
    """An erasing that has not finished."""

    id: str
    user: str


class OpenErasures(Struct):
    """Those that have waited longest."""

    erasures: list[OpenErasure]


@app.query("erasure.due", internal=True)
class ListOpen(Query[OpenErasures]):
    """Which erasures there are to go on with."""


@app.handle(ListOpen)
async def list_open(ctx: Context, request: ListOpen) -> OpenErasures:
    """By the index over what is not finished."""
    rows = await ctx.db.rows(
        sa.select(erasures.c.id, erasures.c.user)
        .where(erasures.c.app == ctx.app, erasures.c.finished.is_(None))
        .order_by(erasures.c.held, erasures.c.started)
        .limit(_AT_ONCE)
    )
    return OpenErasures([OpenErasure(row.id, row.user) for row in rows])


class Traces(Struct):
    """Channels in which something of a user is left."""

    channels: list[str]
    held: bool
    """Whether there are more of them, on legal hold."""


@app.query("erasure.find", internal=True, timeout=120.0)
class FindTraces(Query[Traces]):
    """Look for what is left of a user, table by table."""

    user: str


@app.handle(FindTraces)
async def find_traces(ctx: Context, request: FindTraces) -> Traces:
    """One statement per table, up to the first that has enough; for most of them the database reads the table."""
    found: dict[str, None] = {}
    held = False
    hold = holds.alias()
    for entry in LEDGER:
        if entry.table.name in OWN or not (entry.users or entry.nested):
            continue
        table = entry.table
        here = sa.or_(*_conditions(entry, request.user))
        on_hold = sa.exists().where(hold.c.app == table.c.app, hold.c.channel == table.c.channel).correlate(table)
        place = sa.select(table.c.channel).where(table.c.app == ctx.app, here).distinct()
        for row in await ctx.db.rows(place.where(~on_hold).limit(_CHANNELS)):
            found[row.channel] = None
        held = held or await ctx.db.row(place.where(on_hold).limit(1)) is not None
        if len(found) >= _CHANNELS:
            break
    return Traces(list(found)[:_CHANNELS], held)


def _conditions(entry: Entry, user: str) -> list[sa.ColumnElement[bool]]:
    return [
        *(holds_name(entry.table.c[column], user) for column in entry.users),
        *(mentions_name(entry.table.c[column], user) for column in entry.nested),
    ]


@app.command("erasure.own", lane_of="user", internal=True)
class EraseOwn(Command[ErasedRows]):
    """Take away what is a user's own, and what is in no channel."""

    id: str
    user: str


@app.handle(EraseOwn)
async def erase_own(ctx: Context, request: EraseOwn) -> ErasedRows:
    """A number of rows."""
    erasure = await ctx.db.get(erasures, id=request.id)
    if erasure is None or erasure.finished is not None:
        return ErasedRows(0, more=False)
    left = STEP
    for entry in LEDGER:
        if entry.table.name in OWN and left > 0:
            left -= await rename(ctx, entry, erasure, left)
    if left > 0:
        rows = await ctx.db.rows(
            sa.select(files.c.id).where(files.c.app == ctx.app, files.c.user == request.user).limit(left)
        )
        for row in rows:
            # The collecting looks at once whether a message still has it.
            gone = {"name": "", "checked": 0} if erasure.messages == "delete" else {}
            ctx.update(files, {"id": row.id}, user=erasure.ghost, **gone)
        left -= len(rows)
    return ErasedRows(STEP - left, more=left <= 0)


@app.query("erasure.uploads", internal=True)
class ListUploads(Query[list[str]]):
    """The uploads of a user that are under way."""

    user: str


@app.handle(ListUploads)
async def list_uploads(ctx: Context, request: ListUploads) -> list[str]:
    """Some of them."""
    rows = await ctx.db.rows(
        sa.select(uploads.c.id).where(uploads.c.app == ctx.app, uploads.c.user == request.user).limit(STEP)
    )
    return [row.id for row in rows]


@app.command("erasure.mark", lane_of="user", internal=True)
class MarkErasure(Command[None]):
    """Note how far it has come; at its end the user's name goes, too."""

    id: str
    user: str
    rows: int
    held: bool = False
    over: bool = False


@app.handle(MarkErasure)
async def mark_erasure(ctx: Context, request: MarkErasure) -> None:
    """What is finished stays as it is."""
    row = await ctx.db.get(erasures, id=request.id)
    if row is None or row.finished is not None:
        return
    values: dict[str, Any] = {"rows": row.rows + request.rows, "held": request.held}
    if request.over:
        values |= {"user": "", "finished": ctx.now}
    ctx.update(erasures, {"id": request.id}, **values)


# The job


@app.every(_EVERY)
async def erase_users(publisher: Publisher) -> None:
    """Go on with all that is open; what fails is tried again at the next beat."""
    for erasure in (await publisher.call(ListOpen(), user="")).erasures:
        try:
            await _go_on(publisher, erasure)
        except Refused as refused:
            log.warning("an erasure could not go on; it does later", id=erasure.id, reason=str(refused))


async def _go_on(publisher: Publisher, erasure: OpenErasure) -> None:
    """Erase until nothing is found any more, or only what is on hold."""
    while True:
        traces = await publisher.call(FindTraces(erasure.user), user="")
        count = 0
        for channel in traces.channels:
            step = ErasedRows(0, more=True)
            while step.more:
                step = await publisher.call(EraseInChannel(channel, erasure.id), user="")
                count += step.rows
        if not traces.channels:
            break
        await publisher.call(MarkErasure(erasure.id, erasure.user, count, held=traces.held), user="")
        if not count:
            return  # somebody has put them on hold meanwhile
    count = 0
    while there := await publisher.call(ListUploads(erasure.user), user=""):
        for upload in there:
            count += await publisher.call(DropUpload(id=upload), user=erasure.user)
    step = ErasedRows(0, more=True)
    while step.more:
        step = await publisher.call(EraseOwn(erasure.id, erasure.user), user="")
        count += step.rows
    await publisher.call(MarkErasure(erasure.id, erasure.user, count, held=traces.held, over=not traces.held), user="")
