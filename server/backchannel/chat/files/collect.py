"""Collecting: uploads that expired, files that no message has, and the bytes of both. One job, in small steps.

A file goes in two steps, since a message may be about to get it while it is looked at: first it is *doomed*, and no
message can get it any more; later than any command takes, it is looked at again, and goes only if no message has it
then.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from backchannel import Context, Publisher

from ..common import app
from ..data.tables import holds
from ..tables import messages
from .internal import Collected, DoomFiles, DropUpload, Due, FindDue, SweptGarbage
from .limits import limits
from .storage import StorageFailed, open_storage
from .tables import files, garbage, uploads, uses
from .uploads import GARBAGE_AGE, throw_away

__all__ = ["SECONDS", "collect"]

SECONDS: Final = 300
"""How often it is looked for what is to go."""
_STEP: Final = 200
"""What is done in one step."""
_STEPS: Final = 50
"""Steps in one run."""
_NEXT_LOOK: Final = 7 * 86_400_000
"""After how many milliseconds a file that a message has is looked at again."""


@app.every(SECONDS)
async def collect(publisher: Publisher) -> None:
    """Remove what nobody can have any more."""
    storage = open_storage(publisher.settings)
    tenant = publisher.settings.app
    for _ in range(_STEPS):
        due = await publisher.call(FindDue(), user="")
        for upload, user in due.uploads:
            await publisher.call(DropUpload(id=upload, expired=True), user=user)
        if due.files:
            await publisher.call(DoomFiles(), user="")
        swept = []
        for place in due.garbage:
            try:
                await storage.remove(f"{tenant}/{place}")
            except StorageFailed:
                # It stays in the table, so that it is tried again; the log has the reason.
                return
            else:
                swept.append(place)
        if swept:
            await publisher.call(SweptGarbage(garbage=swept), user="")
        if not (due.uploads or due.files) and len(swept) < _STEP:
            return


@app.handle(FindDue)
async def find_due(ctx: Context, request: FindDue) -> Due:
    """What is due now."""
    expired = await ctx.db.rows(
        sa.select(uploads.c.id, uploads.c.user)
        .where(uploads.c.app == ctx.app, uploads.c.expires <= ctx.now)
        .order_by(uploads.c.expires)
        .limit(_STEP)
    )
    dropped = await ctx.db.rows(
        sa.select(garbage.c.id)
        .where(garbage.c.app == ctx.app, garbage.c.due <= ctx.now)
        .order_by(garbage.c.due)
        .limit(_STEP)
    )
    looked_at = sa.select(files.c.id).where(files.c.app == ctx.app, files.c.checked <= ctx.now)
    return Due(
        uploads=[(row.id, row.user) for row in expired],
        garbage=[row.id for row in dropped],
        files=bool(await ctx.db.value(sa.select(sa.exists(looked_at)))),
    )


@app.handle(DoomFiles)
async def doom_files(ctx: Context, request: DoomFiles) -> Collected:
    """Look at files that are due: keep them, doom them, or let those go that were doomed before.

    A file that a message has is looked at again a week later; one whose messages are all deleted goes when they are
    so for good.
    """
    bounds = limits()
    deleted_before = ctx.now - bounds.deleted_lifetime * 1000
    held = sa.exists().where(holds.c.app == uses.c.app, holds.c.channel == uses.c.channel).correlate(uses)
    has = (
        sa.select(uses.c.seq)
        .join(
            messages,
            sa.and_(messages.c.app == uses.c.app, messages.c.channel == uses.c.channel, messages.c.seq == uses.c.seq),
        )
        .where(
            uses.c.app == files.c.app,
            uses.c.file == files.c.id,
            sa.or_(messages.c.deleted.is_(None), messages.c.deleted > deleted_before, held),
        )
        .correlate(files)
    )
    rows = await ctx.db.rows(
        sa.select(files.c.id, files.c.doomed, sa.exists(has).label("kept"))
        .where(files.c.app == ctx.app, files.c.checked <= ctx.now)
        .order_by(files.c.checked)
        .limit(_STEP)
    )
    result = Collected(looked=len(rows), doomed=0, removed=0)
    for row in rows:
        if row.kept:
            ctx.update(files, {"id": row.id}, doomed=None, checked=ctx.now + _NEXT_LOOK)
        elif row.doomed is None:
            ctx.update(files, {"id": row.id}, doomed=ctx.now, checked=ctx.now + GARBAGE_AGE)
            result.doomed += 1
        elif row.doomed > ctx.now - GARBAGE_AGE:
            ctx.update(files, {"id": row.id}, checked=row.doomed + GARBAGE_AGE)
        else:
            ctx.delete(files, {"id": row.id})
            ctx.delete(uses, {"file": row.id})
            throw_away(ctx, f"files/{row.id}")
            result.removed += 1
    return result


@app.handle(SweptGarbage)
async def swept_garbage(ctx: Context, request: SweptGarbage) -> int:
    """Forget what the storage has dropped."""
    for place in request.garbage:
        ctx.delete(garbage, {"id": place})
    return len(request.garbage)
