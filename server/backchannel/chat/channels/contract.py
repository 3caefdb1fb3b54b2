"""What channels understand: commands, queries, events. Members, invitations and permissions have their own files."""

from __future__ import annotations

from typing import Annotated, Literal

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChannelId, ChatChannel, Cursor, Data, PageLimit, Role, Title, UserName, app
from ..rules import Features

__all__ = [
    "AddedToChannel",
    "ArchiveChannel",
    "ChannelCounted",
    "ChannelDeleted",
    "ChannelDetails",
    "ChannelInfo",
    "ChannelList",
    "ChannelUncounted",
    "ChannelUpdated",
    "CountInChannel",
    "CounterName",
    "CounterValue",
    "CreateChannel",
    "DeleteChannel",
    "FindChannels",
    "FreezeChannel",
    "GetChannel",
    "LastMessage",
    "Left",
    "ListChannels",
    "Membership",
    "OpenDirect",
    "RemovedFromChannel",
    "TypeName",
    "UncountInChannel",
    "UpdateChannel",
]

TypeName = Annotated[
    str, Meta(min_length=1, max_length=64, description="direct, group, broadcast, open, or one of the app's own.")
]
CounterName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)")]
_Topic = Annotated[str, Meta(max_length=500)]
_Cover = Annotated[str, Meta(max_length=2000, description="Where the picture is: a URL, or a file's id.")]
_Number = Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]


class Membership(Struct, omit_defaults=True):
    """What the asking member has in a channel: role, wishes, and what is left to read."""

    role: str
    joined: int
    """When, Unix milliseconds."""
    data: Data = {}
    read_seq: int = 0
    """Up to this message all is read."""
    history_from: int = 0
    """Messages up to this one are not theirs to see."""
    unread: int = 0
    mentions: int = 0
    hidden: bool = False
    archived: bool = False
    pinned: int = 0
    """Since when, Unix milliseconds; 0: not."""
    muted: int = 0
    """Until when, Unix milliseconds; 0: not."""


class LastMessage(Struct, omit_defaults=True):
    """The newest message of a channel that the asking member may see; of a deleted one `text` is empty."""

    seq: int
    id: str
    user: str
    type: str
    text: str
    time: int
    deleted: bool = False


class ChannelInfo(Struct, omit_defaults=True):
    """A channel, as the asking user sees it."""

    channel: str
    name: str
    public: bool
    creator: str
    created: int
    joined: bool
    """Whether the asking user is a member."""
    members: int
    last_seq: int
    type: str = "group"
    topic: str = ""
    cover: str = ""
    data: Data = {}
    frozen: bool = False
    """Whether only those whom the permissions name (`message.send_frozen`) may send."""
    archived: bool = False
    """Whether nobody may send any more."""
    users: list[str] = []
    """Who a `direct` channel is between; for other types empty."""
    mine: Membership | None = None
    """None for who is no member."""
    last: LastMessage | None = None
    """In lists of one's own channels."""


# Events


@app.event("channel.added")
class AddedToChannel(ChannelInfo, Event):
    """On `user:<id>`: that user is a member of this channel now."""


@app.event("channel.removed")
class RemovedFromChannel(Event):
    """On `user:<id>`: that user is no member of this channel any more."""

    channel: str


@app.event("channel.updated")
class ChannelUpdated(Event):
    """A channel is called or described otherwise, was frozen or archived, or no longer; all of it as it is now."""

    channel: str
    name: str
    public: bool
    type: str = "group"
    topic: str = ""
    cover: str = ""
    data: Data = {}
    frozen: bool = False
    archived: bool = False


@app.event("channel.deleted")
class ChannelDeleted(Event):
    """A channel is gone, for all; everybody's subscription ends with this event."""

    channel: str


@app.event("channel.counted")
class ChannelCounted(Event):
    """A counter's value, as it is now."""

    channel: str
    name: str
    value: int


@app.event("channel.uncounted")
class ChannelUncounted(Event):
    """A counter is gone."""

    channel: str
    name: str


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
    type: TypeName = "group"
    topic: _Topic = ""
    cover: _Cover = ""
    data: Data = {}
    owner: UserName | None = None
    """Who owns it; for an API key that acts for itself, which cannot."""


