"""What chat understands: its commands, queries, events and namespaces.

Declarations only, free of the server's libraries, so that a bot can import them from a base install.
"""

from __future__ import annotations

from typing import Annotated, Literal

from backchannel import App, Command, Event, Meta, Query, Struct

__all__ = [
    "AddedToChannel",
    "ChannelInfo",
    "ChannelList",
    "CreateChannel",
    "JoinChannel",
    "LeaveChannel",
    "Left",
    "ListChannels",
    "ListMembers",
    "ListMessages",
    "MemberInfo",
    "MemberJoined",
    "MemberLeft",
    "MemberList",
    "Message",
    "MessageCreated",
    "MessagePage",
    "RemovedFromChannel",
    "SendMessage",
    "StartTyping",
    "StopTyping",
    "Typing",
    "TypingStarted",
    "TypingStopped",
    "app",
]

app = App("chat")

Role = Literal["owner", "member"]
# In Python `$` also matches before a final newline; `(?!\n)` closes that and means the same in every dialect.
ChatChannel = Annotated[str, Meta(pattern=r"^chat:[A-Za-z0-9_.@-]{1,128}$(?!\n)", description="A chat channel.")]
UserName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@-]{1,128}$(?!\n)")]
Title = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S")]
Text = Annotated[str, Meta(min_length=1, max_length=4000, pattern=r"\S")]


class Message(Struct):
    """One message. `seq` counts the channel's messages from 1 and is their order; `time` is for people."""

    id: str
    channel: str
    seq: int
    user: str
    text: str
    time: int


class ChannelInfo(Struct):
    """A channel, as the asking user sees it."""

    channel: str
    name: str
    public: bool
    creator: str
    created: int
    joined: bool
    members: int
    last_seq: int


class MemberInfo(Struct):
    """One member of a channel."""

    user: str
    role: Role
    joined: int


# Events


@app.event("message.created")
class MessageCreated(Event):
    """A message was sent; the event carries all of it."""

    id: str
    channel: str
    seq: int
    user: str
    text: str
    time: int


@app.event("member.joined")
class MemberJoined(Event):
    """A user became a member."""

    channel: str
    user: str


@app.event("member.left")
class MemberLeft(Event):
    """A user is no member any more; that user's subscriptions end with this event."""

    channel: str
    user: str


@app.event("typing.started", ephemeral=True)
class TypingStarted(Event):
    """A user is typing. Show it for a few seconds unless it comes again."""

    channel: str
    user: str


@app.event("typing.stopped", ephemeral=True)
class TypingStopped(Event):
    """A user stopped typing."""

    channel: str
    user: str


@app.event("channel.added")
class AddedToChannel(Event):
    """On `user:<id>`: that user is a member of this channel now."""

    channel: str
    name: str
    public: bool
    creator: str
    created: int
    joined: bool
    members: int
    last_seq: int


@app.event("channel.removed")
class RemovedFromChannel(Event):
    """On `user:<id>`: that user is no member of this channel any more."""

    channel: str


# Commands


@app.command("channel.create")
class CreateChannel(Command[ChannelInfo]):
    """Create a channel; who creates it owns it, and `members` are members at once."""

    name: Title
    members: Annotated[list[UserName], Meta(max_length=100)] = []
    public: bool = True
    """Whether anybody may find and join it."""
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@-]{1,64}$(?!\n)")] | None = None
    """What follows `chat:`; by default a fresh id."""


@app.command("channel.join", lane="channel")
class JoinChannel(Command[ChannelInfo]):
    """Become a member of a public channel."""

    channel: ChatChannel


class Left(Struct):
    """The channel that was left."""

    channel: str


@app.command("channel.leave", lane="channel")
class LeaveChannel(Command[Left]):
    """Stop being a member."""

    channel: ChatChannel


@app.command("message.send", lane="channel")
class SendMessage(Command[Message]):
    """Send a message to a channel that one is a member of."""

    channel: ChatChannel
    text: Text


class Typing(Struct):
    """The channel in which it is told."""

    channel: str


@app.command("typing.start", lane="channel")
class StartTyping(Command[Typing]):
    """Tell the other members that one is typing."""

    channel: ChatChannel


@app.command("typing.stop", lane="channel")
class StopTyping(Command[Typing]):
    """Tell the other members that one stopped typing."""

    channel: ChatChannel


# Queries


class ChannelList(Struct):
    """A page of channels; `next` is the cursor of the page behind it."""

    channels: list[ChannelInfo]
    next: str | None = None


@app.query("channel.list")
class ListChannels(Query[ChannelList]):
    """The channels one is a member of, then the public ones, by name."""

    cursor: Annotated[str, Meta(max_length=300)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 100


class MemberList(Struct):
    """The members of a channel, by name."""

    members: list[MemberInfo]


@app.query("channel.members")
class ListMembers(Query[MemberList]):
    """Who is a member of a channel."""

    channel: ChatChannel


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
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
