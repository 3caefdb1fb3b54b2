"""Publishing: events that clients publish on live and ephemeral channels."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from backchannel_protocol import Refused
from backchannel_protocol import frames as f
from backchannel_protocol.codec import decode_data, encode_data

from ..app import App, EventDeclaration, NamespaceDeclaration
from ..broker.broker import Broker, Envelope, LogBounds, LogHead
from ..relay.relay import Grant
from ..session import effects as e
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .rights import LEASE, Rights, publish_entry

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Publishing"]

_log = get_logger(__name__)

# Grants kept per connection: a client may name any number of channels.
_KEPT_GRANTS = 64
# Events of one connection that may be on their way to their logs at once.
_TOGETHER = 64
# How long a refusal is kept, in seconds.
_REFUSAL_KEPT = 1.0


class Publishing:
    """Checks, validates and publishes what clients send. Per connection in the order sent."""

    def __init__(
        self,
        app: App,
        broker: Broker,
        rights: Rights,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        flush_soon: Callable[[Connection], None],
        wall: Callable[[], float] | None = None,
    ) -> None:
        self._app = app
        self._broker = broker
        self._rights = rights
        self._spawn = spawn
        self._flush_soon = flush_soon
        self._wall = wall or time.time
        self._loop = asyncio.get_running_loop()
        self._decoders = {
            name: (msgspec.json.Decoder(event.cls), msgspec.msgpack.Decoder(event.cls))
            for name, event in app.events.items()
        }
        self._queues: dict[Connection, deque[e.PublishEvent]] = {}

    def publish(self, connection: Connection, effect: e.PublishEvent) -> None:
        """Publish for a connection; it is answered if it asked with an id.

        A task exists only while a connection has something to publish, so what it sends stays in order.
        """
        queue = self._queues.get(connection)
        if queue is None:
            queue = self._queues[connection] = deque((effect,))
            self._spawn(self._drain(connection, queue))
        elif len(queue) < connection.session.limits.open_requests:
            queue.append(effect)
        else:
            # Without ids they are not bounded by the open requests of the session.
            self._fail(connection, effect, Refused("limit_exceeded", "Too many events wait; publish slower."))

    async def _drain(self, connection: Connection, queue: deque[e.PublishEvent]) -> None:
        try:
            while queue and not connection.gone:
                begun: deque[tuple[e.PublishEvent, Awaitable[LogHead]]] = deque()
                while queue and len(begun) < _TOGETHER:
                    await self._begin(connection, queue.popleft(), begun)
                while begun:
                    await self._finish(connection, *begun.popleft())
        finally:
            del self._queues[connection]

    async def _begin(
        self,
        connection: Connection,
        effect: e.PublishEvent,
        begun: deque[tuple[e.PublishEvent, Awaitable[LogHead]]],
    ) -> None:
        """Publish an event; what has a log is only begun, so that those behind it need not wait for its answer."""
        try:
            accepted = await self._accept(connection, effect)
        except Exception as exc:
            self._broke(connection, effect, exc)
            return
        if accepted is not None:
            begun.append((effect, accepted))
        elif effect.id is not None:
            self._answer(connection, effect.id, f.PublishReply())

    async def _finish(self, connection: Connection, effect: e.PublishEvent, appending: Awaitable[LogHead]) -> None:
        try:
            head = await appending
        except Exception as exc:
            self._broke(connection, effect, exc)
        else:
            if effect.id is not None:
                self._answer(connection, effect.id, f.PublishReply(head.epoch, head.offset))

    def _answer(self, connection: Connection, request_id: int, reply: f.PublishReply) -> None:
        session = connection.session
        connection.perform(session.answered(request_id, session.codec.encode(reply)))
        self._flush_soon(connection)

    def _broke(self, connection: Connection, effect: e.PublishEvent, exc: Exception) -> None:
        if isinstance(exc, Refused):
            self._fail(connection, effect, exc)
        else:
            _log.error("cannot publish", channel=effect.channel, exc_info=exc)
            self._fail(connection, effect, Refused("internal", "The event could not be published."))

    def _fail(self, connection: Connection, effect: e.PublishEvent, refusal: Refused) -> None:
        if effect.id is None:
            metrics.errors[refusal.code] += 1  # PUB-1: nobody is told
            return
        connection.perform(connection.session.failed(effect.id, refusal))
        self._flush_soon(connection)

    async def _accept(self, connection: Connection, effect: e.PublishEvent) -> Awaitable[LogHead] | None:
        """Begin to append an event; None for an ephemeral one, which has left."""
        namespace, event = self._declarations(effect.channel, effect.name)
        decoders = self._decoders[event.name]
        value = decode_data(decoders[1 if connection.session.codec.binary else 0], effect.data)
        grant = await self._grant(connection, effect.channel, effect.name)
        if not grant.allowed:
            raise Refused(grant.code, grant.message or f"You may not publish on {effect.channel}.")
        principal = connection.session.principal
        assert principal is not None
        envelope = Envelope(
            channel=effect.channel,
            name=effect.name,
            data=encode_data(value),
            user=connection.user or None,
            key=effect.key,
            time=int(self._wall() * 1000),
        )
        if event.ephemeral or namespace.cls.kind == "ephemeral":
            self._broker.publish((envelope,))
            return None
        publication = f"{principal.id}\x1f{effect.key}" if effect.key is not None else None
        return self._broker.append(envelope, LogBounds(namespace.cls.history, namespace.cls.max_age), publication)

    def _declarations(self, channel: str, name: str) -> tuple[NamespaceDeclaration, EventDeclaration]:
        namespace = self._app.namespace_of(channel)
        if namespace is None:
            raise Refused("not_found", f"There is no namespace {channel.partition(':')[0]!r}.")
        if not namespace.cls.clients_may_publish:
            raise Refused("forbidden", f"Clients do not publish on {channel}; call the command that does.")
        event = self._app.events.get(name)
        if event is None:
            raise Refused("not_found", f"There is no event {name!r}.")
        return namespace, event

    async def _grant(self, connection: Connection, channel: str, name: str) -> Grant:
        """The right to publish this event on a channel, leased."""
        now = self._loop.time()
        entry = publish_entry(channel, name)
        if connection.may_publish is not None and (leased := connection.may_publish.get(entry)) is not None:
            until, grant = leased
            if until > now:
                return grant
        principal = connection.session.principal
        assert principal is not None
        answer = await self._rights.may(principal, publish=[entry], connection=connection.session.id)
        grant = answer.publish.get(entry, Grant(False))
        if connection.may_publish is None or len(connection.may_publish) >= _KEPT_GRANTS:
            connection.may_publish = {}
        # A refusal is kept for a moment only: the right may be given any time.
        connection.may_publish[entry] = (now + (LEASE if grant.allowed else _REFUSAL_KEPT), grant)
        return grant
