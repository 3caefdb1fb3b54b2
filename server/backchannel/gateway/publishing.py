"""Publishing: events that clients publish on live and ephemeral channels."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from backchannel_protocol import Refused
from backchannel_protocol import frames as f
from backchannel_protocol.codec import decode_data, encode_data

from ..app import App, EventDeclaration, NamespaceDeclaration
from ..broker.broker import Broker, Envelope, LogBounds
from ..relay.relay import Grant
from ..session import effects as e
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .rights import LEASE, Rights

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Publishing"]

_log = get_logger(__name__)


class Publishing:
    """Checks, validates and publishes what clients send. Per connection in the order sent."""

    def __init__(self, app: App, broker: Broker, rights: Rights) -> None:
        self._app = app
        self._broker = broker
        self._rights = rights
        self._loop = asyncio.get_running_loop()
        self._decoders = {
            name: (msgspec.json.Decoder(event.cls), msgspec.msgpack.Decoder(event.cls))
            for name, event in app.events.items()
        }
        self._queues: dict[Connection, deque[e.PublishEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, connection: Connection, effect: e.PublishEvent) -> None:
        """Publish for a connection; it is answered if it asked with an id.

        A task exists only while a connection has something to publish, so what it sends stays in order.
        """
        queue = self._queues.get(connection)
        if queue is not None:
            queue.append(effect)
            return
        self._queues[connection] = deque((effect,))
        task = self._loop.create_task(self._drain(connection, self._queues[connection]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, connection: Connection, queue: deque[e.PublishEvent]) -> None:
        try:
            while queue and not connection.gone:
                await self._publish(connection, queue.popleft())
        finally:
            del self._queues[connection]
            connection.flush()

    async def _publish(self, connection: Connection, effect: e.PublishEvent) -> None:
        session = connection.session
        try:
            reply = await self._accept(connection, effect)
        except Refused as exc:
            metrics.errors[exc.code] += 1
            if effect.id is not None:
                connection.perform(session.failed(effect.id, exc))
        except Exception as exc:
            _log.error("cannot publish", channel=effect.channel, exc_info=exc)
            if effect.id is not None:
                connection.perform(session.failed(effect.id, Refused("internal", "The event could not be published.")))
        else:
            if effect.id is not None:
                connection.perform(session.answered(effect.id, session.codec.encode(reply)))

    async def _accept(self, connection: Connection, effect: e.PublishEvent) -> f.PublishReply:
        namespace, event = self._declarations(effect.channel, effect.name)
        decoders = self._decoders[event.name]
        value = decode_data(decoders[1 if connection.session.codec.binary else 0], effect.data)
        grant = await self._grant(connection, effect.channel)
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
            time=int(time.time() * 1000),
        )
        if event.ephemeral or namespace.cls.kind == "ephemeral":
            self._broker.publish((envelope,))
            return f.PublishReply()
        publication = f"{principal.id}\x1f{effect.key}" if effect.key is not None else None
        head = await self._broker.append(
            envelope, LogBounds(namespace.cls.history, namespace.cls.max_age), publication
        )
        return f.PublishReply(head.epoch, head.offset)

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

    async def _grant(self, connection: Connection, channel: str) -> Grant:
        """The right to publish on a channel, leased."""
        now = self._loop.time()
        if connection.may_publish is not None and (leased := connection.may_publish.get(channel)) is not None:
            until, grant = leased
            if until > now:
                return grant
        principal = connection.session.principal
        assert principal is not None
        answer = await self._rights.may(principal, publish=[channel], connection=connection.session.id)
        grant = answer.publish.get(channel, Grant(False))
        if connection.may_publish is None:
            connection.may_publish = {}
        # A refusal is kept for a moment only: the right may be given any time.
        connection.may_publish[channel] = (now + (LEASE if grant.allowed else 1.0), grant)
        return grant
