"""What channels understand: commands, queries, events."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChannelId, ChatChannel, Cursor, PageLimit, Role, Title, UserName, app

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
    "MemberInfo",
    "MemberJoined",
    "MemberLeft",
    "MemberList",
    "RemovedFromChannel",
]


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
    id: ChannelId | None = None
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


# Queries


class ChannelList(Struct):
    """A page of channels; `next` is the cursor of the page behind it."""

    channels: list[ChannelInfo]
    next: str | None = None


@app.query("channel.list")
class ListChannels(Query[ChannelList]):
    """The channels one is a member of, then the public ones, by name."""

    cursor: Cursor | None = None
    limit: PageLimit = 100


class MemberList(Struct):
    """The members of a channel, by name."""

    members: list[MemberInfo]


@app.query("channel.members")
class ListMembers(Query[MemberList]):
    """Who is a member of a channel."""

    channel: ChatChannel
