"""HubChannel: one channel that somebody on this gateway listens to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..app import Namespace
from ..broker.broker import Envelope, LogHead
from ..session.subscription import Subscription
from .delivery import Delivery

if TYPE_CHECKING:
    from .connection import Connection

    _Fast = dict[Connection, Callable[[bytes], None]]

__all__ = ["Backlog", "HubChannel", "Start"]

# Frames kept per channel to answer resumes from, in bytes of their data.
_RECENT_BYTES = 64 * 1024


class Backlog:
    """What a slow listener has missed and will be told when it is back."""

    __slots__ = ("after", "epoch", "latest", "to")

    def __init__(self) -> None:
        self.epoch = ""
        self.after = 0
        """The last offset it got before the first one it missed; means nothing, like `epoch`, while it misses none."""
        self.to = 0
        """The last offset it missed; 0 while it misses none."""
        self.latest: dict[str, Delivery] | None = None
        """For the policy `latest`: the newest delivery per subject, in offset order."""

    def miss(self, delivery: Delivery) -> None:
        """Note a delivery that moves the position and is not sent now."""
        if not self.to:
            self.epoch = delivery.epoch
            self.after = delivery.after
        self.to = delivery.offset

    def keep(self, delivery: Delivery) -> None:
        """Keep an event as the newest of its subject. Those without one are told apart by nothing: one is kept."""
        if self.latest is None:
            self.latest = {}
        subject = delivery.subject or ""
        self.latest.pop(subject, None)
        self.latest[subject] = delivery

    def clear(self) -> None:
        """Forget everything: the positions are void."""
        self.to = 0
        self.latest = None


class Start:
    """A subscription that is being started: it is not among the listeners yet."""

    __slots__ = ("connection", "ends")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ends: int | None = None
        """The offset of the event with which it ends, if that came while it caught up."""


class HubChannel:
    """Listeners, position and what waits to be sent.

    All listeners in the fast sets are at the same position, `offset`: everything up to it was written to them, or
    stands in `pending` or `held`, or in a sweep, and will be.
    """

    __slots__ = (
        "deflated",
        "early",
        "epoch",
        "filling",
        "first",
        "futile",
        "held",
        "idle_since",
        "joiners",
        "json",
        "listening",
        "msgpack",
        "name",
        "namespace",
        "number",
        "offset",
        "patient",
        "pending",
        "presence_revision",
        "ready",
        "recent",
        "recent_bytes",
        "scheduled",
        "slow",
        "stale",
        "starting",
        "sweep_writes",
        "telling",
    )

    def __init__(self, name: str, namespace: type[Namespace]) -> None:
        self.name = name
        self.namespace = namespace
        self.ready = False
        """Whether the broker has confirmed and the position is known."""
        self.listening: asyncio.Future[None] | None = None
        """Done when the attempt to get ready that is under way has ended."""
        self.epoch = ""
        self.offset = 0
        self.first = 1
        self.json: _Fast = {}
        """Listeners that keep up and read JSON, with their write functions."""
        self.msgpack: _Fast | None = None
        """Likewise, of those that read MessagePack."""
        self.deflated: tuple[_Fast, _Fast] | None = None
        """Listeners that keep up and agreed to compression: who reads JSON, and who MessagePack."""
        self.slow: dict[Connection, Backlog] | None = None
        """Listeners whose socket does not take more at the moment."""
        self.starting: dict[Subscription, Start] | None = None
        """Subscriptions to this channel that are being started."""
        self.pending: list[Delivery] | None = None
        """What leaves with the next sweep."""
        self.held: list[Delivery] | None = None
        """What came behind an event that ends subscriptions, until those have ended."""
        self.joiners: dict[Connection, int] | None = None
        """Who joined while something was pending, with the number up to which they have everything."""
        self.number = 0
        """The running number of the newest delivery."""
        self.scheduled = False
        """A flush or a sweep of this channel is under way."""
        self.sweep_writes: tuple[list[Callable[[bytes], None]], ...] | None = None
        self.early: dict[int, Envelope] | None = None
        """Events that came before those that precede them."""
        self.patient = False
        """A timer runs until early events have waited long enough."""
        self.filling = False
        """The log is being read."""
        self.stale = False
        """Something came that only the log can place, maybe after the read under way has begun."""
        self.futile = 0
        """Fills in a row that did not bring what early events wait for."""
        self.recent: deque[Delivery] | None = None
        """The newest events, contiguous up to `offset`."""
        self.recent_bytes = 0
        self.presence_revision = 0
        """The newest that is known; 0 before the first change."""
        self.telling = False
        """The whole list of who is present is being read."""
        self.idle_since = 0.0
        """Since when nobody listens; means nothing while somebody does."""

    @property
    def logged(self) -> bool:
        """Whether its events have offsets."""
        return self.namespace.kind != "ephemeral"

    def head(self) -> LogHead:
        """The log as far as this hub knows it."""
        return LogHead(self.epoch, self.offset, self.first)

    def fast(self, connection: Connection) -> _Fast:
        """The fast set of this connection's encoding."""
        binary = connection.session.codec.binary
        if connection.compress_from:
            if self.deflated is None:
                self.deflated = ({}, {})
            return self.deflated[binary]
        if not binary:
            return self.json
        if self.msgpack is None:
            self.msgpack = {}
        return self.msgpack

    def has(self, connection: Connection) -> bool:
        """Whether this connection listens."""
        return connection in self.fast(connection) or (self.slow is not None and connection in self.slow)

    def listeners(self) -> list[Connection]:
        """Everybody who listens."""
        json, msgpack = self.deflated or ((), ())
        return [*self.json, *(self.msgpack or ()), *json, *msgpack, *(self.slow or ())]

    def vacant(self) -> bool:
        """Whether nobody listens or is about to."""
        return not (self.json or self.msgpack or self.slow or self.starting or (self.deflated and any(self.deflated)))

    def queue(self, delivery: Delivery) -> None:
        """Put a delivery behind those that wait; behind one that ends subscriptions it is held until they end."""
        if self.held is not None:
            self.held.append(delivery)
            return
        if self.pending is None:
            self.pending = []
        self.pending.append(delivery)
        if delivery.ends is not None:
            self.held = []

    def release(self) -> None:
        """Queue what was held: what ended has ended."""
        held, self.held = self.held, None
        for delivery in held or ():
            self.queue(delivery)

    def join(self, connection: Connection) -> None:
        """Take up a listener that has everything up to `offset`."""
        if connection.slow:
            if self.slow is None:
                self.slow = {}
            self.slow[connection] = Backlog()
        else:
            self.fast(connection)[connection] = connection.write
        if self.pending or self.held:
            if self.joiners is None:
                self.joiners = {}
            self.joiners[connection] = self.number

    def leave(self, connection: Connection) -> None:
        """Let a listener go; a sweep under way passes it over."""
        self.fast(connection).pop(connection, None)
        if self.slow is not None:
            self.slow.pop(connection, None)
            self.slow = self.slow or None
        if self.joiners is not None:
            self.joiners.pop(connection, None)
            self.joiners = self.joiners or None
        if self.sweep_writes is not None and not connection.gone:
            for writes in self.sweep_writes:
                if connection.write in writes:
                    writes[writes.index(connection.write)] = _nowhere

    def begin_start(self, subscription: Subscription, connection: Connection) -> Start:
        """Note that a subscription is being started."""
        if self.starting is None:
            self.starting = {}
        start = self.starting[subscription] = Start(connection)
        return start

    def end_start(self, subscription: Subscription) -> None:
        """The start is over, one way or the other."""
        if self.starting is not None:
            self.starting.pop(subscription, None)
            self.starting = self.starting or None

    def remember(self, delivery: Delivery) -> None:
        """Keep an event to answer resumes from."""
        recent = self.recent
        if recent is None:
            recent = self.recent = deque()
        recent.append(delivery)
        self.recent_bytes += delivery.size
        while self.recent_bytes > _RECENT_BYTES and len(recent) > 1:
            self.recent_bytes -= recent.popleft().size

    def forget(self) -> None:
        """Drop the remembered events: they are not contiguous with what comes."""
        self.recent = None
        self.recent_bytes = 0

    def oldest(self) -> int:
        """The offset of the oldest event in memory; one past the position where there is none."""
        return self.recent[0].offset if self.recent else self.offset + 1

    def since(self, after: int) -> list[Delivery] | None:
        """The remembered events after an offset up to the hub's position; None if they are not all here."""
        if after >= self.offset:
            return []
        if self.recent is None or self.oldest() > after + 1:
            return None
        return [delivery for delivery in self.recent if delivery.offset > after]


def _nowhere(data: bytes) -> None:
    """Where the writes of a listener go that left in the middle of a sweep."""
