"""Send and list."""

from __future__ import annotations

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..tables import messages
from .contract import ListMessages, Message, MessageCreated, MessagePage, SendMessage

__all__: list[str] = []


@app.handle(SendMessage)
async def send_message(ctx: Context, request: SendMessage) -> Message:
    """Store a message and tell the channel."""
    found = await access(ctx, request.channel, "message.send")
    if not request.text.strip() or len(request.text) > found.rules.features.max_length:
        raise Refused("invalid", f"`text` needs 1 to {found.rules.features.max_length} characters.")
    seq = await ctx.next(f"chat.seq:{request.channel}")
    message_id = ctx.insert(
        messages,
        id=ctx.new_id(),
        channel=request.channel,
        seq=seq,
        user=ctx.user,
        text=request.text,
        time=ctx.now,
    )
    ctx.publish(
        request.channel,
        MessageCreated(id=message_id, channel=request.channel, seq=seq, user=ctx.user, text=request.text, time=ctx.now),
    )
    return Message(id=message_id, channel=request.channel, seq=seq, user=ctx.user, text=request.text, time=ctx.now)


@app.handle(ListMessages)
async def list_messages(ctx: Context, request: ListMessages) -> MessagePage:
    """A page of messages, for members."""
    if request.before is not None and request.after is not None:
        raise Refused("invalid", "Give `before` or `after`, not both.")
    await access(ctx, request.channel, "channel.read")
    await ctx.position(request.channel)
    statement = sa.select(messages).where(messages.c.app == ctx.app, messages.c.channel == request.channel)
    if request.after is not None:
        statement = statement.where(messages.c.seq > request.after).order_by(messages.c.seq)
    else:
        if request.before is not None:
            statement = statement.where(messages.c.seq < request.before)
        statement = statement.order_by(messages.c.seq.desc())
    rows = list(await ctx.db.rows(statement.limit(request.limit + 1)))
    more = len(rows) > request.limit
    page = rows[: request.limit]
    if request.after is None:
        page.reverse()
    return MessagePage(
        messages=[
            Message(id=row.id, channel=row.channel, seq=row.seq, user=row.user, text=row.text, time=row.time)
            for row in page
        ],
        more=more,
    )
