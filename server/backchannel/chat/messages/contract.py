"""What messages understand: commands, queries, events."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, Cursor, Data, MessageText, PageLimit, Role, Seq, UserName, app
from ..files.contract import FileId, FileInfo, LinkPreview

__all__ = [
    "DeleteMessage",
    "EditMessage",
    "Emoji",
    "ForwardMessage",
    "Forwarded",
    "GetMessage",
    "HiddenMessages",
    "HideMessages",
    "ListEdits",
    "ListMessages",
    "Mentions",
    "Message",
    "MessageCreated",
    "MessageDeleted",
    "MessageEdit",
    "MessageEdits",
    "MessagePage",
    "MessageType",
    "MessageUpdated",
    "MessagesExpired",
    "MessagesHidden",
    "Quote",
    "Reaction",
    "RestoreMessage",
    "SendMessage",
    "ThreadInfo",
]

MessageType = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_.-]{0,31}$(?!\n)",
        description="text, file, system, poll, or a type of the app's own.",
    ),
]
Emoji = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^\S+$(?!\n)")]
"""A character such as 👍, or a name that clients agree on."""


# What messages are made of


class Mentions(Struct, omit_defaults=True):
    """Whom a message names."""

    users: Annotated[list[UserName], Meta(max_length=50)] = []
    roles: Annotated[list[Role], Meta(max_length=10)] = []
    here: bool = False
    """Who is present as it is sent."""
    channel: bool = False
    """Everybody."""


class Quote(Struct, omit_defaults=True):
    """The message that another one quotes, as it is now; its text cut to 300 characters, none if it is deleted."""

    seq: int
    user: str
    type: str = "text"
    text: str = ""
    deleted: bool = False


class Forwarded(Struct, omit_defaults=True):
    """Where a forwarded message comes from. Its channel and number are told only if it is public, or the same."""

    user: str
    time: int
    channel: str | None = None
    seq: int | None = None


class Reaction(Struct, omit_defaults=True):
    """How many users reacted with one emoji."""

    emoji: str
    count: int
    own: bool = False
    """Whether the asking user is one of them; events do not tell."""


class ThreadInfo(Struct, omit_defaults=True):
    """The answers that a message has had."""

    replies: int
    last_seq: int
    last_time: int
    users: list[str] = []
    """The last five who answered, the latest first."""


class Message(Struct, omit_defaults=True):
    """One message. `seq` counts the channel's messages from 1 and is their order; `time` is for people.

    A deleted one keeps its place, and says nothing any more.
    """

    id: str
    channel: str
    seq: int
    """0: it was for one user alone (`only_for`) and is not kept."""
    user: str
    """Empty: an operator."""
    text: str
    time: int
    type: str = "text"
    data: Data | None = None
    parent: int | None = None
    """The message whose thread it stands in."""
    shown: bool = True
    """Whether it stands in the channel itself; an answer stands in its thread unless it was sent to both."""
    silent: bool = False
    """It makes nothing unread."""
    quote: Quote | None = None
    forwarded: Forwarded | None = None
    mentions: Mentions | None = None
    files: list[FileInfo] = []
    links: list[LinkPreview] = []
    only_for: str | None = None
    expires: int | None = None
    """When it goes by itself, Unix milliseconds."""
    edits: int = 0
    """How often it was edited."""
    edited: int | None = None
    """When it was, the last time."""
    deleted: int | None = None
    deleted_by: str | None = None
    """Who deleted it; None: it expired."""
    pinned: bool = False
    reactions: list[Reaction] = []
    """In the order in which they were first given."""
    thread: ThreadInfo | None = None


# Events


@app.event("message.created")
class MessageCreated(Message, Event):
    """A message was sent; the event carries all of it.

    It comes on `user:<id>` for what one user alone may see: a message that is `only_for` them.
    """


@app.event("message.updated")
class MessageUpdated(Message, Event):
    """A message is other than it was: edited, restored, its poll or the previews of its links changed.

    The event carries all of it as it is now, but not which reactions are one's own: ask `message.get` for a message
    that was deleted before.
    """


@app.event("message.deleted")
class MessageDeleted(Event):
    """A message is gone for all."""

    channel: str
    seq: int
    deleted: int
    """When, Unix milliseconds."""
    deleted_by: str
    parent: int | None = None


@app.event("messages.expired")
class MessagesExpired(Event):
    """Messages went by themselves."""

    channel: str
    seqs: list[int]


@app.event("messages.hidden")
class MessagesHidden(Event):
    """On `user:<id>`: that user deleted these messages for themselves."""

    channel: str
    seqs: list[int]


# Commands


@app.command("message.send", lane="channel")
class SendMessage(Command[Message]):
    """Send a message to a channel that one may speak in."""

    channel: ChatChannel
    text: MessageText = ""
    """Needed for the type `text`, and where there are no files."""
    type: MessageType = "text"
    data: Data | None = None
    """What the app's own type declares; an object of the app's own for the other types."""
    parent: Seq | None = None
    """Answer in the thread of this message."""
    shown: bool = False
    """Whether an answer also stands in the channel itself."""
    quote: Seq | None = None
    files: Annotated[list[FileId], Meta(max_length=50)] = []
    """Uploads of one's own."""
    mentions: Mentions | None = None
    silent: bool = False
    """Make nothing unread."""
    only_for: UserName | None = None
    """Show it to this user alone, now; it is not kept."""
    expires_in: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    """Seconds after which it goes by itself."""


