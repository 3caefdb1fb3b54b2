"""Effects: what a session asks the gateway to do. The gateway performs them in the order given."""

from __future__ import annotations

from msgspec import Struct

from backchannel_protocol.frames import Position, ServerFrame

from .subscription import Subscription

__all__ = [
    "Authenticate",
    "CancelCall",
    "Close",
    "Effect",
    "PublishEvent",
    "ReadHistory",
    "ReadPresence",
    "Relay",
    "Send",
    "Start",
    "Stop",
    "Subscribe",
    "Tell",
]


class Send(Struct, gc=False):
    """Send this frame to the client, behind all frames sent before."""

    frame: ServerFrame


class Authenticate(Struct, gc=False):
    """Verify this token (None: a guest); answer with `session.authenticated` or `session.refused_token`."""

    id: int
    token: str | None
    refresh: bool


class Start(Struct, gc=False):
    """The session is open: from now on the gateway counts it as its user's connection."""


class Subscribe(Struct, gc=False):
    """Check the right, listen, catch up and join; answer with `session.subscribed` or `session.unsubscribed`.

    If `session.subscriptions[channel]` is no longer this very object when the answer comes, the answer is void.
    """

    subscription: Subscription
    since: Position | None


class Tell(Struct, gc=False):
    """The session listens already: answer at once with `session.subscribed` at the hub's present position."""

    subscription: Subscription


class Stop(Struct, gc=False):
    """The subscription is over: take it off the hub, or abandon its beginning."""

    subscription: Subscription


class Relay(Struct, gc=False):
    """Hand a call to the relay; answer with `session.answered` or `session.failed`."""

    id: int
    name: str
    data: bytes
    key: str | None
    timeout: float


class CancelCall(Struct, gc=False):
    """Nobody waits for this call any more; it is still answered, by `session.answered` or `session.failed`."""

    id: int


class PublishEvent(Struct, gc=False):
    """Publish for the client; answer with `session.answered` or `session.failed` if it has an id."""

    id: int | None
    channel: str
    name: str
    data: bytes
    key: str | None


class ReadHistory(Struct, gc=False):
    """Read a page of a log; answer with `session.answered` or `session.failed`."""

    id: int
    channel: str
    limit: int
    since: Position | None
    before: Position | None


class ReadPresence(Struct, gc=False):
    """Read who is present; answer with `session.present` or `session.failed`."""

    id: int
    channel: str


class Close(Struct, gc=False):
    """Send what is queued, then close with this code."""

    code: int
    reason: str


Effect = (
    Send
    | Authenticate
    | Start
    | Subscribe
    | Tell
    | Stop
    | Relay
    | CancelCall
    | PublishEvent
    | ReadHistory
    | ReadPresence
    | Close
)
