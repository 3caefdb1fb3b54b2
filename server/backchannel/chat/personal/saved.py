"""Saved messages: kept by a user, in folders, with notes; shown as they are now, while the user may see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access, is_operator
from ..common import app
from ..extensions import type_of
from ..messages.contract import Message
from ..messages.finding import find_message
from ..messages.rows import messages_of
from ..messages.visible import visible
from ..paging import paged
from ..rules import OUTSIDER, rules_of
from ..tables import channels, members, messages
from .contract import ListSaved, RemoveSaved, SavedChanged, SavedFolder, SavedList, SavedMessage, SaveMessage
from .owner import own_channel
from .tables import saved

__all__: list[str] = []

_MOST: Final = 5_000
"""Saved messages of one user."""

_FOLDERS: Final = 100
"""Folders of one user."""


@app.handle(SaveMessage)
async def save_message(ctx: Context, request: SaveMessage) -> SavedChanged:
    """Keep it, or put it elsewhere; the same again changes nothing."""
    folder = request.folder.strip()
    key = {"user": ctx.user, "channel": request.channel, "seq": request.seq}
    row = await ctx.db.get(saved, **key)
    if row is not None and (row.folder, row.note) == (folder, request.note):
        return SavedChanged(row.channel, row.seq, row.saved, row.folder, row.note)
    if row is None:
        await find_message(ctx, await access(ctx, request.channel, "channel.read"), request.seq)
    if row is None or row.folder != folder:
        await _require_room(ctx, folder, more=row is None)
    kept = SavedChanged(request.channel, request.seq, ctx.now if row is None else row.saved, folder, request.note)
    if row is None:
        ctx.insert(saved, **key, folder=folder, note=request.note, saved=ctx.now)
    else:
        ctx.update(saved, key, folder=folder, note=request.note)
    ctx.publish(own_channel(ctx), kept)
    return kept


@app.handle(RemoveSaved)
async def remove_saved(ctx: Context, request: RemoveSaved) -> SavedChanged:
    """Let it go."""
    key = {"user": ctx.user, "channel": request.channel, "seq": request.seq}
    gone = SavedChanged(request.channel, request.seq)
    if await ctx.db.get(saved, **key) is not None:
        ctx.delete(saved, key)
        ctx.publish(own_channel(ctx), gone)
    return gone


@app.handle(ListSaved)
async def list_saved(ctx: Context, request: ListSaved) -> SavedList:
    """A page of them, each with its message as it is now."""
    statement = sa.select(saved).where(saved.c.app == ctx.app, saved.c.user == ctx.user)
    if request.folder is not None:
        statement = statement.where(saved.c.folder == request.folder)
    page = await paged(ctx, statement, (saved.c.saved, saved.c.channel, saved.c.seq), request, newest_first=True)
    shown = await _messages(ctx, page.rows)
    kept = [
        SavedMessage(row.channel, row.seq, row.saved, row.folder, row.note, shown.get((row.channel, row.seq)))
        for row in page.rows
    ]
    return SavedList(kept, await _folders(ctx), page.next, page.previous, page.total)


async def _messages(ctx: Context, rows: Sequence[Any]) -> dict[tuple[str, int], Message]:
    """The messages that the user may still see, by place."""
    if not rows:
        return {}
    mine = sa.and_(members.c.app == ctx.app, members.c.channel == messages.c.channel, members.c.user == ctx.user)
    here = sa.and_(channels.c.app == ctx.app, channels.c.channel == messages.c.channel)
    conditions = [sa.or_(*(sa.and_(messages.c.channel == row.channel, messages.c.seq == row.seq) for row in rows))]
    if not is_operator(ctx):
        conditions.append(visible(ctx.user, history_from=sa.func.coalesce(members.c.history_from, 0)))
    found = await ctx.db.rows(
        sa.select(
            messages,
            members.c.role.label("member_role"),
            members.c.banned.label("member_banned"),
            channels.c.public.label("channel_public"),
            channels.c.type.label("channel_type"),
            channels.c.type_rules.label("channel_type_rules"),
            channels.c.rules.label("channel_rules"),
        )
        .select_from(messages.join(channels, here).outerjoin(members, mine))
        .where(messages.c.app == ctx.app, channels.c.deleted.is_(None), *conditions)
    )
    readable = [row for row in found if is_operator(ctx) or _may_read(ctx, row)]
    return {(message.channel, message.seq): message for message in await messages_of(ctx, readable, user=ctx.user)}


def _may_read(ctx: Context, row: Any) -> bool:
    if row.member_role is None and not row.channel_public:
        return False
    if row.member_banned is not None and row.member_banned > ctx.now:
        return False
    rules = rules_of(type_of(row.channel_type), row.channel_type_rules, row.channel_rules)
    return rules.allow(OUTSIDER if row.member_role is None else row.member_role, "channel.read")


async def _folders(ctx: Context) -> list[SavedFolder]:
    rows = await ctx.db.rows(
        sa.select(saved.c.folder, sa.func.count().label("kept"))
        .where(saved.c.app == ctx.app, saved.c.user == ctx.user)
        .group_by(saved.c.folder)
        .order_by(saved.c.folder)
    )
    return [SavedFolder(row.folder, row.kept) for row in rows]


async def _require_room(ctx: Context, folder: str, *, more: bool) -> None:
    folders = await _folders(ctx)
    if more and sum(one.count for one in folders) >= _MOST:
        raise Refused(
            "too_large",
            f"There are {_MOST} saved messages, which is the most; remove some.",
            details={"reason": "saved"},
        )
    if len(folders) >= _FOLDERS and folder not in {one.folder for one in folders}:
        raise Refused("too_large", f"There are {_FOLDERS} folders, which is the most.", details={"reason": "folders"})
