"""Frames: every message of the wire, version 1, as a struct.

One frame travels per WebSocket message and is a map with a `type`. Spans are seconds, instants Unix
milliseconds, sizes bytes. `data` is carried as raw bytes of the connection's encoding, so that
nobody who only passes it on has to parse it.

Evolution: only add fields that have defaults, never retype or reuse a name. A server ignores
unknown fields and answers an unknown `type` with `invalid`; a client ignores unknown frames.
The rules of each frame are in PROTOCOL.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct, field

from .codes import Outcome
from .limits import Channel, Epoch, Id, Key, Limits, Name, Offset

__all__ = [
    "Call",
    "Cancel",
    "ClientFrame",
    "ClientInfo",
    "Connect",
    "Connected",
    "Error",
    "Event",
    "Gap",
    "GapReason",
    "History",
    "HistoryReply",
    "Member",
    "Move",
    "Ping",
    "Pong",
    "Position",
    "Presence",
    "PresenceRequest",
    "Publish",
    "PublishReply",
    "Refresh",
    "RefreshReply",
    "Reply",
    "ServerFrame",
    "Subscribe",
    "Subscribed",
    "Unsubscribe",
    "UnsubscribeReply",
    "Unsubscribed",
    "Verdict",
]

Verdict = Literal["new", "recovered", "gap"]
GapReason = Literal["slow", "trimmed", "reset"]


class Position(Struct, frozen=True):
    """A place in a channel's log: the offset of the last event that was handled, in its epoch."""

    epoch: Epoch
    offset: Offset


class ClientInfo(Struct, frozen=True, omit_defaults=True):
    """What the client says of itself; for logs and support only."""

    name: Annotated[str, Meta(max_length=64)] = ""
    """The client library or app, e.g. `backchannel-py`."""
    version: Annotated[str, Meta(max_length=64)] = ""
    """Its version."""


class Member(Struct, frozen=True, omit_defaults=True):
    """One user who is present on a channel, merged over that user's connections."""

    user: str
    """The user's id."""
    since: int
    """When the user came, Unix milliseconds."""


# Client to server


class _Client(Struct, tag_field="type", omit_defaults=True, kw_only=True):
    pass


class Connect(_Client, tag="connect"):
    """Open the session: who is there, and which channels go on from where."""

    id: Id
    token: str | None = None
    """The user's token; not needed where it came in a header or guests are allowed."""
    client: ClientInfo | None = None
    """What the client says of itself."""
    resume: dict[Channel, Position] | None = None
    """Where each channel goes on: the position of the last event that was handled."""


class Subscribe(_Client, tag="subscribe"):
    """Listen to a channel, from now or from a position."""

    id: Id
    channel: Channel
    since: Position | None = None
    """Bring the events after this position; absent: from now."""


class Unsubscribe(_Client, tag="unsubscribe"):
    """Stop listening to a channel."""

    id: Id
    channel: Channel


class Call(_Client, tag="call"):
    """Ask a command or a query."""

    id: Id
    name: Name
    """The command or query, `noun.verb`."""
    data: Raw
    """What its declaration says."""
    key: Key | None = None
    """The idempotency key of a command: the same key has one effect, however often it is sent."""
    timeout: Annotated[float, Meta(gt=0, le=3600)] | None = None
    """How long the client waits, in seconds; absent: `limits.call`."""


class Cancel(_Client, tag="cancel"):
    """Nobody waits for this call any more. `id` is that of the call; the answer is the call's."""

    id: Id


class Publish(_Client, tag="publish"):
    """Publish an event on a live or ephemeral channel whose namespace lets clients publish."""

    channel: Channel
    name: Name
    """The event's name, `noun.participle`."""
    data: Raw
    """What the event's declaration says."""
    id: Id | None = None
    """Absent: no answer is wanted."""
    key: Key | None = None
    """The idempotency key: a repeated publish gets one offset."""


class History(_Client, tag="history"):
    """Read a page of a channel's log: after `since` upwards, or below `before` downwards."""

    id: Id
    channel: Channel
    limit: Annotated[int, Meta(ge=1)]
    """How many events at most, up to `limits.history`."""
    since: Position | None = None
    """Read the events after this position, upwards."""
    before: Position | None = None
    """Read the events below this position, downwards."""


class PresenceRequest(_Client, tag="presence"):
    """Ask who is present on a channel."""

    id: Id
    channel: Channel


class Refresh(_Client, tag="refresh"):
    """Go on with a new token, before the old one expires."""

    id: Id
    token: str
    """The new token, of the same user."""


class Pong(_Client, tag="pong"):
    """The answer to `ping`."""


ClientFrame = Connect | Subscribe | Unsubscribe | Call | Cancel | Publish | History | PresenceRequest | Refresh | Pong


# Server to client


class _Server(Struct, tag_field="type", omit_defaults=True, kw_only=True):
    pass


