"""Drafts: the same on all of a user's devices; the last one to save wins."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..limits import check_data
from ..paging import paged
from .contract import Draft, DraftChanged, DraftList, ListDrafts, SaveDraft
from .owner import own_channel
from .tables import drafts

__all__: list[str] = []

_MOST: Final = 500
"""Drafts of one user."""


@app.handle(SaveDraft)
async def save_draft(ctx: Context, request: SaveDraft) -> Draft:
    """Keep it, or let it go, and tell the user's devices; the same again changes nothing."""
    key = {"user": ctx.user, "channel": request.channel, "parent": request.parent or 0}
    row = await ctx.db.get(drafts, **key)
    data = None if request.data is None else check_data(request.data, "data")
    draft = Draft(request.channel, request.text, ctx.now, request.parent, request.data)
    if not request.text and data is None:
        if row is None:
            return draft
        ctx.delete(drafts, key)
    elif row is None:
        await access(ctx, request.channel, "channel.read")
        await _require_room(ctx)
        ctx.insert(drafts, **key, text=request.text, data=data, changed=ctx.now)
    elif (row.text, row.data) == (request.text, data):
        return _draft(row)
    else:
        ctx.update(drafts, key, text=request.text, data=data, changed=ctx.now)
    ctx.publish(own_channel(ctx), DraftChanged(**msgspec.structs.asdict(draft)))
    return draft


async def _require_room(ctx: Context) -> None:
    mine = sa.select(sa.func.count()).where(drafts.c.app == ctx.app, drafts.c.user == ctx.user)
    if await ctx.db.value(mine) >= _MOST:
        raise Refused(
            "too_large", f"There are {_MOST} drafts, which is the most; remove some.", details={"reason": "drafts"}
        )


@app.handle(ListDrafts)
async def list_drafts(ctx: Context, request: ListDrafts) -> DraftList:
    """A page of them."""
    statement = sa.select(drafts).where(drafts.c.app == ctx.app, drafts.c.user == ctx.user)
    if request.channel is not None:
        statement = statement.where(drafts.c.channel == request.channel)
    order = (drafts.c.changed, drafts.c.channel, drafts.c.parent)
    page = await paged(ctx, statement, order, request, newest_first=True)
    return DraftList([_draft(row) for row in page.rows], page.next, page.previous, page.total)


def _draft(row: sa.Row[Any]) -> Draft:
    data = None if row.data is None else msgspec.json.decode(row.data)
    return Draft(row.channel, row.text, row.changed, row.parent or None, data)
