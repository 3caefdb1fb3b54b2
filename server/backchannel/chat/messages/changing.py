"""Changing: edit, delete for all, restore, delete for oneself."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access
from ..common import app
from ..moderation.audit import record
from ..tables import messages
from .announce import announce, as_event, tell
from .contract import (
    DeleteMessage,
    EditMessage,
    HiddenMessages,
    HideMessages,
    Mentions,
    Message,
    MessageDeleted,
    MessagesHidden,
    MessageUpdated,
    RestoreMessage,
)
from .finding import find_message, no_message
from .mark_contract import MessageUnpinned
from .mentions import check_mentions, mentioned
from .pins import unpin
from .pipeline import Draft, run_checks
from .rows import message, messages_of
from .sending import check_content, encoded, require_open
from .tables import edits, hidden, mentions
from .threads import recount
from .visible import visible_in

__all__ = ["counts"]


@app.handle(EditMessage)
async def edit_message(ctx: Context, request: EditMessage) -> Message:
    """Keep what it said, store what it says, and tell all of it."""
    found = await access(ctx, request.channel)
    row = await find_message(ctx, found, request.seq)
    found.require("message.edit" if _own(ctx, row) else "message.edit_any")
    require_open(found)
    if row.type == "poll":
        raise Refused("invalid", "A poll is changed by its own commands.", details={"reason": "type"})
    if row.type == "system":
        found.require("message.system")
    before = message(row, ctx.now)
    draft = Draft(
        purpose="edit",
        type=row.type,
        text=row.text if request.text is None else request.text,
        data=before.data if request.data is None else request.data,
        mentions=before.mentions if request.mentions is None else request.mentions,
        files=[file.id for file in before.files],
        parent=row.parent,
        shown=bool(row.shown),
        silent=bool(row.silent),
        shadow=bool(row.shadow) or (found.shadowed and _own(ctx, row)),
        seq=row.seq,
        author=row.user,
    )
    check_content(found, draft)
    said = draft.text, draft.data
    draft = await run_checks(ctx, found, draft)
    if (draft.text, draft.data) != said:
        check_content(found, draft)
    if draft.mentions != before.mentions and draft.mentions is not None:
        _check_here(found, before.mentions, draft.mentions)
    if (draft.text, draft.data, draft.mentions) == (before.text, before.data, before.mentions):
        return (await messages_of(ctx, [row], user=ctx.user))[0]
    if draft.shadow and not row.shadow:
        return await _seem_edited(ctx, row, draft)
    _store_edit(ctx, row, draft)
    if draft.mentions != before.mentions and not (draft.silent or draft.shadow):
        await _mention(ctx, found, row, draft.mentions)
    if not _own(ctx, row):
        await record(
            ctx,
            request.channel,
            "message.edit",
            f"message:{row.seq}",
            before={"user": row.user, "text": row.text},
            after={"text": draft.text},
        )
    told = await _announced(ctx, row)
    for act in draft.after:
        await act(ctx, found, told)
    return told


def _store_edit(ctx: Context, row: sa.Row[Any], draft: Draft) -> None:
    key = {"channel": row.channel, "seq": row.seq}
    ctx.insert(
        edits,
        **key,
        edit=row.edits + 1,
        user=ctx.user,
        time=ctx.now,
        text=row.text,
        data=row.data,
        mentions=row.mentions,
    )
    ctx.update(
        messages,
        key,
        text=draft.text,
        data=encoded(draft.data),
        mentions=encoded(draft.mentions),
        edited=ctx.now,
        edits=row.edits + 1,
    )


async def _seem_edited(ctx: Context, row: sa.Row[Any], draft: Draft) -> Message:
    """What a shadowed user changes of what others see is told to them alone."""
    [told] = await messages_of(ctx, [row], user=ctx.user)
    told.text, told.data, told.mentions = draft.text, draft.data, draft.mentions
    told.edited, told.edits = ctx.now, row.edits + 1
    ctx.publish(f"user:{ctx.user}", as_event(told, MessageUpdated))
    return told


def _check_here(found: Access, before: Mentions | None, now: Mentions) -> None:
    check_mentions(found, now)
    if now.here and not (before is not None and before.here):
        raise Refused("invalid", "`here` is for new messages.", details={"reason": "here"})


async def _mention(ctx: Context, found: Access, row: sa.Row[Any], now: Mentions | None) -> None:
    """Let it count for those whom it names now; who was present when it was sent stays named while it says `here`."""
    key = {"channel": row.channel, "seq": row.seq}
    rows = await ctx.db.rows(
        sa.select(mentions.c.user).where(
            mentions.c.app == ctx.app, mentions.c.channel == row.channel, mentions.c.seq == row.seq
        )
    )
    known = {one.user for one in rows}
    asked = Mentions() if now is None else now
    names = await mentioned(ctx, found, Mentions(users=asked.users, roles=asked.roles, channel=asked.channel))
    wanted = {*names.told, *names.others}
    if not asked.here:
        for user in known - wanted:
            ctx.delete(mentions, {**key, "user": user})
    fresh = names._replace(
        told=[user for user in names.told if user not in known],
        others=[name for name in names.others if name not in known],
    )
    fresh.store(ctx, message(row, ctx.now))


async def _announced(ctx: Context, row: sa.Row[Any]) -> Message:
    """Announce a message, and give it as the asking user sees it."""
    await announce(ctx, row.channel, row.seq)
    now = await ctx.db.get(messages, channel=row.channel, seq=row.seq)
    assert now is not None
    [told] = await messages_of(ctx, [now], user=ctx.user)
    return told


@app.handle(DeleteMessage)
async def delete_message(ctx: Context, request: DeleteMessage) -> Message:
    """It keeps its place and its row, and nobody is shown what it said. What hangs on it comes back if it does."""
    found = await access(ctx, request.channel)
    row = await find_message(ctx, found, request.seq, deleted=True)
    own = _own(ctx, row)
    found.require("message.delete" if own else "message.delete_any")
    if row.deleted is not None:
        return message(row, ctx.now)
    key = {"channel": row.channel, "seq": row.seq}
    ctx.update(messages, key, deleted=ctx.now, deleted_by=ctx.user, counted=False)
    tell(
        ctx,
        row,
        MessageDeleted(channel=row.channel, seq=row.seq, deleted=ctx.now, deleted_by=ctx.user, parent=row.parent),
    )
    pins = await unpin(ctx, row.channel, row.seq)
    if pins is not None:
        ctx.publish(row.channel, MessageUnpinned(channel=row.channel, seq=row.seq, by=ctx.user, pins=pins))
    if row.parent is not None and not row.shadow:
        await recount(ctx, row.channel, {row.parent})
    if not own:
        await record(
            ctx,
            request.channel,
            "message.delete",
            f"message:{row.seq}",
            reason=request.reason,
            before={"user": row.user, "text": row.text},
        )
    now = await ctx.db.get(messages, **key)
    assert now is not None
    return message(now, ctx.now)


@app.handle(RestoreMessage)
async def restore_message(ctx: Context, request: RestoreMessage) -> Message:
    """It says again what it said. What has expired is not there any more."""
    found = await access(ctx, request.channel, "message.restore")
    row = await find_message(ctx, found, request.seq, deleted=True)
    if row.deleted is None and (row.expires is None or row.expires > ctx.now):
        return (await messages_of(ctx, [row], user=ctx.user))[0]
    if row.deleted_by is None or (row.expires is not None and row.expires <= ctx.now):
        raise Refused("conflict", f"Message {row.seq} has expired; it is not kept.", details={"reason": "expired"})
    ctx.update(messages, {"channel": row.channel, "seq": row.seq}, deleted=None, deleted_by=None, counted=counts(row))
    if row.parent is not None and not row.shadow:
        await recount(ctx, row.channel, {row.parent})
    await record(
        ctx,
        request.channel,
        "message.restore",
        f"message:{row.seq}",
        reason=request.reason,
        before={"deleted_by": row.deleted_by},
        after={"user": row.user, "text": row.text},
    )
    return await _announced(ctx, row)


def counts(row: sa.Row[Any]) -> bool:
    """Whether a message makes its channel unread, as long as it is not deleted."""
    return bool(row.shown) and not row.silent and row.type != "system" and not row.shadow


@app.handle(HideMessages)
async def hide_messages(ctx: Context, request: HideMessages) -> HiddenMessages:
    """Under the user's own lane: the rows are theirs."""
    found = await access(ctx, request.channel, "channel.read")
    if not ctx.user:
        raise Refused("invalid", "Messages are hidden for a user; ask on behalf of one.")
    rows = await ctx.db.rows(
        sa.select(messages.c.seq)
        .where(visible_in(ctx, found), messages.c.seq.in_(request.seqs))
        .order_by(messages.c.seq)
    )
    seqs = [row.seq for row in rows]
    already = await ctx.db.rows(
        sa.select(hidden.c.seq).where(
            hidden.c.app == ctx.app,
            hidden.c.user == ctx.user,
            hidden.c.channel == request.channel,
            hidden.c.seq.in_(request.seqs),
        )
    )
    if not seqs and not already:
        raise no_message(request.channel, request.seqs[0])
    for seq in seqs:
        ctx.insert(hidden, user=ctx.user, channel=request.channel, seq=seq)
    if seqs:
        ctx.publish(f"user:{ctx.user}", MessagesHidden(channel=request.channel, seqs=seqs))
    return HiddenMessages(request.channel, sorted({*seqs, *(row.seq for row in already)}))


def _own(ctx: Context, row: sa.Row[Any]) -> bool:
    return bool(row.user == ctx.user)
