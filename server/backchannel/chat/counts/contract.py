"""What is understood about receipts, unread counts and changes: commands, queries, events."""

from __future__ import annotations

from typing import Annotated, Literal

from backchannel import Command, Event, Meta, Query, Struct

from ..channels.contract import ChannelInfo
from ..common import ChatChannel, Cursor, PageLimit, Seq, app
from ..messages.contract import Message

__all__ = [
    "AllRead",
    "ChangesList",
    "ChannelChanges",
    "ChannelUnread",
    "GetReceipts",
    "GetUnread",
    "ListChanges",
    "ListReceipts",
    "LogPosition",
    "MarkAllRead",
    "MarkReceipt",
    "MarkThread",
    "MarkUnread",
    "MemberChange",
    "Receipt",
    "ReceiptChanged",
    "ReceiptKind",
    "ReceiptList",
    "ReceiptStep",
    "Receipts",
    "ReceiptsSummed",
    "ThreadRead",
    "ThreadUnread",
    "UnreadChanged",
    "UnreadCounts",
]

ReceiptKind = Literal["read", "delivered"]


class ChannelUnread(Struct, omit_defaults=True):
    """What the asking user has not read in a channel."""

    channel: str
    unread: int = 0
    """Messages of others that count: none that are silent, deleted, the system's, or in a thread alone."""
    mentions: int = 0
    """Messages of others that mention the user, the user's role or everybody, also those in threads."""
    read_seq: int = 0
    """Up to this message all is read."""
    last_seq: int = 0
    """The channel's newest message, whatever it is."""
    muted: bool = False


class ThreadUnread(Struct, omit_defaults=True):
    """What the asking user has not read in a thread."""

    channel: str
    seq: int
    """The message that is answered."""
    unread: int = 0
    read_seq: int = 0
    """Up to this message all is read."""


class Receipt(Struct, omit_defaults=True):
    """How far a member is. Who has read a message also has it."""

    user: str
    read: int = 0
    """The seq up to which the member has read."""
    delivered: int = 0
    """The seq up to which a device of the member has everything."""


class ReceiptStep(Struct):
    """So many members are at this seq or further."""

    seq: int
    members: int


# Events


@app.event("receipt.changed")
class ReceiptChanged(Event):
    """A member has read further, has got further, or marked something as unread; where channels are small."""

    channel: str
    user: str
    read: int
    delivered: int


@app.event("receipt.summed")
class ReceiptsSummed(Event):
    """How many members have read, and have got, the newest messages; in large channels, every few seconds at most.

    The steps rise in `seq` and fall in `members`: a message has been read by as many as the first step at or behind it
    says, and by nobody where there is none.
    """

    channel: str
    members: int
    since: int
    """The steps are those behind this seq; who is at it or before it is in none."""
    read: list[ReceiptStep]
    delivered: list[ReceiptStep]


@app.event("unread.changed")
class UnreadChanged(Event):
    """On `user:<id>`: what the user has not read in a channel, now, after one of the user's devices changed it."""

    channel: str
    unread: int
    mentions: int
    read_seq: int
    last_seq: int


@app.event("thread.read")
class ThreadRead(Event):
    """On `user:<id>`: what the user has not read in a thread, now, after one of the user's devices changed it."""

    channel: str
    seq: int
    """The message that is answered."""
    unread: int
    read_seq: int


# Commands


@app.command("receipt.mark", lane="channel")
class MarkReceipt(Command[ChannelUnread]):
    """Tell up to which message one has read, or a device has got, everything. It never moves back."""

    channel: ChatChannel
    read: Seq | None = None
    delivered: Seq | None = None


@app.command("channel.mark_unread", lane="channel")
class MarkUnread(Command[ChannelUnread]):
    """Mark a message, and all behind it, as unread. Receipts say so, too."""

    channel: ChatChannel
    seq: Seq


class AllRead(Struct):
    """How many channels had something unread."""

    channels: int


@app.command("channel.mark_all_read", own_transaction=True, timeout=60.0)
class MarkAllRead(Command[AllRead]):
    """Mark all that one has not read, in all channels, as read."""


@app.command("thread.mark", lane="channel")
class MarkThread(Command[ThreadUnread]):
    """Tell up to which reply one has read a thread; with `unread` it may move back."""

    channel: ChatChannel
    seq: Seq
    """The message that is answered."""
    read: Annotated[int, Meta(ge=0)]
    unread: bool = False
    """Whether what is behind `read` is to be unread again."""


@app.command("receipt.tell", lane="channel", internal=True)
class TellReceipts(Command[None]):
    """Tell a large channel how many have read."""

    channel: ChatChannel


# Queries