class Connected(_Server, tag="connected"):
    """The session is open."""

    id: Id
    session: str
    """The session's id, for logs and support."""
    user: str
    """Who the server takes the client for."""
    version: int
    """The version of the wire that the server speaks: 1."""
    time: int
    """The server's clock, Unix milliseconds."""
    ping: float
    """The server sends `ping` at least this often, in seconds."""
    grace: float
    """Silence past `ping + grace` is a dead peer, on both sides."""
    limits: Limits
    """The limits that hold for this connection."""
    expires: int | None = None
    """When the token expires, Unix milliseconds."""
    token: str | None = None
    """For a fresh guest: the token to connect with from now on, so as to stay the same guest."""


class Subscribed(_Server, tag="subscribed"):
    """The session listens now. Catching up, if any, ends at `offset`."""

    channel: Channel
    verdict: Verdict
    """How the subscription starts."""
    epoch: Epoch
    offset: Offset
    """Where catching up ends: events above it are new."""
    id: Id | None = None
    """The `subscribe` that this answers; absent where the server subscribed."""


class Reply(_Server, tag="reply"):
    """The answer to a request that succeeded."""

    id: Id
    data: Raw
    """The answer; each request has its own."""
    positions: dict[str, int] | None = None
    """For each channel the offset that `data` includes."""


class Error(_Server, tag="error"):
    """The answer to a request that was refused; without `id` where none could be read."""

    code: str
    """Why, as a word of the table of error codes or of the app."""
    message: str
    """What is wrong and what cures it, for a developer."""
    retry: bool
    """Whether the same request can succeed later, unchanged."""
    outcome: Outcome
    """Whether nothing happened, or the request may have taken effect."""
    id: Id | None = None
    """The request that this answers."""
    details: Any = None
    """What the code's declaration adds."""
    retry_after: float | None = None
    """How long to wait before trying again, in seconds."""


class Event(_Server, tag="event"):
    """A typed thing that happened on a channel."""

    channel: str
    """The channel, `namespace:name`."""
    name: str
    """What happened, `noun.participle`."""
    data: Raw
    """What the event's declaration says."""
    offset: int | None = None
    """Its place in the channel's log; absent for an ephemeral event."""
    user: str | None = None
    """Who caused it."""
    key: str | None = None
    """The key of the command that caused it, told to the sender's own connections alone."""
    subject: str | None = None
    """What it is about, where only the newest per subject matters."""
    time: int = 0
    """When it was published, Unix milliseconds."""


class Presence(_Server, tag="presence"):
    """Who is present: everybody (`members`, `count`) or a change (`joined`, `left`, `count`)."""

    channel: str
    """The channel, `namespace:name`."""
    revision: int
    """Counts the changes; after a hole the whole list comes."""
    id: Id | None = None
    """The request that this answers; absent for a change."""
    members: list[Member] | None = None
    """Everybody; replaces what was known before."""
    joined: list[Member] | None = None
    """Who came."""
    left: list[str] | None = None
    """The ids of the users who are gone."""
    count: int = 0
    """How many are present after this frame; absent means 0."""


class Gap(_Server, tag="gap"):
    """The events after `from` up to and including `to` did not come; the stream goes on behind."""

    channel: str
    """The channel, `namespace:name`."""
    epoch: Epoch
    """The epoch in which the stream goes on."""
    from_: Offset = field(name="from")
    """The last offset before the gap."""
    to: Offset
    """The last offset of the gap."""
    reason: GapReason
    """Why they did not come."""


class Unsubscribed(_Server, tag="unsubscribed"):
    """The server ended or refused a subscription; `code` is an error code."""

    channel: str
    """The channel, `namespace:name`."""
    code: str
    """Why, as an error code."""
    message: str
    """What is wrong and what cures it, for a developer."""


class Ping(_Server, tag="ping"):
    """A sign of life, to be answered by `pong`."""


class Move(_Server, tag="move"):
    """This gateway drains: open a new connection within `after` seconds, then close this one."""

    after: float
    """In seconds."""


ServerFrame = Connected | Subscribed | Reply | Error | Event | Presence | Gap | Unsubscribed | Ping | Move


# What `reply.data` holds for the requests that are not calls


class UnsubscribeReply(Struct):
    """`reply.data` of `unsubscribe`."""

    channel: str
    """The channel that is no longer listened to."""


class PublishReply(Struct, omit_defaults=True):
    """`reply.data` of `publish`: where the event stands, unless it is ephemeral."""

    epoch: Epoch | None = None
    """The epoch of the channel's log."""
    offset: Offset | None = None
    """The event's offset."""


class HistoryEvent(Struct, omit_defaults=True):
    """One event in a page of `history`."""

    name: str
    """What happened, `noun.participle`."""
    data: Any
    """What the event's declaration says."""
    offset: int
    """Its place in the channel's log."""
    user: str | None = None
    """Who caused it."""
    subject: str | None = None
    """What it is about, where only the newest per subject matters."""
    time: int = 0
    """When it was published, Unix milliseconds."""


class HistoryReply(Struct):
    """`reply.data` of `history`: events in rising offset order."""

    epoch: Epoch
    head: Offset
    """The offset of the newest event in the log."""
    first: Offset
    """The offset of the oldest event that can still be read."""
    events: list[HistoryEvent]
    """The page."""


class RefreshReply(Struct, omit_defaults=True):
    """`reply.data` of `refresh`."""

    expires: int | None = None
    """When the new token expires, Unix milliseconds; absent: never."""
