"""Announcing: who changes a message tells everybody all of it, as it is now.

Any area that writes to a message's row does it under the channel's lane, and then calls `announce`::

    ctx.update(messages, {"channel": channel, "seq": seq}, links=encoded)
    await announce(ctx, channel, seq)

Since the event carries absolute values, it does no harm to announce twice, or to hear it twice.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from backchannel import Context, Event

from ..tables import messages
from .contract import Message, MessageUpdated
from .rows import messages_of

__all__ = ["announce", "as_event", "tell"]

MessageEvent = TypeVar("MessageEvent", bound=Message)


async def announce(ctx: Context, channel: str, seq: int) -> Message | None:
    """Publish `message.updated` with the whole message as it is after what this request has declared.

    Returns:
        The message, as the event tells it; None, and nothing is published, if there is none, or it is deleted.
    """
    row = await ctx.db.get(messages, channel=channel, seq=seq)
    if row is None:
        return None
    [told] = await messages_of(ctx, [row])
    if told.deleted is not None:
        return None
    tell(ctx, row, as_event(told, MessageUpdated))
    return told


def tell(ctx: Context, row: sa.Row[Any], event: Event) -> None:
    """Publish what happened to a message to those who may see it: to its channel, or to a shadowed sender alone."""
    ctx.publish(f"user:{row.user}" if row.shadow else row.channel, event)


def as_event(message: Message, event: type[MessageEvent]) -> MessageEvent:
    """The message as an event that carries all of it."""
    return event(**msgspec.structs.asdict(message))
