"""Hub: which channels this gateway listens to, at which position, and what comes next.

It delivers in offset order without holes (design: *the way of an event* 3 to 5): a repeated event is dropped, an early
one waits a moment and then the log is read, and what cannot be filled is told as a gap. Every so often it compares its
positions with the store's heads, so that an event that the broker lost still arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from backchannel_protocol import Refused
from backchannel_protocol.frames import GapReason

from ..app import App
from ..broker.broker import Broker, Envelope, LogHead, PresenceChange
from ..store.store import LogReader
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .channel import Backlog, HubChannel
from .delivery import Delivery, event_delivery, gap_delivery, members_delivery, presence_delivery
from .fanout import Fanout

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Hub"]

# How long an early event waits for those before it, in seconds.
_PATIENCE = 0.05
# Events read from a log at once.
_PAGE = 100
# How long a channel stays listened to after its last listener, in seconds.
_LINGER = 30.0
# How often positions are compared with the store's heads, and how far back that looks, in seconds.
_COMPARE_EVERY = 2.0
_COMPARE_BACK = 60.0
# Fills that bring nothing before what is missing counts as lost.
_FUTILE = 3

_log = get_logger(__name__)


class Hub:
    """Channels and their listeners on this gateway. Use it on the gateway's loop."""

    def __init__(
        self,
        app: App,
        broker: Broker,
        log_reader: LogReader,
        *,
        connections_of: Callable[[str], Iterable[Connection]],
        wall: Callable[[], float],
    ) -> None:
        self._app = app
        self._broker = broker
        self._reader = log_reader
        self._connections_of = connections_of
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self.channels: dict[str, HubChannel] = {}
        self.subscriptions = 0
        """How many there are, over all channels."""
        self._fanout = Fanout(self._loop, connections_of, self._finished)
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        broker.attach(self.receive, self._presence_changed, self._lost)

    def start(self) -> None:
        """Begin to compare positions and to let go of channels that nobody hears."""
        self._keeper = self._loop.create_task(self._keep())

    async def close(self) -> None:
        """Stop everything that runs."""
        tasks = [*self._tasks, *([self._keeper] if self._keeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that belongs to the hub; a failure is logged."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            _log.error("hub task failed", exc_info=exc)

    # Channels

    def open(self, name: str) -> HubChannel:
        """The channel, being listened to from now on; wait for `ready` before its position means anything.

        Raises:
            Refused: `not_found` for an undeclared namespace.
        """
        channel = self.channels.get(name)
        if channel is None:
            declaration = self._app.namespace_of(name)
            if declaration is None:
                raise Refused("not_found", f"There is no namespace {name.partition(':')[0]!r}.")
            channel = self.channels[name] = HubChannel(name, declaration.cls)
            channel.idle_since = self._loop.time()
        if channel.listening is None:
            channel.listening = self._loop.create_future()
            self.spawn(self._begin_listening(channel, channel.listening))
        return channel

    async def ready(self, channel: HubChannel) -> None:
        """Wait until the broker has confirmed and the position is known.

        Raises:
            Refused: `unavailable` if the broker or the log does not answer.
        """
        assert channel.listening is not None
        if channel.listening.done():
            channel.listening.result()
        else:
            await asyncio.shield(channel.listening)

    async def _begin_listening(self, channel: HubChannel, listening: asyncio.Future[None]) -> None:
        try:
            await self._broker.listen(channel.name)
            if channel.logged:
                head = await self.head(channel)
                channel.epoch, channel.offset, channel.first = head.epoch, head.offset, head.first
            listening.set_result(None)
        except Exception as exc:
            channel.listening = None
            refusal = exc if isinstance(exc, Refused) else Refused("unavailable", "The channel cannot be heard now.")
            if not isinstance(exc, Refused):
                _log.error("cannot listen", channel=channel.name, exc_info=exc)
            listening.set_exception(refusal)
            listening.exception()  # nobody may be waiting any more

    async def head(self, channel: HubChannel) -> LogHead:
        """Where the channel's log stands, as the log says."""
        if channel.namespace.kind == "live":
            return await self._broker.head(channel.name)
        return await self._reader.head(channel.name)

    async def read(self, channel: HubChannel, after: int, limit: int = _PAGE) -> tuple[LogHead, list[Envelope]]:
        """A page of the channel's log."""
        if channel.namespace.kind == "live":
            return await self._broker.read(channel.name, after, limit)
        return await self._reader.read(channel.name, after, limit)

    def touch(self, channel: HubChannel) -> None:
        """Note whether anybody still listens."""
        if channel.vacant():
            channel.idle_since = self._loop.time()

    def join(self, channel: HubChannel, connection: Connection) -> None:
        """Take up a listener that has everything up to the hub's position."""
        channel.join(connection)
        channel.idle_since = 0.0
        self.subscriptions += 1
        if channel.namespace.presence and connection.user:
            self.spawn(self._broker.enter(channel.name, connection.user, connection.session.id))

    def leave(self, name: str, connection: Connection) -> None:
        """Let a listener go."""
        channel = self.channels.get(name)
        if channel is None or not channel.has(connection):
            return
        channel.leave(connection)
        self.subscriptions -= 1
        if channel.namespace.presence and connection.user:
            self.spawn(self._broker.leave(name, connection.user, connection.session.id))
        self.touch(channel)

    def pause(self, connection: Connection) -> None:
        """A connection's socket takes no more for now: it leaves the fast sets."""
        for name in connection.session.subscriptions:
            channel = self.channels.get(name)
            if channel is not None and channel.fast(connection).pop(connection, None) is not None:
                if channel.slow is None:
                    channel.slow = {}
                channel.slow[connection] = Backlog()

    def resume(self, connection: Connection) -> None:
        """A connection reads again."""
        for name in connection.session.subscriptions:
            channel = self.channels.get(name)
            if channel is not None:
                self._fanout.catch_up(channel, connection)

    # What the broker brings

    def receive(self, envelopes: Sequence[Envelope]) -> None:
        """Take events from the broker, in the order in which they came."""
        metrics.events += len(envelopes)
        for envelope in envelopes:
            channel = self.channels.get(envelope.channel)
            if channel is None:
                continue
            if not envelope.offset:
                self._deliver(channel, event_delivery(envelope))
            elif envelope.epoch != channel.epoch:
                self._fill_soon(channel)
            elif envelope.offset == channel.offset + 1:
                self._advance(channel, envelope)
            elif envelope.offset > channel.offset:
                self._wait_for_others(channel, envelope)

    def _advance(self, channel: HubChannel, envelope: Envelope) -> None:
        """Deliver the next event, and the early ones that follow it."""
        channel.unsettled = 0
        following: Envelope | None = envelope
        while following is not None:
            delivery = event_delivery(following)
            channel.offset = following.offset
            channel.remember(delivery)
            self._deliver(channel, delivery)
            following = None
            if channel.early is not None:
                following = channel.early.pop(channel.offset + 1, None)
                channel.early = channel.early or None

    def _deliver(self, channel: HubChannel, delivery: Delivery) -> None:
        channel.number += 1
        delivery.number = channel.number
        channel.queue(delivery)
        self._fanout.schedule(channel)

    def _finished(self, channel: HubChannel, deliveries: list[Delivery]) -> None:
        """All listeners have these; end the subscriptions that end with them."""
        for delivery in deliveries:
            if delivery.ends is None:
                continue
            refusal = Refused("forbidden", f"Your right to listen to {channel.name} has ended.")
            everybody = "*" in delivery.ends
            for connection in {*channel.listeners(), *(channel.beginning or ())}:
                if everybody or connection.user in delivery.ends:
                    connection.end_subscription(channel.name, refusal)

    def _wait_for_others(self, channel: HubChannel, envelope: Envelope) -> None:
        if channel.early is None:
            channel.early = {}
            self._loop.call_later(_PATIENCE, self._still_early, channel)
        channel.early[envelope.offset] = envelope

    def _still_early(self, channel: HubChannel) -> None:
        if channel.early is not None:
            self._fill_soon(channel)

    # Reading what the broker did not bring

    def _fill_soon(self, channel: HubChannel) -> None:
        if not channel.filling:
            channel.filling = True
            self.spawn(self._fill(channel))

    async def _fill(self, channel: HubChannel) -> None:
        try:
            while self.channels.get(channel.name) is channel:
                head, envelopes = await self.read(channel, channel.offset)
                if not self.absorb(channel, head, envelopes):
                    break
        finally:
            channel.filling = False
        if channel.early is not None:
            # The log does not have what the early events announce: it is behind, or it is lost.
            channel.unsettled += 1
            if channel.unsettled >= _FUTILE:
                self._give_up(channel)
            else:
                self._loop.call_later(_PATIENCE, self._still_early, channel)

    def absorb(self, channel: HubChannel, head: LogHead, envelopes: list[Envelope]) -> bool:
        """Deliver what was read from the log, as far as it is news; whether there may be more to read."""
        if head.epoch != channel.epoch:
            self._reset(channel, head)
            return head.offset > channel.offset
        channel.first = head.first
        for envelope in envelopes:
            if envelope.offset <= channel.offset:
                continue
            if envelope.offset > channel.offset + 1:
                self._skip(channel, envelope.offset - 1, "trimmed")
            self._advance(channel, envelope)
        if not envelopes and head.offset > channel.offset:
            # Everything that was missed has been trimmed.
            self._skip(channel, head.offset, "trimmed")
        return head.offset > channel.offset

    def _reset(self, channel: HubChannel, head: LogHead) -> None:
        """The log is another one: earlier positions are void, and its events follow from its first."""
        channel.epoch = head.epoch
        channel.early = None
        channel.offset = 0
        channel.first = head.first
        self._skip(channel, max(0, head.first - 1), "reset")

    def _skip(self, channel: HubChannel, to: int, reason: GapReason) -> None:
        metrics.gaps[reason] += 1
        channel.forget()
        self._deliver(channel, gap_delivery(channel.name, channel.epoch, channel.offset, to, reason))
        channel.offset = to
        if channel.early is not None:
            channel.early = {o: e for o, e in channel.early.items() if o > to} or None

    def _give_up(self, channel: HubChannel) -> None:
        assert channel.early is not None
        nearest = min(channel.early)
        _log.warning("events are missing from the log", channel=channel.name, after=channel.offset, before=nearest)
        self._skip(channel, nearest - 1, "trimmed")
        if channel.early is not None and (following := channel.early.pop(nearest, None)) is not None:
            channel.early = channel.early or None
            self._advance(channel, following)

    def _lost(self) -> None:
        """The broker was deaf for a while: every channel is compared with its log."""
        for channel in self.channels.values():
            if channel.logged and channel.listening is not None and channel.listening.done():
                self._fill_soon(channel)

    async def _keep(self) -> None:
        """Compare positions with the store's heads, and let go of channels that nobody hears."""
        while True:
            await asyncio.sleep(_COMPARE_EVERY)
            try:
                heads = await self._reader.changed(int((self._wall() - _COMPARE_BACK) * 1000))
            except Refused as exc:
                _log.warning("cannot compare positions", reason=str(exc))
                continue
            for name, head in heads.items():
                channel = self.channels.get(name)
                if channel is None or channel.listening is None or not channel.listening.done():
                    continue
                if head.epoch != channel.epoch or head.offset > channel.offset:
                    self._fill_soon(channel)
            self._let_go()

    def _let_go(self) -> None:
        before = self._loop.time() - _LINGER
        for name, channel in list(self.channels.items()):
            if channel.idle_since and channel.idle_since < before and channel.vacant():
                del self.channels[name]
                self._broker.unlisten(name)

    # Presence

    def _presence_changed(self, change: PresenceChange) -> None:
        channel = self.channels.get(change.channel)
        if channel is None:
            return
        hole = channel.presence_revision and change.revision != channel.presence_revision + 1
        channel.presence_revision = change.revision
        if hole:
            self.spawn(self._tell_members(channel))
        else:
            self._deliver(channel, presence_delivery(change))

    async def _tell_members(self, channel: HubChannel) -> None:
        state = await self._broker.presence(channel.name)
        channel.presence_revision = state.revision
        self._deliver(channel, members_delivery(channel.name, state))
