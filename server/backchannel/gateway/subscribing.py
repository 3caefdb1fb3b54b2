"""Subscribing: from a wish to listen to a place in the hub, without a race.

Listen, read the log from the client's position *through the hub*, join in the same tick at the hub's position (design:
*the way of an event* 5). A subscription is registered before its right is checked, and an event that takes the right
away voids the answer (6): every step asks whether the session still wants this very subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from backchannel_protocol import Refused
from backchannel_protocol.frames import Position, Verdict

from ..relay.relay import Grant, MayReply
from ..session import effects as e
from ..session.position import begin
from ..session.subscription import Subscription, SubscriptionState
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .channel import HubChannel, Start
from .delivery import Delivery, event_delivery, gap_delivery, joined
from .hub import FUTILE, PATIENCE, ended
from .rights import LEASE, Rights, is_own, refusal_of

if TYPE_CHECKING:
    from .connection import Connection
    from .gateway import Gateway

__all__ = ["Subscribing"]

_log = get_logger(__name__)

# Missed events, and bytes of their data, written between two looks at the socket.
_CHUNK = 100
_CHUNK_BYTES = 64 * 1024
# A grant that cannot be renewed is kept this long beyond its lease before it fails closed, in seconds.
_LENIENCE = 30.0


class _Begun(NamedTuple):
    """A wish that is being fulfilled."""

    wish: e.Subscribe
    channel: HubChannel
    start: Start


class Subscribing:
    """Starts and renews the subscriptions of connections."""

    def __init__(self, gateway: Gateway, rights: Rights) -> None:
        self._gateway = gateway
        self._rights = rights
        self._renewing: set[Connection] = set()
        # Those to users' own channels that are not ready yet, by what those wait for.
        self._own: dict[asyncio.Future[None], list[tuple[Connection, _Begun]]] = {}

    def begin(self, connection: Connection, wanted: list[e.Subscribe]) -> None:
        """Start these subscriptions: at once where nothing has to be waited for, the others in a task.

        Every connection listens to its user's own channel, whose right no worker need be asked for. It waits for that
        to be ready without a task, which would cost 10 µs more.
        """
        principal = connection.session.principal
        assert principal is not None
        waiting = []
        for wish in wanted:
            if not is_own(principal, wish.subscription.channel):
                waiting.append(wish)
            elif not self._begin_at_once(connection, wish):
                self._begin_soon(connection, wish)
        if waiting:
            self._gateway.hub.spawn(self._begin(connection, waiting))

    def _begin_at_once(self, connection: Connection, wish: e.Subscribe) -> bool:
        """Start a subscription that is allowed, if its channel is ready and nothing is to be caught up."""
        hub = self._gateway.hub
        subscription, since = wish.subscription, wish.since
        channel = hub.channels.get(subscription.channel)
        if channel is None or not channel.ready:
            return False
        if since is not None and channel.logged and (since.epoch != channel.epoch or since.offset != channel.offset):
            return False
        try:
            hub.check(channel)
        except Refused as exc:
            self._refuse(connection, subscription, exc)
            return True
        subscription.leased = self._gateway.now() + LEASE
        verdict: Verdict = "new" if since is None or not channel.logged else "recovered"
        connection.perform(connection.session.subscribed(subscription, verdict, channel.epoch, channel.offset))
        if connection.is_current(subscription):
            hub.join(channel, connection)
        return True

    def _begin_soon(self, connection: Connection, wish: e.Subscribe) -> None:
        """Start a subscription to the user's own channel once that is ready."""
        hub = self._gateway.hub
        try:
            channel = hub.open(wish.subscription.channel)
        except Refused as exc:
            self._refuse(connection, wish.subscription, exc)
            return
        listening = channel.listening
        if listening is None:
            # There is something to catch up.
            hub.spawn(self._begin(connection, [wish]))
            return
        waiting = self._own.get(listening)
        if waiting is None:
            waiting = self._own[listening] = []
            listening.add_done_callback(self._begin_own)
        waiting.append((connection, _Begun(wish, channel, channel.begin_start(wish.subscription, connection))))

    def _begin_own(self, listening: asyncio.Future[None]) -> None:
        hub = self._gateway.hub
        for connection, one in self._own.pop(listening):
            hub.end_start(one.channel, one.wish.subscription)
            try:
                self._begin_settled(connection, one)
            except Exception as exc:
                self._fail(connection, [one], exc)

    def _begin_settled(self, connection: Connection, one: _Begun) -> None:
        """Start a subscription to an own channel that is ready, or cannot be."""
        hub = self._gateway.hub
        if not connection.is_current(one.wish.subscription):
            return
        try:
            hub.check(one.channel)
        except Refused as exc:
            self._refuse(connection, one.wish.subscription, exc)
            return
        if self._begin_at_once(connection, one.wish):
            connection.flush()
        else:
            # There is something to catch up.
            hub.spawn(self._begin(connection, [one.wish]))

    def _fail(self, connection: Connection, begun: list[_Begun], exc: Exception) -> None:
        """A defect costs the subscriptions that it met, and no others."""
        _log.error("cannot subscribe", exc_info=exc)
        failed = Refused("internal", "The subscription could not be started.")
        for wish, _, _ in begun:
            if wish.subscription.state is SubscriptionState.PENDING:
                self._refuse(connection, wish.subscription, failed)

    async def _begin(self, connection: Connection, wanted: list[e.Subscribe]) -> None:
        """Start these subscriptions. One that is refused does not hold up the others (P4)."""
        begun: list[_Begun] = []
        try:
            for wish in wanted:
                try:
                    channel = self._gateway.hub.open(wish.subscription.channel)
                except Refused as exc:
                    self._refuse(connection, wish.subscription, exc)
                else:
                    begun.append(_Begun(wish, channel, channel.begin_start(wish.subscription, connection)))
            await self._check_and_start(connection, begun)
        except Exception as exc:
            self._fail(connection, begun, exc)
        finally:
            for wish, channel, _ in begun:
                self._gateway.hub.end_start(channel, wish.subscription)

    async def _check_and_start(self, connection: Connection, begun: list[_Begun]) -> None:
        hub = self._gateway.hub
        await hub.settle([channel for _, channel, _ in begun], self._gateway.limits.call)
        ready = []
        for one in begun:
            try:
                hub.check(one.channel)
            except Refused as exc:
                self._refuse(connection, one.wish.subscription, exc)
            else:
                if connection.is_current(one.wish.subscription):
                    ready.append(one)
        try:
            answer = await self._may_listen(connection, [channel.name for _, channel, _ in ready])
        except Refused as exc:
            for wish, _, _ in ready:
                self._refuse(connection, wish.subscription, exc)
            return
        for wish, channel, start in ready:
            subscription = wish.subscription
            grant = answer.listen.get(channel.name, Grant(False))
            if not grant.allowed:
                self._refuse(connection, subscription, refusal_of(channel.name, grant))
                continue
            subscription.after, subscription.unseen = grant.after, grant.unseen
            subscription.leased = self._gateway.now() + LEASE
            try:
                await self._start(connection, subscription, channel, start, wish.since)
            except Refused as exc:
                self._refuse(connection, subscription, exc)
            except Exception as exc:
                _log.error("cannot subscribe", channel=channel.name, exc_info=exc)
                self._refuse(connection, subscription, Refused("internal", "The subscription could not be started."))

    async def _may_listen(self, connection: Connection, channels: list[str]) -> MayReply:
        """The grants of whoever the connection's principal is when the answer is there: a refresh may come between."""
        while True:
            principal = connection.session.principal
            assert principal is not None
            answer = await self._rights.may(principal, listen=channels, connection=connection.session.id)
            if connection.session.principal is principal:
                return answer

    def _refuse(self, connection: Connection, subscription: Subscription, refusal: Refused) -> None:
        connection.do(connection.session.unsubscribed(subscription, refusal))

    async def _start(
        self,
        connection: Connection,
        subscription: Subscription,
        channel: HubChannel,
        start: Start,
        since: Position | None,
    ) -> None:
        hub = self._gateway.hub
        if not channel.logged:
            since, subscription.after = None, 0
        if subscription.after > channel.offset:
            # The worker knows of events that have not come here yet, and that are not for this user.
            await hub.reach(channel, subscription.after)
        if since is not None and since.epoch == channel.epoch and since.offset > channel.offset:
            # Another gateway brought the client further than the broker has brought this one.
            await hub.approach(channel, since.offset)
        if since is not None and since.epoch == channel.epoch and channel.since(since.offset) is None:
            # The frames in memory do not reach back: the log knows what is still there.
            await hub.pull(channel, channel.offset, 1)
        if not connection.is_current(subscription):
            return
        recovery = channel.namespace.recovery
        beginning = begin(
            since,
            channel.head(),
            self._gateway.limits.recovery if recovery is None else recovery,
            subscription.after,
        )
        if beginning.verdict == "gap" and since is not None:
            metrics.gaps["trimmed" if since.epoch == channel.epoch else "reset"] += 1
        epoch = channel.epoch
        connection.do(connection.session.subscribed(subscription, beginning.verdict, epoch, channel.offset))
        await self._catch_up(connection, subscription, channel, start, epoch, beginning.after)

    async def _catch_up(
        self,
        connection: Connection,
        subscription: Subscription,
        channel: HubChannel,
        start: Start,
        epoch: str,
        at: int,
    ) -> None:
        """Send what was missed after an offset, at the pace of the socket, and join in the tick in which it is all."""
        futile = 0
        while connection.is_current(subscription):
            if channel.epoch != epoch:
                # The log was replaced while this one caught up: what it has is void.
                epoch, at = channel.epoch, channel.offset
                connection.write(gap_delivery(channel.name, epoch, 0, at, "reset").bytes_for(connection))
                start.ends = None if start.ends is None else 0
            if start.ends is not None and at >= start.ends:
                connection.end_subscription(channel.name, ended(channel.name))
                return
            if at >= channel.offset:
                self._gateway.hub.join(channel, connection, seen=not subscription.unseen)
                return
            missed = channel.since(at)
            if missed is None:
                missed = await self._read(channel, epoch, at)
                if missed is None:
                    continue
                if not missed:
                    futile += 1
                    if futile < FUTILE:
                        await asyncio.sleep(PATIENCE)
                        continue
                    metrics.gaps["trimmed"] += 1
                    missed = [gap_delivery(channel.name, epoch, at, channel.oldest() - 1, "trimmed")]
            futile = 0
            for chunk in _chunks(missed):
                await self._drained(connection)
                if not connection.is_current(subscription):
                    return
                if start.ends is not None:
                    chunk = [delivery for delivery in chunk if delivery.after < start.ends]
                    if not chunk:
                        break
                connection.write(joined(chunk, connection))
                metrics.deliveries += len(chunk)
                at = chunk[-1].offset

    async def _read(self, channel: HubChannel, epoch: str, at: int) -> list[Delivery] | None:
        """What the log has after an offset; empty where it is behind what the broker brought; None: look again."""
        head, envelopes = await self._gateway.hub.pull(channel, at, _CHUNK)
        if channel.epoch != epoch:
            return None
        first = envelopes[0].offset - 1 if envelopes else head.offset
        missed = [event_delivery(envelope) for envelope in envelopes]
        if first > at:
            metrics.gaps["trimmed"] += 1
            missed.insert(0, gap_delivery(channel.name, epoch, at, first, "trimmed"))
        return missed

    async def _drained(self, connection: Connection) -> None:
        """Wait until the socket takes more."""
        while connection.slow and not connection.gone:
            if connection.drained is None:
                connection.drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(connection.drained)

    def renew(self, connection: Connection, within: float) -> None:
        """Ask again for the grants of this connection that end within so many seconds."""
        if connection in self._renewing:
            return
        now = self._gateway.now()
        own = f"user:{connection.user}"
        due = [
            subscription
            for subscription in connection.session.subscriptions.values()
            if subscription.state is SubscriptionState.ACTIVE
            and subscription.channel != own
            and subscription.leased < now + within
        ]
        if due:
            self._renewing.add(connection)
            self._gateway.hub.spawn(self._renew(connection, due))

    def recheck(self, connection: Connection) -> None:
        """Ask anew for every grant of this connection: its token is another one, and may allow less."""
        connection.may_publish = None
        now = self._gateway.now()
        subscriptions = list(connection.session.subscriptions.values())
        for subscription in subscriptions:
            # What the earlier token was granted holds only as long as a lease that cannot be renewed.
            subscription.leased = min(subscription.leased, now)
        if subscriptions:
            self._gateway.hub.spawn(self._ask_again(connection, subscriptions))

    async def _renew(self, connection: Connection, due: list[Subscription]) -> None:
        try:
            await self._ask_again(connection, due)
        finally:
            self._renewing.discard(connection)

    async def _ask_again(self, connection: Connection, due: list[Subscription]) -> None:
        try:
            answer = await self._may_listen(connection, [subscription.channel for subscription in due])
        except Refused as exc:
            now = self._gateway.now()
            for subscription in due:
                if connection.is_current(subscription) and subscription.leased + _LENIENCE < now:
                    connection.end_subscription(subscription.channel, exc)
            return
        for subscription in due:
            if not connection.is_current(subscription):
                continue
            grant = answer.listen.get(subscription.channel, Grant(False))
            if grant.allowed:
                subscription.leased = self._gateway.now() + LEASE
                if grant.unseen != subscription.unseen:
                    subscription.unseen = grant.unseen
                    self._gateway.hub.see(subscription.channel, connection, seen=not grant.unseen)
            else:
                connection.end_subscription(subscription.channel, refusal_of(subscription.channel, grant))


def _chunks(deliveries: list[Delivery]) -> Iterator[list[Delivery]]:
    """The same in pieces that are small enough to be written at once."""
    chunk: list[Delivery] = []
    size = 0
    for delivery in deliveries:
        chunk.append(delivery)
        size += delivery.size
        if len(chunk) >= _CHUNK or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
