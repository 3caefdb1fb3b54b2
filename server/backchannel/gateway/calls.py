"""Calls: from a request of a connection or of the HTTP door to the relay, and the reply back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from backchannel_protocol import JSON, MSGPACK, Refused
from backchannel_protocol.codec import decode_data

from ..app import App, RequestDeclaration
from ..auth.principal import Principal
from ..relay.relay import Failure, Relay, Reply, Request
from ..session import effects as e
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Calls"]

_log = get_logger(__name__)

Encoding = Literal["json", "msgpack"]


class _Route:
    """What the gateway needs to know of one name."""

    __slots__ = ("declaration", "fields", "is_command", "kind", "prefix", "readers", "timeout")

    def __init__(self, declaration: RequestDeclaration, timeout: float) -> None:
        self.declaration = declaration
        self.kind = declaration.kind
        self.is_command = declaration.kind == "command"
        self.timeout = declaration.timeout or timeout
        """How long it may take."""
        self.fields = (declaration.lane_of,) if declaration.lane_of else declaration.lane
        self.prefix = "user:" if declaration.lane_of else ""
        self.readers: dict[str, Any] = {}
        if self.fields:
            # Only the lane's fields are read of the body; the worker checks the rest.
            field: Any = msgspec.field  # its stub knows no NODEFAULT
            fields = [
                (f.name, f.type, field(default=f.default, default_factory=f.default_factory, name=f.encode_name))
                for f in msgspec.structs.fields(declaration.cls)
                if f.name in self.fields
            ]
            lane = msgspec.defstruct("Lane", fields, kw_only=True)
            self.readers = {"json": msgspec.json.Decoder(lane), "msgpack": msgspec.msgpack.Decoder(lane)}

    def lane(self, principal: Principal, data: bytes, encoding: Encoding) -> str:
        if not self.fields:
            return f"user:{principal.user}" if principal.user else principal.id
        values = decode_data(self.readers[encoding], data)
        return self.prefix + "\x1f".join([str(getattr(values, field)) for field in self.fields])


class Calls:
    """Sends requests through the relay and brings the replies to who asked."""

    def __init__(
        self,
        app: App,
        relay: Relay,
        *,
        handler_timeout: float,
        next_id: Callable[[], int],
        flush_soon: Callable[[Connection], None],
    ) -> None:
        self._relay = relay
        self._next_id = next_id
        self._routes = {name: _Route(declaration, handler_timeout) for name, declaration in app.offered().items()}
        self._internal = {
            name: _Route(declaration, handler_timeout)
            for name, declaration in app.requests.items()
            if declaration.internal
        }
        self._flush_soon = flush_soon

    def declaration(self, name: str) -> RequestDeclaration | None:
        """The declaration of a command or query."""
        route = self._routes.get(name)
        return route.declaration if route else None

    def request(
        self,
        principal: Principal,
        name: str,
        data: bytes,
        *,
        encoding: Encoding = "json",
        key: str | None = None,
        timeout: float | None = None,
        connection: str = "",
        by_app: bool = False,
    ) -> Request:
        """The request to send.

        Args:
            by_app: the app's own code asks for the principal: there are internal names, too, which no caps name.

        Raises:
            Refused: `not_found` for an unknown name, `forbidden` by the token's caps, `invalid` if its lane cannot be
                read.
        """
        route = self._routes.get(name)
        internal = False
        if route is None and by_app:
            route = self._internal.get(name)
            internal = True
        if route is None:
            raise Refused("not_found", f"There is no command or query {name!r}.")
        if principal.caps is not None and not internal and not principal.may("call", name):
            raise Refused("forbidden", f"The token's caps do not include call:{name}.")
        is_command = route.is_command
        return Request(
            id=self._next_id(),
            kind=route.kind,
            name=name,
            data=data,
            encoding=encoding,
            principal=principal,
            connection=connection,
            lane=route.lane(principal, data, encoding) if is_command else "",
            key=key if is_command else None,
            timeout=route.timeout if timeout is None or timeout > route.timeout else timeout,
        )

    def call(self, connection: Connection, effect: e.Relay) -> None:
        """Send a connection's call."""
        metrics.calls += 1
        session = connection.session
        assert session.principal is not None
        try:
            request = self.request(
                session.principal,
                effect.name,
                effect.data,
                encoding="msgpack" if session.codec.binary else "json",
                key=effect.key,
                timeout=effect.timeout,
                connection=session.id,
            )
        except Refused as exc:
            connection.perform(session.failed(effect.id, exc))
            return
        if connection.calls is None:
            connection.calls = {}
        connection.calls[effect.id] = request.id
        self._relay.send(request, partial(self._replied, connection, effect.id))

    def _replied(self, connection: Connection, call_id: int, reply: Reply) -> None:
        calls = connection.calls
        if calls is not None:
            calls.pop(call_id, None)
            if not calls:
                connection.calls = None
        if connection.gone:
            return
        session = connection.session
        failure = reply.failure
        if failure is not None:
            effects = session.failed(call_id, failure.refused())
        else:
            try:
                data = reply.data if not session.codec.binary else MSGPACK.encode(JSON.decode_any(reply.data))
            except Exception as exc:
                _log.error("a reply cannot be sent", reply=reply.id, exc_info=exc)
                effects = session.failed(call_id, Refused("internal", "The reply has no form in MessagePack."))
            else:
                metrics.replies += 1
                effects = session.answered(call_id, data, reply.positions)
        connection.perform(effects)
        # Replies come in batches; what they cause for one connection leaves in one write.
        self._flush_soon(connection)

    async def ask(
        self,
        principal: Principal,
        name: str,
        data: bytes,
        *,
        key: str | None = None,
        timeout: float | None = None,
        by_app: bool = False,
    ) -> Reply:
        """Send a request from the HTTP door, or from an app's own route, and wait. Refusals come as `Reply.failure`."""
        metrics.calls += 1
        try:
            request = self.request(principal, name, data, key=key, timeout=timeout, by_app=by_app)
        except Refused as exc:
            reply = Reply(id=0, failure=Failure.of(exc))
        else:
            reply = await self._relay.ask(request)
        if reply.failure is None:
            metrics.replies += 1
        else:
            metrics.errors[reply.failure.code] += 1
        return reply