@app.command("channel.direct")
class OpenDirect(Command[ChannelInfo]):
    """The conversation between these users and oneself: always the same channel, made when it is first asked for."""

    members: Annotated[list[UserName], Meta(max_length=20)]


@app.command("channel.update", lane="channel")
class UpdateChannel(Command[ChannelInfo]):
    """Change what is given, and leave the rest."""

    channel: ChatChannel
    name: Title | None = None
    topic: _Topic | None = None
    cover: _Cover | None = None
    public: bool | None = None
    data: Data | None = None
    """Its keys replace those there are; a key whose value is null goes."""


@app.command("channel.freeze", lane="channel")
class FreezeChannel(Command[ChannelInfo]):
    """Let only moderators send, or everybody again."""

    channel: ChatChannel
    frozen: bool = True


@app.command("channel.archive", lane="channel")
class ArchiveChannel(Command[ChannelInfo]):
    """Close a channel for all: it can be read, and nobody sends; or open it again."""

    channel: ChatChannel
    archived: bool = True


class Left(Struct):
    """The channel that was left, or deleted."""

    channel: str


@app.command("channel.delete", lane="channel")
class DeleteChannel(Command[Left]):
    """Delete a channel for all."""

    channel: ChatChannel


class CounterValue(Struct):
    """A counter; a value of 0 also for one that is not there."""

    channel: str
    name: str
    value: int


@app.command("channel.count", lane="channel")
class CountInChannel(Command[CounterValue]):
    """Add to one of the channel's counters, or set it; it begins with 0. No count is lost, whoever else counts."""

    channel: ChatChannel
    name: CounterName
    by: _Number = 1
    to: _Number | None = None
    """The value that it gets, instead of adding `by`."""


@app.command("channel.uncount", lane="channel")
class UncountInChannel(Command[CounterValue]):
    """Remove one of the channel's counters."""

    channel: ChatChannel
    name: CounterName


# Queries


class ChannelDetails(Struct):
    """A channel with all that is known of it."""

    info: ChannelInfo
    features: Features
    actions: list[str]
    """What the asking user's role may do here; docs/chat/channels.md lists them."""
    counters: dict[str, int]


@app.query("channel.get")
class GetChannel(Query[ChannelDetails]):
    """One channel: what it is, what one may do in it, its counters."""

    channel: ChatChannel


class ChannelList(Struct, omit_defaults=True):
    """A page of channels; `next` and `previous` are the cursors of the pages beside it."""

    channels: list[ChannelInfo]
    next: str | None = None
    previous: str | None = None
    total: int | None = None
    """How many there are on all pages, if that was asked."""


@app.query("channel.list")
class ListChannels(Query[ChannelList]):
    """One's own channels, pinned ones first, then by latest activity, with what is unread in each."""

    cursor: Cursor | None = None
    limit: PageLimit = 100
    total: bool = False
    sort: Literal["activity", "name"] = "activity"
    types: Annotated[list[TypeName], Meta(max_length=20)] = []
    """Only channels of these types."""
    roles: Annotated[list[Role], Meta(max_length=20)] = []
    """Only where one has one of these roles."""
    name: Annotated[str, Meta(max_length=100)] = ""
    """Only those whose name contains this, in whatever case."""
    unread: bool = False
    """Only those with something to read."""
    hidden: bool | None = False
    """Whether one has hidden them; null: all."""
    archived: bool | None = None
    """Whether one has archived them, for oneself."""
    pinned: bool | None = None
    muted: bool | None = None


@app.query("channel.find")
class FindChannels(Query[ChannelList]):
    """Public channels, by name; also those one is a member of."""

    cursor: Cursor | None = None
    limit: PageLimit = 100
    total: bool = False
    name: Annotated[str, Meta(max_length=100)] = ""
    """Only those whose name begins with this."""
    types: Annotated[list[TypeName], Meta(max_length=20)] = []
    joined: bool | None = None
    """Whether one is a member of them; null: all."""
