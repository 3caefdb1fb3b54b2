"""Sending: a message's whole way from a draft to its row and its events. All kinds of messages take it."""

from __future__ import annotations

from sys import intern
from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access
from ..common import app
from ..extensions import payload_of
from ..files.attach import attach
from ..files.contract import FileInfo
from ..limits import check_data
from ..tables import members, messages
from .announce import as_event
from .contract import Forwarded, ForwardMessage, Message, MessageCreated, Quote, SendMessage
from .finding import find_message
from .mentions import Mentioned, check_mentions, is_blocked, mentioned
from .pipeline import Draft, run_checks
from .rows import excerpt
from .threads import answer

__all__ = ["check_content", "encoded", "require_open", "send"]


@app.handle(SendMessage)
async def send_message(ctx: Context, request: SendMessage) -> Message:
    """Store a message and tell the channel."""
    channel = request.channel
    found = await access(ctx, channel, "message.send" if request.parent is None else "thread.reply")
    if request.type == "poll":
        raise Refused("invalid", "Ask `poll.create` for a poll.", details={"reason": "type"})
    if request.type == "system":
        found.require("message.system")
    draft = Draft(
        purpose="send",
        type=request.type,
        text=request.text,
        data=request.data,
        mentions=request.mentions,
        files=request.files,
        parent=request.parent,
        shown=request.parent is None or request.shown,
        quote=request.quote,
        silent=request.silent,
        only_for=request.only_for,
        expires=None if request.expires_in is None else ctx.now + request.expires_in * 1000,
    )
    return await send(ctx, found, draft)


@app.handle(ForwardMessage)
async def forward_message(ctx: Context, request: ForwardMessage) -> Message:
    """Send what another message says, and say where it comes from."""
    found = await access(ctx, request.channel, "message.send")
    source = await access(ctx, request.source, "message.forward")
    source.require("channel.read")
    row = await find_message(ctx, source, request.seq)
    if row.type in ("system", "poll"):
        raise Refused("invalid", f"A message of type {row.type} cannot be forwarded.", details={"reason": "type"})
    if row.forwarded is not None:
        origin = msgspec.json.decode(row.forwarded, type=Forwarded)
    else:
        origin = Forwarded(user=row.user, time=row.time)
        if source.channel.public or request.source == request.channel:
            origin.channel, origin.seq = request.source, request.seq
    draft = Draft(
        purpose="forward",
        type=row.type,
        text=row.text,
        data=None if row.data is None else msgspec.json.decode(row.data),
        files=[] if row.files is None else [file.id for file in msgspec.json.decode(row.files, type=list[FileInfo])],
        silent=request.silent,
        forwarded=origin,
    )
    return await send(ctx, found, draft)


async def send(ctx: Context, found: Access, draft: Draft) -> Message:
    """Check a draft, store it, and tell who may see it. The caller has seen to it that the user may send here.

    Without anything special it takes no statement but that of its insert.

    Raises:
        Refused: as a check refuses it; `invalid`, `too_large`, `forbidden`, `not_found` for its parts.
    """
    require_open(found)
    draft.author = ctx.user
    draft.shadow = found.shadowed
    features = found.rules.features
    if draft.expires is None and features.expiry:
        draft.expires = ctx.now + features.expiry * 1000
    _check_thread(found, draft)
    check_content(found, draft)
    said = draft.text, draft.data
    draft = await run_checks(ctx, found, draft)
    if (draft.text, draft.data) != said:
        check_content(found, draft)
    if draft.mentions is not None:
        check_mentions(found, draft.mentions)
    if draft.only_for is not None:
        return await _whisper(ctx, found, draft)
    parent = None if draft.parent is None else await _parent(ctx, found, draft.parent)
    quote = None if draft.quote is None else await _quote(ctx, found, draft.quote)
    names = None
    if draft.mentions is not None and not draft.silent and not draft.shadow:
        names = await mentioned(ctx, found, draft.mentions)
    return await _store(ctx, found, draft, parent, quote, names)


async def _store(
    ctx: Context, found: Access, draft: Draft, parent: sa.Row[Any] | None, quote: Quote | None, names: Mentioned | None
) -> Message:
    channel = found.channel.channel
    seq = await ctx.next(f"chat.seq:{channel}")
    message = Message(
        id=ctx.new_id(),
        channel=channel,
        seq=seq,
        user=ctx.user,
        text=draft.text,
        time=ctx.now,
        type=intern(draft.type),
        data=draft.data,
        parent=draft.parent,
        shown=draft.shown,
        silent=draft.silent,
        quote=quote,
        forwarded=draft.forwarded,
        mentions=draft.mentions,
        expires=draft.expires,
    )
    if draft.files:
        message.files = await attach(ctx, found, seq, draft.files, own=draft.forwarded is None)
    ctx.insert(messages, **_values(message, draft))
    if draft.shadow:
        ctx.publish(f"user:{ctx.user}", as_event(message, MessageCreated))
    else:
        ctx.publish(channel, as_event(message, MessageCreated))
        if names is not None:
            names.store(ctx, message)
        if parent is not None:
            await answer(ctx, parent, message)
    for act in draft.after:
        await act(ctx, found, message)
    return message


