"""Hub: which channels this gateway listens to, at which position, and what comes next.

It delivers in offset order without holes (design: *the way of an event* 3 to 5): a repeated event is dropped, an early
one waits a moment and then the log is read, and what cannot be filled is told as a gap. Every so often it compares its
positions with the store's heads, so that an event that the broker lost still arrives.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backchannel_protocol import Refused
from backchannel_protocol.frames import GapReason

from ..app import App, UserDisconnected, hooked
from ..broker.broker import Broker, Envelope, LogHead
from ..session.subscription import Subscription, SubscriptionState
from ..store.store import LogReader
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .channel import Backlog, HubChannel
from .delivery import Delivery, event_delivery, gap_delivery
from .fanout import Fanout
from .opening import Opening
from .presence import PresenceTelling

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["FUTILE", "PATIENCE", "Hub", "ended"]

# How long an early event waits for those before it, in seconds.
PATIENCE = 0.05
# Events read from a log at once.
_PAGE = 100
# How long a channel stays listened to after its last listener, in seconds.
_LINGER = 30.0
# How often positions are compared with the store's heads, and how far back that looks, in seconds.
_COMPARE_EVERY = 2.0
_COMPARE_BACK = 60.0
# How long such a comparison may take, and for how long none may succeed until a gateway is unready, and until it ends
# what it cannot vouch for any more: a right that ended meanwhile would have been heard in the log.
_COMPARE_TIMEOUT = 3.0
_UNREADY_AFTER = 5.0
_BLIND_AFTER = 30.0
# Fills that do not bring what is missing before it counts as lost.
FUTILE = 3
# How soon a log that could not be read is read again.
_RETRY = 1.0
# When whoever cannot listen now may try again, in seconds.
_TRY_AGAIN_AFTER = 1.0
# Events of a log that began anew that are still brought; of a longer one the client loads a snapshot anyway.
_REPLAY = 100

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
        disconnected: Callable[[], None],
    ) -> None:
        """`disconnected` is called when a user's channel tells that connections are to be closed."""
        self._app = app
        self._broker = broker
        self._reader = log_reader
        self._connections_of = connections_of
        self._wall = wall
        self._disconnected = disconnected
        self._loop = asyncio.get_running_loop()
        self.channels: dict[str, HubChannel] = {}
        self.subscriptions = 0
        """How many there are, over all channels."""
        self._fanout = Fanout(self._loop, connections_of, self._finished)
        self._opening = Opening(broker, log_reader, self._loop, head=self.head, stale=self._fill_soon, spawn=self.spawn)
        self._presence = PresenceTelling(broker, self.channels, deliver=self._deliver, spawn=self.spawn)
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self._confirmed = math.inf
        """When positions were last compared with the store, on the loop's clock."""
        broker.attach(self.receive, self._presence.changed, self._lost)

    def start(self) -> None:
        """Begin to compare positions and to let go of channels that nobody hears."""
        self._confirmed = self._loop.time()
        self._keeper = self._loop.create_task(self._keep())

    async def close(self) -> None:
        """Stop everything that runs, and read no log any more."""
        self._closed = True
        tasks = [*self._tasks, *([self._keeper] if self._keeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def unconfirmed(self) -> bool:
        """Whether this gateway may be deaf to durable events: the store has not told where logs stand for a while."""
        return self._loop.time() - self._confirmed > _UNREADY_AFTER

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that belongs to the hub, unless that is closed; a failure is logged."""
        if self._closed:
            coroutine.close()
            return
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            _log.error("hub task failed", exc_info=exc)

    # Channels

    def open(self, name: str) -> HubChannel:
        """The channel, being listened to from now on; `settle` before its position means anything.

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
        if not channel.ready and channel.listening is None and not self._closed:
            self._opening.begin(channel)
        return channel

    async def settle(self, channels: Iterable[HubChannel], timeout: float) -> None:
        """Wait until these channels are ready or cannot be; `check` tells which."""
        waiting = {channel.listening for channel in channels if channel.listening is not None}
        if waiting:
            await asyncio.wait(waiting, timeout=timeout)

    def check(self, channel: HubChannel) -> None:
        """Raise `Refused` with `unavailable` if the broker or the log of a channel does not answer.

        A durable channel that was ready before the broker went deaf still is: what it misses comes from its log.
        """
        durable = channel.namespace.kind == "durable"
        if not channel.ready or (self._blind() if durable else not self._broker.hears()):
            raise Refused(
                "unavailable",
                f"{channel.name} cannot be heard now; try again.",
                outcome="none",
                retry_after=_TRY_AGAIN_AFTER,
            )

    async def head(self, channel: HubChannel) -> LogHead:
        """Where the channel's log stands, as the log says."""
        if channel.namespace.kind == "live":
            return await self._broker.head(channel.name)
        return await self._reader.head(channel.name)

    async def read(self, channel: HubChannel, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """A page of the channel's log."""
        if channel.namespace.kind == "live":
            return await self._broker.read(channel.name, after, limit)
        return await self._reader.read(channel.name, after, limit)

    def end_start(self, channel: HubChannel, subscription: Subscription) -> None:
        """The start is over, one way or the other."""
        channel.end_start(subscription)
        self._touch(channel)

    def _touch(self, channel: HubChannel) -> None:
        if channel.vacant():
            channel.idle_since = self._loop.time()

    def join(self, channel: HubChannel, connection: Connection, *, seen: bool = True) -> None:
        """Take up a listener that has everything up to the hub's position; it is present for others if it is `seen`."""
        channel.join(connection)
        self.subscriptions += 1
        if seen and connection.user and (channel.namespace.presence or hooked(channel.namespace)):
            self.spawn(self._broker.enter(channel.name, connection.user, connection.session.id))

    def see(self, name: str, connection: Connection, *, seen: bool) -> None:
        """A listener is present for others from now on, or not any more."""
        channel = self.channels.get(name)
        if channel is not None and channel.has(connection) and connection.user:
            tell = self._broker.enter if seen else self._broker.leave
            self.spawn(tell(name, connection.user, connection.session.id))

    def leave(self, name: str, connection: Connection) -> None:
        """Let a listener go."""
        channel = self.channels.get(name)
        if channel is None or not channel.has(connection):
            return
        channel.leave(connection)
        self.subscriptions -= 1
        if connection.user and (channel.namespace.presence or hooked(channel.namespace)):
            self.spawn(self._broker.leave(name, connection.user, connection.session.id))
        self._touch(channel)

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
            if connection.slow:
                return  # what it was told just now was too much already
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
                channel.stale = True
                self._fill_soon(channel)
            elif envelope.offset == channel.offset + 1:
                self._advance(channel, envelope)
                if channel.early is not None:
                    self._follow(channel)
            elif envelope.offset > channel.offset:
                self._wait_for_others(channel, envelope)

    def _advance(self, channel: HubChannel, envelope: Envelope) -> None:
        """Deliver the next event."""
        channel.futile = 0
        delivery = event_delivery(envelope)
        channel.offset = envelope.offset
        if envelope.name == UserDisconnected.wire_name:
            self._disconnected()
        channel.remember(delivery)
        self._deliver(channel, delivery)

    def _follow(self, channel: HubChannel) -> None:
        """Deliver the early events that are next now."""
        early = channel.early
        if early is None:
            return
        while (following := early.pop(channel.offset + 1, None)) is not None:
            self._advance(channel, following)
        channel.early = {offset: event for offset, event in early.items() if offset > channel.offset} or None

    def _deliver(self, channel: HubChannel, delivery: Delivery) -> None:
        channel.number += 1
        delivery.number = channel.number
        if not channel.vacant():
            channel.queue(delivery)
            self._fanout.schedule(channel)

    def _finished(self, channel: HubChannel, deliveries: list[Delivery]) -> None:
        """All listeners have these; end the subscriptions that end with them."""
        for delivery in deliveries:
            if delivery.ends is not None:
                self._end(channel, delivery.ends, delivery.offset)

    def _end(self, channel: HubChannel, users: list[str], offset: int) -> None:
        everybody = "*" in users
        refusal = ended(channel.name)
        for connection in channel.listeners():
            if everybody or connection.user in users:
                # UNSUB-11: what a slow listener missed up to here is told before.
                self._fanout.catch_up(channel, connection)
                connection.end_subscription(channel.name, refusal)
        for subscription, start in list((channel.starting or {}).items()):
            if not everybody and start.connection.user not in users:
                continue
            if subscription.state is SubscriptionState.ACTIVE:
                start.ends = offset if start.ends is None else start.ends
            elif start.connection.is_current(subscription):
                start.connection.end_subscription(channel.name, refusal)

    def _wait_for_others(self, channel: HubChannel, envelope: Envelope) -> None:
        if channel.early is None:
            channel.early = {}
        channel.early[envelope.offset] = envelope
        self._have_patience(channel)

    def _have_patience(self, channel: HubChannel) -> None:
        if not channel.patient:
            channel.patient = True
            self._loop.call_later(PATIENCE, self._still_early, channel)

    def _still_early(self, channel: HubChannel) -> None:
        channel.patient = False
        if channel.early is not None:
            self._fill_soon(channel)

    # Reading what the broker did not bring

    def _fill_soon(self, channel: HubChannel) -> None:
        if channel.ready and not channel.filling and not self._closed and self.channels.get(channel.name) is channel:
            channel.filling = True
            self.spawn(self._fill(channel))

    async def _fill(self, channel: HubChannel) -> None:
        try:
            behind = True
            while behind and self.channels.get(channel.name) is channel:
                channel.stale = False
                head, _ = await self.pull(channel, channel.offset)
                behind = channel.stale or head.epoch != channel.epoch or head.offset > channel.offset
        except Exception as exc:
            _log.warning("cannot read a log", channel=channel.name, reason=str(exc))
            self._loop.call_later(_RETRY, self._fill_soon, channel)
            return
        finally:
            channel.filling = False
        if channel.early is not None:
            # The log does not have what the early events announce: it is behind, or it is lost.
            channel.futile += 1
            if channel.futile >= FUTILE:
                self._give_up(channel)
            if channel.early is not None:
                self._have_patience(channel)

    async def pull(self, channel: HubChannel, after: int, limit: int = _PAGE) -> tuple[LogHead, list[Envelope]]:
        """A page of the channel's log after an offset that the hub has reached; what is news is delivered."""
        epoch = channel.epoch
        head, envelopes = await self.read(channel, after, limit)
        # What was asked for before another read told a new epoch may be of the old one, and says nothing.
        if channel.epoch == epoch:
            self._absorb(channel, head, envelopes)
        return head, envelopes

    async def reach(self, channel: HubChannel, offset: int) -> None:
        """Bring the hub to an offset that its log is known to have.

        Raises:
            Refused: `unavailable`: the log does not have it.
        """
        epoch = channel.epoch
        await self.approach(channel, offset)
        if channel.offset < offset and channel.epoch == epoch:
            raise Refused("unavailable", f"The log of {channel.name} is behind; try again.", outcome="none")

    async def approach(self, channel: HubChannel, offset: int) -> None:
        """Bring the hub as close to an offset as its log goes."""
        epoch = channel.epoch
        before = -1
        while before < channel.offset < offset and channel.epoch == epoch:
            before = channel.offset
            await self.pull(channel, before)

    def _absorb(self, channel: HubChannel, head: LogHead, envelopes: list[Envelope]) -> None:
        """Deliver what was read from the log, as far as it is news."""
        if head.epoch != channel.epoch:
            self._reset(channel, head)
            return
        channel.first = max(channel.first, head.first)
        for envelope in envelopes:
            if envelope.offset <= channel.offset:
                continue
            if envelope.offset > channel.offset + 1:
                self._skip(channel, envelope.offset - 1, "trimmed")
            self._advance(channel, envelope)
        if not envelopes and head.offset > channel.offset:
            # Everything that was missed has been trimmed.
            self._skip(channel, head.offset, "trimmed")
        self._follow(channel)

    def _reset(self, channel: HubChannel, head: LogHead) -> None:
        """The log is another one: earlier positions are void, and its events follow from its first."""
        channel.epoch = head.epoch
        channel.early = None
        channel.offset = 0
        channel.first = head.first
        before = head.first - 1
        self._skip(channel, before if head.offset - before <= _REPLAY else head.offset, "reset")
        if head.offset > channel.offset:
            self._fill_soon(channel)

    def _skip(self, channel: HubChannel, to: int, reason: GapReason) -> None:
        metrics.gaps[reason] += 1
        channel.forget()
        self._deliver(channel, gap_delivery(channel.name, channel.epoch, channel.offset, to, reason))
        channel.offset = to

    def _give_up(self, channel: HubChannel) -> None:
        assert channel.early is not None
        nearest = min(channel.early)
        _log.warning("events are missing from the log", channel=channel.name, after=channel.offset, before=nearest)
        channel.futile = 0
        self._skip(channel, nearest - 1, "trimmed")
        self._follow(channel)

    def _lost(self) -> None:
        """The broker was deaf for a while: every channel is compared with its log, and who is present is told anew."""
        for channel in self.channels.values():
            if channel.logged:
                channel.stale = True
                self._fill_soon(channel)
            if channel.namespace.presence:
                self._presence.tell_soon(channel)

    # Keeping

    async def _keep(self) -> None:
        """Compare positions with the store's heads, and let go of channels that nobody hears."""
        compared = self._wall()
        while True:
            await asyncio.sleep(_COMPARE_EVERY)
            self._let_go()
            now = self._wall()
            try:
                async with asyncio.timeout(_COMPARE_TIMEOUT):
                    heads = await self._reader.changed(int((min(now, compared) - _COMPARE_BACK) * 1000))
            except Exception as exc:
                _log.warning("cannot compare positions", reason=str(exc) or type(exc).__name__)
                if self._blind():
                    self._end_durable()
                continue
            compared = now
            self._confirmed = self._loop.time()
            self._compare(heads)

    def _compare(self, heads: Mapping[str, LogHead]) -> None:
        """Read the logs that have gone on without this hub."""
        for name, head in heads.items():
            channel = self.channels.get(name)
            if channel is not None and (head.epoch != channel.epoch or head.offset > channel.offset):
                self._fill_soon(channel)

    def _blind(self) -> bool:
        return self._loop.time() - self._confirmed > _BLIND_AFTER

    def _end_durable(self) -> None:
        """Fail closed: nobody listens to what may have been taken away from them."""
        refusal = Refused("unavailable", "The store cannot be reached; subscribe again from your position.")
        for channel in self.channels.values():
            if channel.namespace.kind == "durable":
                for connection in channel.listeners():
                    connection.end_subscription(channel.name, refusal)

    def _let_go(self) -> None:
        before = self._loop.time() - _LINGER
        for name, channel in list(self.channels.items()):
            if channel.vacant() and channel.idle_since < before and channel.listening is None:
                del self.channels[name]
                self._broker.unlisten(name)


def ended(channel: str) -> Refused:
    """Why a subscription is over whose right was taken away."""
    return Refused("forbidden", f"Your right to listen to {channel} has ended.")
