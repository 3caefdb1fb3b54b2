"""Subscribing: from a wish to listen to a place in the hub, without a race.

Listen, read the log from the client's position *through the hub*, join in the same tick at the hub's position (design:
*the way of an event* 5). A subscription is registered before its right is checked, and an event that takes the right away
voids the answer (6): every step asks whether the session still wants this very subscription.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backchannel_protocol import Refused
from backchannel_protocol.frames import Position

from ..relay.relay import Grant
from ..session import effects as e
from ..session.position import begin
from ..session.subscription import Subscription, SubscriptionState
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .channel import HubChannel
from .delivery import event_delivery, gap_delivery, joined
from .rights import LEASE, Rights, refusal_of

if TYPE_CHECKING:
    from .connection import Connection
    from .gateway import Gateway

__all__ = ["Subscribing"]

_log = get_logger(__name__)

# Missed events written between two looks at the socket.
_CHUNK = 100
# A grant that cannot be renewed is kept this long beyond its lease before it fails closed, in seconds.
_LENIENCE = 30.0


class Subscribing:
    """Starts and renews the subscriptions of connections."""

    def __init__(self, gateway: Gateway, rights: Rights) -> None:
        self._gateway = gateway
        self._rights = rights

    async def begin(self, connection: Connection, wanted: list[e.Subscribe]) -> None:
        """Start these subscriptions. One that is refused does not hold up the others (P4)."""
        begun: list[tuple[e.Subscribe, HubChannel]] = []
        try:
            for wish in wanted:
                try:
                    channel = self._gateway.hub.open(wish.subscription.channel)
                except Refused as exc:
                    self._refuse(connection, wish.subscription, exc)
                else:
                    if channel.beginning is None:
                        channel.beginning = set()
                    channel.beginning.add(connection)
                    begun.append((wish, channel))
            await self._check_and_start(connection, begun)
        finally:
            for _, channel in begun:
                if channel.beginning is not None:
                    channel.beginning.discard(connection)
                    channel.beginning = channel.beginning or None
                self._gateway.hub.touch(channel)

    async def _check_and_start(self, connection: Connection, begun: list[tuple[e.Subscribe, HubChannel]]) -> None:
        principal = connection.session.principal
        assert principal is not None
        ready: list[tuple[e.Subscribe, HubChannel]] = []
        for wish, channel in begun:
            try:
                await self._gateway.hub.ready(channel)
            except Refused as exc:
                self._refuse(connection, wish.subscription, exc)
            else:
                ready.append((wish, channel))
        try:
            answer = await self._rights.may(
                principal, listen=[channel.name for _, channel in ready], connection=connection.session.id
            )
        except Refused as exc:
            for wish, _ in ready:
                self._refuse(connection, wish.subscription, exc)
            return
        for wish, channel in ready:
            grant = answer.listen.get(channel.name, Grant(False))
            if not grant.allowed:
                self._refuse(connection, wish.subscription, refusal_of(channel.name, grant))
                continue
            wish.subscription.after = grant.after
            wish.subscription.leased = self._gateway.now() + LEASE
            try:
                await self._start(connection, wish.subscription, channel, wish.since)
            except Refused as exc:
                self._refuse(connection, wish.subscription, exc)
            except Exception as exc:
                _log.error("cannot subscribe", channel=channel.name, exc_info=exc)
                self._refuse(
                    connection, wish.subscription, Refused("internal", "The subscription could not be started.")
                )

    def _refuse(self, connection: Connection, subscription: Subscription, refusal: Refused) -> None:
        metrics.errors[refusal.code] += 1
        connection.do(connection.session.unsubscribed(subscription, refusal))

    async def _start(
        self, connection: Connection, subscription: Subscription, channel: HubChannel, since: Position | None
    ) -> None:
        if (
            since is not None
            and channel.logged
            and since.epoch == channel.epoch
            and channel.since(since.offset) is None
        ):
            # The frames in memory do not reach back: the log knows what is still there.
            head, _ = await self._gateway.hub.read(channel, channel.offset, 1)
            channel.first = head.first
        await self._catch_up(connection, subscription, channel, since)

    async def _catch_up(
        self, connection: Connection, subscription: Subscription, channel: HubChannel, since: Position | None
    ) -> None:
        hub = self._gateway.hub
        if not connection.is_current(subscription):
            return
        recovery = channel.namespace.recovery
        start = begin(
            since if channel.logged else None,
            channel.head(),
            self._gateway.limits.recovery if recovery is None else recovery,
            subscription.after,
        )
        if start.verdict == "gap":
            metrics.gaps["trimmed" if since is not None and since.epoch == channel.epoch else "reset"] += 1
        epoch = channel.epoch
        connection.do(
            connection.session.subscribed(subscription, start.verdict, epoch, channel.offset)
        )
        at = start.after
        while connection.is_current(subscription):
            if channel.epoch != epoch:
                # The log was replaced while this one caught up: what it has is void.
                epoch, at = channel.epoch, channel.offset
                connection.write(gap_delivery(channel.name, epoch, 0, at, "reset").bytes_for(connection))
            if at >= channel.offset:
                hub.join(channel, connection)
                return
            missed = channel.since(at)
            if missed is None:
                head, envelopes = await hub.read(channel, at, _CHUNK)
                if not connection.is_current(subscription) or head.epoch != epoch:
                    hub.absorb(channel, head, envelopes)
                    continue
                missed = [event_delivery(envelope) for envelope in envelopes]
                if head.first > at + 1 or not missed:
                    to = (missed[0].offset if missed else head.offset + 1) - 1
                    missed.insert(0, gap_delivery(channel.name, epoch, at, to, "trimmed"))
                hub.absorb(channel, head, envelopes)
            for chunk in (missed[i : i + _CHUNK] for i in range(0, len(missed), _CHUNK)):
                await self._drained(connection)
                if not connection.is_current(subscription):
                    return
                connection.write(joined(chunk, connection))
                metrics.deliveries += len(chunk)
                at = chunk[-1].offset

    async def _drained(self, connection: Connection) -> None:
        """Wait until the socket takes more."""
        while connection.slow and not connection.gone:
            if connection.drained is None:
                connection.drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(connection.drained)

    def renew(self, connection: Connection, within: float) -> None:
        """Ask again for the grants of this connection that end within so many seconds."""
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
            self._gateway.hub.spawn(self._renew(connection, due))

    async def _renew(self, connection: Connection, due: list[Subscription]) -> None:
        principal = connection.session.principal
        assert principal is not None
        try:
            answer = await self._rights.may(
                principal, listen=[s.channel for s in due], connection=connection.session.id
            )
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
            else:
                connection.end_subscription(subscription.channel, refusal_of(subscription.channel, grant))
