"""Publishing: events that clients publish on live and ephemeral channels."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from backchannel_protocol import JSON, Refused
from backchannel_protocol import frames as f
from backchannel_protocol.codec import decode_data

from ..app import App
from ..broker.broker import Broker, Envelope, LogBounds, LogHead, Settled
from ..relay.relay import Grant
from ..session import effects as e
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .rights import LEASE, Rights, publish_entry

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Publishing", "Right"]

_log = get_logger(__name__)

# Rights kept per connection: a client may name any number of channels.
_KEPT_RIGHTS = 64
# Events of one connection that may be on their way to their logs at once.
_TOGETHER = 64
# How long a refusal is kept, in seconds.
_REFUSAL_KEPT = 1.0


class _Kind(NamedTuple):
    """What one kind of event on one namespace needs."""

    bounds: LogBounds | None
    """None: it has no log."""
    decoder: msgspec.json.Decoder[Any]
    decoder_msgpack: msgspec.msgpack.Decoder[Any]


class Right(NamedTuple):
    """What a connection may do with one kind of event on one channel, leased."""

    until: float
    """On the loop's clock."""
    grant: Grant
    kind: _Kind


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
        self._now = asyncio.get_running_loop().time
        self._queues: dict[Connection, deque[e.PublishEvent]] = {}
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def publish(self, connection: Connection, effect: e.PublishEvent) -> None:
        """Publish for a connection; it is answered if it asked with an id.

        Where the right is at hand and the log answers at once it is done when this returns. Else a task exists while
        the connection has something to publish, so that what it sends stays in order.
        """
        queue = self._queues.get(connection)
        if queue is not None:
            if len(queue) < connection.session.limits.open_requests:
                queue.append(effect)
            else:
                # Without ids they are not bounded by the open requests of the session.
                self._fail(connection, effect, Refused("limit_exceeded", "Too many events wait; publish slower."))
            return
        right = self._right_at_hand(connection, effect)
        if right is None:
            queue = self._queues[connection] = deque((effect,))
            self._spawn(self._drain(connection, queue, deque()))
        elif (appending := self._begin(connection, effect, right)) is not None:
            queue = self._queues[connection] = deque()
            self._spawn(self._drain(connection, queue, deque(((effect, appending),))))

    async def _drain(
        self,
        connection: Connection,
        queue: deque[e.PublishEvent],
        begun: deque[tuple[e.PublishEvent, Awaitable[LogHead]]],
    ) -> None:
        try:
            while (queue or begun) and not connection.gone:
                while queue and len(begun) < _TOGETHER:
                    effect = queue.popleft()
                    try:
                        right = self._right_at_hand(connection, effect) or await self._ask(connection, effect)
                    except Exception as exc:
                        self._broke(connection, effect, exc)
                        continue
                    if (appending := self._begin(connection, effect, right)) is not None:
                        begun.append((effect, appending))
                while begun:
                    await self._finish(connection, *begun.popleft())
        finally:
            del self._queues[connection]

    def _begin(self, connection: Connection, effect: e.PublishEvent, right: Right) -> Awaitable[LogHead] | None:
        """Publish an event. What is returned is to be finished; those behind it need not wait for that."""
        try:
            appending = self._send(connection, effect, right)
        except Exception as exc:
            self._broke(connection, effect, exc)
            return None
        if isinstance(appending, Settled):
            head = appending.value
        elif appending is not None:
            return appending
        else:
            head = None
        if effect.id is not None:
            self._answer(connection, effect.id, head)
        return None

    async def _finish(self, connection: Connection, effect: e.PublishEvent, appending: Awaitable[LogHead]) -> None:
        try:
            head = await appending
        except Exception as exc:
            self._broke(connection, effect, exc)
        else:
            if effect.id is not None:
                self._answer(connection, effect.id, head)

    def _answer(self, connection: Connection, request_id: int, head: LogHead | None) -> None:
        session = connection.session
        reply = f.PublishReply() if head is None else f.PublishReply(head.epoch, head.offset)
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

    def _send(self, connection: Connection, effect: e.PublishEvent, right: Right) -> Awaitable[LogHead] | None:
        """Append an event to its log; None for one that has none and has left."""
        grant = right.grant
        kind = right.kind
        session = connection.session
        value = decode_data(kind.decoder_msgpack if session.codec.binary else kind.decoder, effect.data)
        if not grant.allowed:
            raise Refused(grant.code, grant.message or f"You may not publish on {effect.channel}.")
        envelope = Envelope(
            channel=effect.channel,
            name=effect.name,
            # Within the data model, as what it was decoded from was checked with its frame.
            data=JSON.encode(value),
            user=connection.user or None,
            key=effect.key,
            time=int(self._wall() * 1000),
        )
        if kind.bounds is None:
            self._broker.publish((envelope,))
            return None
        if effect.key is None:
            return self._broker.append(envelope, kind.bounds, None)
        assert session.principal is not None
        return self._broker.append(envelope, kind.bounds, f"{session.principal.id}\x1f{effect.key}")

    def _kind(self, channel: str, name: str) -> _Kind:
        namespace = self._app.namespace_of(channel)
        if namespace is None:
            raise Refused("not_found", f"There is no namespace {channel.partition(':')[0]!r}.")
        cls = namespace.cls
        if not cls.clients_may_publish:
            raise Refused("forbidden", f"Clients do not publish on {channel}; call the command that does.")
        event = self._app.events.get(name)
        if event is None:
            raise Refused("not_found", f"There is no event {name!r}.")
        kind = self._kinds.get((namespace.name, name))
        if kind is None:
            logged = cls.kind != "ephemeral" and not event.ephemeral
            kind = self._kinds[namespace.name, name] = _Kind(
                LogBounds(cls.history, cls.max_age) if logged else None,
                msgspec.json.Decoder(event.cls),
                msgspec.msgpack.Decoder(event.cls),
            )
        return kind

    def _right_at_hand(self, connection: Connection, effect: e.PublishEvent) -> Right | None:
        rights = connection.may_publish
        if rights is None:
            return None
        right = rights.get((effect.channel, effect.name))
        return right if right is not None and right.until > self._now() else None

    async def _ask(self, connection: Connection, effect: e.PublishEvent) -> Right:
        """The right to publish this event on its channel, leased."""
        kind = self._kind(effect.channel, effect.name)
        # What cannot be read is refused before anybody is asked.
        decode_data(kind.decoder_msgpack if connection.session.codec.binary else kind.decoder, effect.data)
        now = self._now()
        principal = connection.session.principal
        assert principal is not None
        entry = publish_entry(effect.channel, effect.name)
        answer = await self._rights.may(principal, publish=[entry], connection=connection.session.id)
        grant = answer.publish.get(entry, Grant(False))
        if connection.may_publish is None or len(connection.may_publish) >= _KEPT_RIGHTS:
            connection.may_publish = {}
        # A refusal is kept for a moment only: the right may be given any time.
        right = Right(now + (LEASE if grant.allowed else _REFUSAL_KEPT), grant, kind)
        connection.may_publish[effect.channel, effect.name] = right
        return right