def _values(message: Message, draft: Draft) -> dict[str, Any]:
    """The columns of a new message. Plain ones all have the same, so that a batch of them is one statement."""
    return {
        "id": message.id,
        "channel": message.channel,
        "seq": message.seq,
        "user": message.user,
        "text": message.text,
        "time": message.time,
        "type": message.type,
        "data": encoded(message.data),
        "parent": message.parent,
        "shown": message.shown,
        "counted": message.shown and not message.silent and message.type != "system" and not draft.shadow,
        "silent": message.silent,
        "shadow": draft.shadow,
        "quote": draft.quote,
        "forwarded": encoded(message.forwarded),
        "mentions": encoded(message.mentions),
        "files": encoded(message.files or None),
        "expires": message.expires,
    }


async def _whisper(ctx: Context, found: Access, draft: Draft) -> Message:
    """A message for one user alone: an event on their own channel, and nothing that is kept beside the log."""
    if draft.files or draft.quote is not None or draft.forwarded is not None:
        raise Refused("invalid", "A message that is `only_for` one user has no files and no quote.")
    channel, user = found.channel.channel, str(draft.only_for)
    if found.rules.type.membership and await ctx.db.get(members, channel=channel, user=user) is None:
        raise Refused("not_found", f"{user} is no member of {channel}.", details={"reason": "not_member"})
    # Who is blocked by the user is not told so.
    draft.shadow = draft.shadow or await is_blocked(ctx, user)
    message = Message(
        id=ctx.new_id(),
        channel=channel,
        seq=0,
        user=ctx.user,
        text=draft.text,
        time=ctx.now,
        type=intern(draft.type),
        data=draft.data,
        parent=draft.parent,
        shown=draft.shown,
        silent=draft.silent,
        mentions=draft.mentions,
        only_for=user,
        expires=draft.expires,
    )
    if not draft.shadow:
        ctx.publish(f"user:{user}", as_event(message, MessageCreated))
    for act in draft.after:
        await act(ctx, found, message)
    return message


def _check_thread(found: Access, draft: Draft) -> None:
    if draft.parent is None:
        return
    if not found.rules.features.threads:
        raise Refused("invalid", "This channel has no threads.", details={"reason": "feature"})
    if draft.shown:
        found.require("message.send")


async def _parent(ctx: Context, found: Access, seq: int) -> sa.Row[Any]:
    row = await find_message(ctx, found, seq)
    if row.parent is not None:
        raise Refused(
            "invalid",
            f"Message {seq} is an answer itself; answer message {row.parent} instead.",
            details={"reason": "parent", "parent": row.parent},
        )
    return row


async def _quote(ctx: Context, found: Access, seq: int) -> Quote:
    row = await find_message(ctx, found, seq)
    return Quote(seq=row.seq, user=row.user, type=intern(row.type), text=excerpt(row.text))


def require_open(found: Access) -> None:
    """
    Raises:
        Refused: `forbidden`, the channel is archived, or frozen and the user's role may not speak there all the same.
    """
    channel = found.channel
    if channel.archived:
        raise Refused(
            "forbidden", f"{channel.channel} is archived; nothing changes there.", details={"reason": "archived"}
        )
    if channel.frozen and not found.allows("message.send_frozen"):
        raise Refused("forbidden", f"{channel.channel} is frozen.", details={"reason": "frozen"})


def check_content(found: Access, draft: Draft) -> None:
    """See that a draft says something, and no more than it may; its `data` gets its declared form.

    Raises:
        Refused: `invalid`, `too_large`.
    """
    longest = found.rules.features.max_length
    built_in = draft.type in ("text", "file", "system", "poll")
    empty = not draft.text.strip()
    needs_text = draft.data is None if draft.type == "system" else draft.type == "text" and not draft.files
    if len(draft.text) > longest or (empty and needs_text):
        raise Refused(
            "invalid", f"`text` needs 1 to {longest} characters.", details={"reason": "text", "most": longest}
        )
    if draft.type == "file" and not draft.files:
        raise Refused("invalid", "A message of type file needs `files`: ids of uploads.", details={"reason": "files"})
    if not built_in:
        draft.data = payload_of(draft.type, draft.data)
    if draft.data is not None and draft.type != "poll":
        check_data(draft.data, "data")


def encoded(value: Any) -> str | None:
    """What a column of JSON holds; None for nothing."""
    return None if value is None else msgspec.json.encode(value).decode()