@app.command("message.edit", lane="channel")
class EditMessage(Command[Message]):
    """Change what a message says; what it said before is kept."""

    channel: ChatChannel
    seq: Seq
    text: MessageText | None = None
    data: Data | None = None
    mentions: Mentions | None = None
    """Whom it names now; by default whom it named before."""


@app.command("message.delete", lane="channel")
class DeleteMessage(Command[Message]):
    """Delete a message for all: one's own, or as a moderator. Twice is as good as once."""

    channel: ChatChannel
    seq: Seq
    reason: Annotated[str, Meta(max_length=500)] = ""
    """For the audit log, where a moderator deletes."""


@app.command("message.restore", lane="channel")
class RestoreMessage(Command[Message]):
    """Take a deletion back."""

    channel: ChatChannel
    seq: Seq
    reason: Annotated[str, Meta(max_length=500)] = ""


class HiddenMessages(Struct):
    """The messages that are hidden now, of those that were named."""

    channel: str
    seqs: list[int]


@app.command("message.hide")
class HideMessages(Command[HiddenMessages]):
    """Delete messages for oneself alone."""

    channel: ChatChannel
    seqs: Annotated[list[Seq], Meta(min_length=1, max_length=100)]


@app.command("message.forward", lane="channel")
class ForwardMessage(Command[Message]):
    """Send a message that one may see to another channel."""

    channel: ChatChannel
    """Where to."""
    source: ChatChannel
    seq: Seq
    silent: bool = False


# Queries


class MessagePage(Struct, omit_defaults=True):
    """Messages in rising `seq`; `more` tells whether there are further ones in the direction that was read.

    `previous` is the `before` of the page above, `next` the `after` of the page below, where there may be one.
    """

    messages: list[Message]
    more: bool
    previous: int | None = None
    next: int | None = None
    total: int | None = None
    """How many there are on all pages, where it was asked."""


@app.query("message.list")
class ListMessages(Query[MessagePage]):
    """A page of messages: the newest, those before a `seq`, those after one, or those around one."""

    channel: ChatChannel
    before: Annotated[int, Meta(ge=1)] | None = None
    after: Annotated[int, Meta(ge=0)] | None = None
    around: Annotated[int, Meta(ge=1)] | None = None
    parent: Seq | None = None
    """Those of this message's thread; by default those that stand in the channel itself."""
    limit: PageLimit = 50
    total: bool = False


@app.query("message.get")
class GetMessage(Query[Message]):
    """One message."""

    channel: ChatChannel
    seq: Seq


class MessageEdit(Struct, omit_defaults=True):
    """What a message said, until `time` (Unix milliseconds), when `user` changed it."""

    edit: int
    """Its number, from 1."""
    user: str
    time: int
    text: str
    data: Data | None = None
    mentions: Mentions | None = None


class MessageEdits(Struct, omit_defaults=True):
    """A page of earlier versions, the latest first."""

    edits: list[MessageEdit]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("message.edits")
class ListEdits(Query[MessageEdits]):
    """What a message said before it was edited."""

    channel: ChatChannel
    seq: Seq
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False
