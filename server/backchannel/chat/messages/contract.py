"""What messages understand: commands, queries, events."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, MessageText, PageLimit, app

__all__ = ["ListMessages", "Message", "MessageCreated", "MessagePage", "SendMessage"]


class Message(Struct, omit_defaults=True):
    """One message. `seq` counts the channel's messages from 1 and is their order; `time` is for people."""

    id: str
    channel: str
    seq: int
    user: str
    text: str
    time: int


@app.event("message.created")
class MessageCreated(Event):
    """A message was sent; the event carries all of it."""

    id: str
    channel: str
    seq: int
    user: str
    text: str
    time: int


@app.command("message.send", lane="channel")
class SendMessage(Command[Message]):
    """Send a message to a channel that one is a member of."""

    channel: ChatChannel
    text: MessageText


class MessagePage(Struct):
    """Messages in rising `seq`; `more` tells whether there are further ones in the direction that was read."""

    messages: list[Message]
    more: bool


@app.query("message.list")
class ListMessages(Query[MessagePage]):
    """A page of messages: the newest, those before a `seq`, or those after one."""

    channel: ChatChannel
    before: Annotated[int, Meta(ge=1)] | None = None
    after: Annotated[int, Meta(ge=0)] | None = None
    limit: PageLimit = 50