class Receipts(Struct, omit_defaults=True):
    """The receipts of a channel: each member's where it is small, sums where it is large."""

    members: int
    each: list[Receipt] | None = None
    """In a small channel: members that have read or got anything, by name."""
    sums: ReceiptsSummed | None = None
    """In a large channel: what the event `receipt.summed` would say now."""


@app.query("receipt.get")
class GetReceipts(Query[Receipts]):
    """How far the members of a channel have read: the state that its events go on from."""

    channel: ChatChannel


class ReceiptList(Struct, omit_defaults=True):
    """Members that have read, or got, a message."""

    receipts: list[Receipt]
    read: int
    """How many have read it, its author left out."""
    delivered: int
    """How many have it, its author left out."""
    next: str | None = None
    previous: str | None = None


@app.query("receipt.list")
class ListReceipts(Query[ReceiptList]):
    """Who has read, or got, a message, and how many have; its author is left out.

    Members come in the order of how far they are, then by name.
    """

    channel: ChatChannel
    seq: Seq
    kind: ReceiptKind = "read"
    cursor: Cursor | None = None
    limit: PageLimit = 50


class UnreadCounts(Struct, omit_defaults=True):
    """What the asking user has not read.

    `checksum` is the sum, modulo 2**32, of the CRC-32 of one text for each channel and thread that has anything unread:
    `<channel> <unread> <mentions>` and `<channel> <seq> <unread> thread`, as UTF-8, numbers in decimal. It does not
    depend on their order.
    """

    unread: int
    """In all channels."""
    mentions: int
    """In all channels."""
    threads: int
    """Replies in all threads that the user follows."""
    checksum: int
    muted: int = 0
    """How many of `unread` are in channels that the user has muted."""
    same: bool = False
    """Whether the checksum that was asked with is this one; then there are no lists."""
    channels: list[ChannelUnread] = []
    """Channels with anything unread or, where channels were named, these; the 5,000 with the most mentions, then the
    most messages, if they are more."""
    in_threads: list[ThreadUnread] = []
    """Threads with anything unread."""


@app.query("unread.get")
class GetUnread(Query[UnreadCounts]):
    """What one has not read, in all and per channel and thread; with a checksum, the lists come only if they differ."""

    checksum: Annotated[int, Meta(ge=0, lt=2**32)] | None = None
    channels: Annotated[list[ChatChannel], Meta(max_length=200)] | None = None
    """Only these, also if nothing is unread in them; totals and checksum are then theirs alone."""


@app.query("unread.channels", internal=True)
class UnreadChannels(Query[list[ChannelUnread]]):
    """The channels in which the asking user has anything unread."""


@app.query("receipt.due", internal=True)
class DueReceipts(Query[list[str]]):
    """The large channels whose receipts are to be told now."""


class LogPosition(Struct, frozen=True):
    """A place in a channel's log: the offset of the last event that is known, in its epoch."""

    epoch: Annotated[str, Meta(max_length=64)]
    offset: Annotated[int, Meta(ge=0, le=2**53 - 1)]


class MemberChange(Struct, omit_defaults=True):
    """A member as it is now."""

    user: str
    role: str | None = None
    """None: the user is no member any more."""
    joined: int = 0
    read: int = 0
    delivered: int = 0


class ChannelChanges(Struct, omit_defaults=True):
    """What has changed in one channel, as it is now."""

    channel: str
    verdict: Literal["complete", "more", "gap", "none"]
    """`complete`: this is all. `more`: ask again from `position`. `gap`: what has changed is not known any more, so
    read the channel anew; what is new from `position` on, this query tells. `none`: there is no such channel, or it is
    not yours to see."""
    position: LogPosition | None = None
    """Where to go on."""
    info: ChannelInfo | None = None
    """The channel, if it has changed."""
    messages: list[Message] = []
    """Messages that are new, or changed in any way; deleted ones without what they said."""
    members: list[MemberChange] = []
    """Members who came, left, or changed; where the channel is small also those who have read further."""
    sums: ReceiptsSummed | None = None
    """Where the channel is large: the newest sums of receipts, if they have changed."""
    unread: ChannelUnread | None = None
    """For members."""


class ChangesList(Struct):
    """What has changed, channel by channel, in the order in which they were asked."""

    channels: list[ChannelChanges]


@app.query("changes.list")
class ListChanges(Query[ChangesList]):
    """Everything that has changed in any number of channels since a position in each.

    Without a position (null) a channel answers with its present one, the channel itself and the counts, and the verdict
    `gap`.
    """

    positions: Annotated[dict[ChatChannel, LogPosition | None], Meta(min_length=1, max_length=500)]
    limit: Annotated[int, Meta(ge=1, le=5000)] = 1000
    """How many events of the logs are looked through, in equal parts for all channels; then there is `more`."""
