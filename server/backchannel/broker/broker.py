"""The broker: events from whoever publishes to every gateway that has a listener; live logs; presence.

What every implementation guarantees, and no more:

- After `listen` has returned, every event that is published on that channel is received, in the order published,
  unless the connection to the bus is lost, which is told through `on_lost`. Events may arrive twice, early or late:
  the hub orders them by epoch and offset.
- `append` gives the event the next dense offset of its live log and publishes it, as one step. An append that is
  repeated with the same `publication` id gets the same offset and is not published twice.
- A live epoch changes whenever earlier offsets are no longer to be trusted.
- Presence: `enter` and `leave` publish a change exactly when a user's first connection comes or its last one is gone
  for longer than the grace; each change carries a higher revision, the next one unless something was missed. What was
  entered counts until it is left or this process ends, also where shared state is lost in between.
- Notes, where they are wanted: each such change is told by one process at a time, in the order of the changes of one
  user, and again until it was told, also where the process that had it ends; a change that is over before it was told
  may be left out. What is lost with shared state is not told: who enters again is noted once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from backchannel_protocol.frames import Member

from .notes import Tell

__all__ = ["Broker", "Envelope", "LogBounds", "LogHead", "PresenceChange", "PresenceState", "Settled", "ends_for"]

T = TypeVar("T")


class Envelope(Struct, array_like=True, kw_only=True, omit_defaults=True):
    """One event on its way from whoever published it to the hubs, and as logs hold it."""

    channel: str
    name: str
    data: bytes
    """Canonical JSON."""
    epoch: str = ""
    """Empty for an ephemeral event."""
    offset: int = 0
    """0 for an ephemeral event; logs begin at 1."""
    user: str | None = None
    key: str | None = None
    subject: str | None = None
    time: int = 0
    ends: list[str] | None = None
    """Users whose subscriptions to this channel end with this event; `["*"]` means all."""


def ends_for(envelope: Envelope, user: str) -> bool:
    """Whether this event takes away the user's right to listen."""
    return envelope.ends is not None and ("*" in envelope.ends or user in envelope.ends)


class LogHead(Struct, frozen=True):
    """Where a channel's log stands."""

    epoch: str
    offset: int
    """The newest event's offset; 0 if there never was one."""
    first: int
    """The oldest offset that can still be read; `offset + 1` if none can."""


class LogBounds(Struct, frozen=True):
    """How much of a log is kept."""

    size: int
    """Events per channel."""
    age: float
    """Seconds."""


class PresenceChange(Struct, array_like=True):
    """Who came to or left a channel. With nobody in either list it says that the whole list is to be read anew."""

    channel: str
    revision: int
    count: int
    joined: list[Member] = []
    left: list[str] = []


class PresenceState(Struct):
    """Everybody who is present on a channel."""

    revision: int
    members: list[Member]
    settling: float = 0.0
    """Seconds for which some may be missing, since shared state was lost and is being filled again; 0: it is whole."""


class Settled(Generic[T]):
    """What is known already, for whoever awaits it."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __await__(self) -> Generator[None, None, T]:
        """Return the value at once."""
        yield from ()
        return self.value


class Broker(Protocol):
    """Use it on the gateway's loop, except where a method says that any thread may call it."""

    def attach(
        self,
        receive: Callable[[Sequence[Envelope]], None],
        changed: Callable[[PresenceChange], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Set what is called, on the gateway's loop, with what arrives.

        `on_lost` is called when events arrive again after a time in which some may not have.
        """

    def note(self, wanted: Callable[[str], bool], tell: Tell) -> None:
        """Have it noted who comes and who is gone, on channels that are wanted; before `start`, where there is one.

        Every process of an installation wants the same channels. `tell` is called on the gateway's loop.
        """

    def hears(self) -> bool:
        """Whether what is published arrives here now."""

    def listen(self, channel: str) -> Awaitable[None]:
        """Return once events of this channel are being received. Cancelling gives up.

        Where they are at once it is a `Settled`.

        Raises:
            Refused: when awaited: `unavailable`: they cannot be received now; nothing is left of the attempt.
        """

    def unlisten(self, channel: str) -> None:
        """Stop receiving a channel's events."""

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Send durable events that have their offsets, and ephemeral ones. Any thread; never blocks."""

    def append(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> Awaitable[LogHead]:
        """Append an event to its live log, publish it, and tell where the log stands then. Any thread's loop.

        It begins with the call: events of one thread are appended in the order of the calls, and whoever has several
        calls for all before waiting for the first. Where the answer is there at once it is a `Settled`. The envelope is
        the broker's from then on.

        Raises:
            Refused: when awaited: `unavailable`; with the outcome `unknown` it may have been appended, and repeating it
                with the same publication is safe.
        """

    async def head(self, channel: str) -> LogHead:
        """Where a live channel's log stands. Raises `Refused` (`unavailable`)."""

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events of a live log after an offset, in order, at most `limit`. Raises `Refused` (`unavailable`)."""

    async def enter(self, channel: str, user: str, connection: str) -> None:
        """A connection of this user listens to the channel. What cannot be told now is told later. Raises nothing."""

    async def leave(self, channel: str, user: str, connection: str) -> None:
        """That connection listens no more; the user is gone after the grace, unless it is back. Raises nothing."""

    async def presence(self, channel: str) -> PresenceState:
        """Who is there now. Any thread's loop. Raises `Refused` (`unavailable`)."""

    async def close(self) -> None:
        """Let go of everything."""
