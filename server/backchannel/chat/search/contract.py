"""What search understands: queries alone."""

from __future__ import annotations

from typing import Annotated, Literal

from backchannel import Meta, Query, Struct

from ..common import ChatChannel, Cursor, UserName, app
from ..messages.contract import Message

__all__ = [
    "ChannelHit",
    "ChannelHits",
    "MessageHit",
    "MessageHits",
    "SearchChannels",
    "SearchMessages",
    "SearchUsers",
    "UserHit",
    "UserHits",
]

SearchText = Annotated[str, Meta(max_length=300)]
SearchLimit = Annotated[int, Meta(ge=1, le=100)]
Moment = Annotated[int, Meta(ge=0, le=2**42, description="Unix milliseconds.")]
Thing = Literal["file", "image", "link", "poll", "quote", "reply", "mention"]


class MessageHit(Struct, omit_defaults=True):
    """A message that was found."""

    message: Message
    excerpt: list[str]
    """The text around the first words that were found, in pieces: every second one, from the second on, is what was
    found. Joined they are the excerpt."""
    cut: bool = False
    """Whether the text is longer than the excerpt."""


class MessageHits(Struct, omit_defaults=True):
    """A page of messages that were found; `next` is the cursor of the page behind it.

    A page may hold less than `limit` and still have a `next`: one request looks at so many messages at most.
    """

    hits: list[MessageHit]
    next: str | None = None
    total: int | None = None
    """How many there are, where it was asked; 10,000 stands for as many or more."""


@app.query("message.search")
class SearchMessages(Query[MessageHits]):
    """Find messages by their words, in the channels that one is a member of, or in those that are named.

    All words must be there. `"some words"` must stand together, `-word` must not be there, `wor*` begins so. Filters
    stand between the words or in fields, with the same effect: `in:lobby`, `from:alice` (`from:me`),
    `before:2026-01-31`, `after:2026-01-31`, `has:file`.
    """

    q: SearchText = ""
    channels: Annotated[list[ChatChannel], Meta(max_length=5)] = []
    """In one of these; an open room is searched by naming it."""
    users: Annotated[list[UserName], Meta(max_length=10)] = []
    """From one of these."""
    before: Moment | None = None
    after: Moment | None = None
    """At this moment or later."""
    has: Annotated[list[Thing], Meta(max_length=7)] = []
    """With all of these."""
    unfinished: bool = False
    """Whether the last word is still being typed: it is the beginning of a word then."""
    sort: Literal["newest", "best"] = "newest"
    """`best`: those that the words fit best, of the newest 2,000 that were found."""
    cursor: Cursor | None = None
    limit: SearchLimit = 20
    total: bool = False


class ChannelHit(Struct, omit_defaults=True):
    """A channel that was found."""

    channel: str
    name: str
    type: str
    topic: str = ""
    cover: str = ""
    public: bool = False
    joined: bool = False
    members: int = 0


class ChannelHits(Struct, omit_defaults=True):
    """A page of channels that were found."""

    channels: list[ChannelHit]
    next: str | None = None
    total: int | None = None


@app.query("channel.search")
class SearchChannels(Query[ChannelHits]):
    """Find channels by words of their name and topic: those that one is a member of, and public ones. The last word
    may be unfinished."""

    q: Annotated[str, Meta(min_length=1, max_length=100)]
    joined: bool | None = None
    """Only those that one is a member of, or only those that one is not."""
    cursor: Cursor | None = None
    limit: SearchLimit = 20
    total: bool = False


class UserHit(Struct, omit_defaults=True):
    """A user who was found."""

    user: str
    name: str
    avatar: str = ""


class UserHits(Struct, omit_defaults=True):
    """A page of users who were found."""

    users: list[UserHit]
    next: str | None = None
    total: int | None = None


@app.query("user.search")
class SearchUsers(Query[UserHits]):
    """Find users by words of their name, or by their id. The last word may be unfinished."""

    q: Annotated[str, Meta(min_length=1, max_length=100)]
    channel: ChatChannel | None = None
    """Only members of this channel."""
    cursor: Cursor | None = None
    limit: SearchLimit = 20
    total: bool = False
