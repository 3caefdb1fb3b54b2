"""What hangs on messages: commands, queries, events of reactions, threads, pins, mentions."""

from __future__ import annotations

from backchannel import Command, Event, Query, Struct

from ..common import ChatChannel, Cursor, PageLimit, Seq, app
from .contract import Emoji, Message

__all__ = [
    "AddReaction",
    "FollowThread",
    "FollowedThread",
    "GetThread",
    "ListMentions",
    "ListPins",
    "ListReactions",
    "ListThreads",
    "MentionCreated",
    "MentionList",
    "MessagePinned",
    "MessageUnpinned",
    "PinList",
    "PinMessage",
    "PinState",
    "ReactionChanged",
    "ReactionList",
    "ReactionState",
    "Reactor",
    "RemoveReaction",
    "Thread",
    "ThreadFollowed",
    "ThreadList",
    "ThreadUpdated",
    "UnpinMessage",
]


# Events


@app.event("reaction.changed")
class ReactionChanged(Event):
    """A user reacted to a message, or took it back; `count` is how many react so now."""

    channel: str
    seq: int
    emoji: str
    user: str
    reacted: bool
    """Whether `user` reacts so now."""
    count: int


@app.event("thread.updated")
class ThreadUpdated(Event):
    """A message's answers are others than they were; these are the numbers now."""

    channel: str
    seq: int
    """The message that they answer."""
    replies: int
    last_seq: int
    last_time: int
    users: list[str] = []


@app.event("thread.followed")
class ThreadFollowed(Event):
    """On `user:<id>`: that user follows a thread, or does not any more."""

    channel: str
    seq: int
    following: bool


@app.event("mention.created")
class MentionCreated(Event):
    """On `user:<id>`: a message names that user."""

    channel: str
    seq: int
    user: str
    """Who sent it."""
    text: str
    """Cut to 300 characters."""
    time: int
    parent: int | None = None


@app.event("message.pinned")
class MessagePinned(Event):
    """A message was pinned."""

    channel: str
    seq: int
    by: str
    time: int
    pins: int
    """How many pins the channel has now."""


@app.event("message.unpinned")
class MessageUnpinned(Event):
    """A message is not pinned any more."""

    channel: str
    seq: int
    by: str
    pins: int


# Commands


class ReactionState(Struct):
    """How a message stands with one emoji."""

    channel: str
    seq: int
    emoji: str
    count: int
    own: bool


@app.command("reaction.add", lane="channel")
class AddReaction(Command[ReactionState]):
    """React to a message. Twice is as good as once."""

    channel: ChatChannel
    seq: Seq
    emoji: Emoji


@app.command("reaction.remove", lane="channel")
class RemoveReaction(Command[ReactionState]):
    """Take a reaction back."""

    channel: ChatChannel
    seq: Seq
    emoji: Emoji


class FollowedThread(Struct):
    """Whether one follows a thread."""

    channel: str
    seq: int
    following: bool


@app.command("thread.follow", lane="channel")
class FollowThread(Command[FollowedThread]):
    """Follow a thread, or stop; who answers follows by itself."""

    channel: ChatChannel
    seq: Seq
    following: bool = True


class PinState(Struct):
    """Whether a message is pinned, and how many are."""

    channel: str
    seq: int
    pinned: bool
    pins: int


@app.command("message.pin", lane="channel")
class PinMessage(Command[PinState]):
    """Pin a message to its channel. Twice is as good as once."""

    channel: ChatChannel
    seq: Seq


@app.command("message.unpin", lane="channel")
class UnpinMessage(Command[PinState]):
    """Unpin a message."""

    channel: ChatChannel
    seq: Seq


# Queries


class Reactor(Struct):
    """Who reacted, with what, when."""

    user: str
    emoji: str
    time: int


class ReactionList(Struct, omit_defaults=True):
    """A page of reactions, the earliest first."""

    reactions: list[Reactor]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("reaction.list")
class ListReactions(Query[ReactionList]):
    """Who reacted to a message."""

    channel: ChatChannel
    seq: Seq
    emoji: Emoji | None = None
    """With this one; by default with any."""
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


class Thread(Struct, omit_defaults=True):
    """A message with its answers, as one user has read them."""

    message: Message
    following: bool = False
    unread: int = 0
    """Answers of others that the user has not read."""
    read_seq: int = 0


class ThreadList(Struct, omit_defaults=True):
    """A page of threads, those with the latest answers first."""

    threads: list[Thread]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("thread.list")
class ListThreads(Query[ThreadList]):
    """The threads of a channel, or all that one follows."""

    channel: ChatChannel | None = None
    """By default those that one follows, in all channels that one is a member of."""
    following: bool = False
    """Of a channel: only those that one follows."""
    unread: bool = False
    """Only those with answers that one has not read."""
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


@app.query("thread.get")
class GetThread(Query[Thread]):
    """A message with its answers in numbers; `message.list` with `parent` has the answers themselves."""

    channel: ChatChannel
    seq: Seq


class PinList(Struct, omit_defaults=True):
    """A page of pinned messages, the last pinned first."""

    messages: list[Message]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("pin.list")
class ListPins(Query[PinList]):
    """The messages that are pinned to a channel."""

    channel: ChatChannel
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


class MentionList(Struct, omit_defaults=True):
    """A page of messages that name the asking user, the latest first."""

    messages: list[Message]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("mention.list")
class ListMentions(Query[MentionList]):
    """The messages of others that name one: in a channel, or in all that one is a member of."""

    channel: ChatChannel | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False
