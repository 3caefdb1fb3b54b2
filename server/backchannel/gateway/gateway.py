"""Gateway: keeps connections open and owns no business rule.

It ties the parts together: doors hand it connections, sessions say what is to be done, the hub delivers, the relay
asks.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Protocol

from msgspec import Struct

from backchannel_protocol import CloseCode, Codec, Limits, Refused
from backchannel_protocol.codec import encode_data

from ..app import App
from ..auth.principal import Principal
from ..auth.revocation import Revocation
from ..auth.watch import RevocationWatch
from ..broker.broker import Broker
from ..broker.hooks import Hooks, NotePresence
from ..relay.relay import Relay, Reply
from ..session import effects as e
from ..session.session import Session
from ..store.store import LogReader
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .calls import Calls
from .connection import Connection
from .hub import Hub
from .ids import random_ids
from .publishing import Publishing
from .reading import Reading
from .rights import Rights
from .subscribing import Subscribing
from .transport import Transport
from .wheel import Wheel

__all__ = ["Authenticator", "Gateway", "GatewayOptions"]

_log = get_logger(__name__)

# Grants are renewed when they end within this many seconds, and looked at so often.
_RENEW_WITHIN = 30.0
_RENEW_EVERY = 25.0
# Over how much of the drain the `move` frames are spread.
_SPREAD = 0.5
# By what part, and by how many more, connections have grown to a new height.
_HIGHER = 10
_MORE = 500


class Authenticator(Protocol):
    """Who verifies tokens and keys."""

    async def token(self, token: str | None) -> Principal:
        """Who holds this token; None: a guest, where guests are allowed.

        Raises:
            Refused: `unauthenticated`, or `unavailable` if it cannot be told now.
        """

    def at_once(self, token: str | None) -> Principal | None:
        """As `token`, without a wait; None: it may take one."""

    async def api_key(self, secret: str, user: str) -> Principal:
        """Who holds this API key, acting for `user`, or as the key itself where that is empty.

        Raises:
            Refused: `unauthenticated`.
        """


class GatewayOptions(Struct, frozen=True, kw_only=True):
    """What an operator sets for a gateway. Spans are seconds."""

    limits: Limits = Limits()
    ping: float = 25.0
    grace: float = 10.0
    connections_per_user: int = 100
    connections_per_address: int = 10_000
    drain: float = 30.0
    origins: tuple[str, ...] = ()
    """Browser origins that may connect beside the host's own; `*` means every origin."""


class Gateway:
    """The gateway of one process. Make it and use it on one event loop."""

    def __init__(
        self,
        app: App,
        *,
        relay: Relay,
        broker: Broker,
        log_reader: LogReader,
        authenticator: Authenticator,
        options: GatewayOptions | None = None,
        revocations: RevocationWatch | None = None,
        wall: Callable[[], float] | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """
        Args:
            app: the declarations.
            relay: who carries requests to workers.
            broker: who brings events.
            log_reader: who reads durable logs.
            authenticator: who verifies tokens.
            options: what the operator set.
            revocations: who tells what was revoked, so that its connections end.
            wall: Unix seconds; the system's clock by default.
            chance: what spreads pings and moves; unseeded by default.
        """
        self.app = app
        self.options = options or GatewayOptions()
        self.limits = self.options.limits
        self.relay = relay
        self.broker = broker
        self.authenticator = authenticator
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._wall = wall or time.time
        self._chance = chance or random.Random()  # noqa: S311  # it spreads load and guards nothing
        self._ids = count(1)
        self._session_ids = random_ids()
        self.hub = Hub(
            app,
            broker,
            log_reader,
            connections_of=self.connections_of,
            wall=self._wall,
            disconnected=_nothing if revocations is None else revocations.look_soon,
        )
        if revocations is not None:
            revocations.attach(self.end_revoked)
        rights = Rights(self)
        self.subscribing = Subscribing(self, rights)
        self.publishing = Publishing(
            app, broker, rights, spawn=self.hub.spawn, flush_soon=self.flush_soon, wall=self._wall
        )
        self.reading = Reading(self.hub, broker)
        self.calls = Calls(
            app,
            relay,
            handler_timeout=self.limits.call,
            next_id=self._ids.__next__,
            flush_soon=self.flush_soon,
        )
        Hooks(app, self._ask_hook).attach(broker)
        # In the order in which they came, so that whatever goes over all of them goes the same way each time.
        self.connections: dict[Connection, None] = {}
        # A tuple of the only one, since nearly every user has no more and an own dictionary is 250 bytes.
        self._of_user: dict[str, tuple[Connection] | dict[Connection, None]] = {}
        self._of_address: Counter[str] = Counter()
        self._dirty: list[Connection] = []
        step = min(1.0, self.options.ping / 10, self.options.grace / 2, self.limits.connect / 2)
        self._low, self._high = 0, _MORE
        self._wheel = Wheel(self._loop, step, self._turn)
        self._draining = False
        self._emptied: asyncio.Future[None] | None = None
        self._unregister = [
            metrics.gauge("subscriptions", "Subscriptions that are active.", lambda: self.hub.subscriptions),
            metrics.gauge("deaf", "Whether the broker cannot be heard.", lambda: not self.broker.hears()),
            metrics.gauge("channels", "Channels that this process listens to.", lambda: len(self.hub.channels)),
        ]

    def start(self) -> None:
        """Begin to serve."""
        self.hub.start()
        self._wheel.start()

    async def close(self) -> None:
        """Drop what is still connected and stop everything."""
        self._draining = True
        for connection in list(self.connections):
            connection.transport.abort()
        self._wheel.stop()
        await self.hub.close()
        for unregister in self._unregister:
            unregister()

    def next_request_id(self) -> int:
        """A fresh id for the relay."""
        return next(self._ids)

    def connections_of(self, user: str) -> Collection[Connection]:
        """The open connections of a user on this gateway."""
        return self._of_user.get(user) or ()

    # What the doors ask for

    @property
    def frame_limit(self) -> int:
        """Bytes in the largest message that a client may send."""
        return self.limits.frame

    @property
    def max_queued(self) -> int:
        """Bytes that may wait to be sent to one connection."""
        return self.limits.queued

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a page of this origin may connect: the host's own pages, those listed, and what is not a browser."""
        if origin is None or "*" in self.options.origins or origin in self.options.origins:
            return True
        return host is not None and origin.partition("://")[2] == host

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Connection:
        """Take a new connection; `token` came in the handshake's header (CONN-5).

        Raises:
            Refused: `limit_exceeded` for its address; `unavailable` while this gateway drains.
        """
        if self._draining:
            metrics.refused["unavailable"] += 1
            raise Refused(
                "unavailable", "This gateway drains; connect again to reach another.", outcome="none", retry_after=1.0
            )
        if self._of_address[address] >= self.options.connections_per_address:
            metrics.refused["limit_exceeded"] += 1
            raise Refused("limit_exceeded", "This address holds as many connections as it may.")
        self._of_address[address] += 1
        session = Session(
            next(self._session_ids),
            codec,
            self.limits,
            ping=self.options.ping,
            grace=self.options.grace,
            now=self.now(),
            token=token,
        )
        connection = Connection(self, transport, session, address, compress_from)
        self.connections[connection] = None
        metrics.connections += 1
        metrics.connections_opened += 1
        self._wheel.put(connection, self.limits.connect)
        held = len(self.connections)
        if not self._low < held < self._high:
            self._freeze(held)
        return connection

    def _freeze(self, held: int) -> None:
        """At a new height of connections, let the collector look at none of what there is any more.

        It stops everything meanwhile: with 10,000 connections a full look took 30 to 60 ms, up to 320 on a busy
        machine, and takes 1 to 2. Theirs are freed by reference counts alone. When most are gone, heights are counted
        anew, since others come in their place.
        """
        if held >= self._high:
            gc.freeze()
        self._low, self._high = held // 2, held + held // _HIGHER + _MORE

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._wheel.remove(connection)
        self.connections.pop(connection, None)
        metrics.connections -= 1
        if self._emptied is not None and not self.connections and not self._emptied.done():
            self._emptied.set_result(None)
        self._of_address[connection.address] -= 1
        if not self._of_address[connection.address]:
            del self._of_address[connection.address]
        if connection.user:
            held = self._of_user[connection.user]
            if isinstance(held, dict) and len(held) > 1:
                del held[connection]
            else:
                del self._of_user[connection.user]

    async def ask(self, principal: Principal, name: str, data: bytes, key: str | None, timeout: float) -> Reply:
        """Ask a command or query for the HTTP door; refusals come as `Reply.failure`."""
        return await self.calls.ask(principal, name, data, key=key, timeout=timeout)

    async def ask_for_app(self, principal: Principal, name: str, data: bytes, key: str | None) -> Reply:
        """Ask a command or query for an app's own route, internal ones too; refusals come as `Reply.failure`."""
        return await self.calls.ask(principal, name, data, key=key, by_app=True)

    async def _ask_hook(self, note: NotePresence, user: str, key: str) -> None:
        """Ask that a hook is run. Raises `Refused`."""
        principal = Principal(user=user, id=f"app:{self.app.name}:{user}")
        reply = await self.calls.ask(principal, NotePresence.wire_name, encode_data(note), key=key, by_app=True)
        if reply.failure is not None:
            raise reply.failure.refused()

    async def authenticate(self, token: str) -> Principal:
        """Who holds this user token. Raises `Refused`."""
        return await self.authenticator.token(token)

    async def api_key(self, secret: str, user: str) -> Principal:
        """Who holds this API key, acting for a user. Raises `Refused`."""
        return await self.authenticator.api_key(secret, user)

    def readiness(self) -> dict[str, str]:
        """What keeps this process from serving, part by part; empty: it is ready."""
        reasons = {}
        if self._draining:
            reasons["gateway"] = "draining"
        if not self.relay.ready():
            reasons["relay"] = "no worker is there"
        if not self.broker.hears():
            reasons["broker"] = "what other processes publish does not arrive"
        if self.hub.unconfirmed():
            reasons["store"] = "it does not tell where the logs stand"
        return reasons

    # Connections

    def flush_soon(self, connection: Connection) -> None:
        """Write what was caused at the end of this tick: what comes in batches leaves in one write per connection."""
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty.append(connection)

    def flush(self) -> None:
        """Write now what would be written soon."""
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    def authenticate_connection(self, connection: Connection, effect: e.Authenticate) -> None:
        """Verify the token of a `connect` or `refresh`: at once where that needs no wait, else in a task."""
        try:
            principal = self.authenticator.at_once(effect.token)
        except Exception as exc:
            self._unauthenticated(connection, effect, exc)
            return
        if principal is None:
            self.hub.spawn(self._authenticate(connection, effect))
        else:
            self._authenticated(connection, effect, principal)

    async def _authenticate(self, connection: Connection, effect: e.Authenticate) -> None:
        try:
            principal = await self.authenticator.token(effect.token)
        except Exception as exc:
            self._unauthenticated(connection, effect, exc)
        else:
            self._authenticated(connection, effect, principal)
        connection.flush()

    def _unauthenticated(self, connection: Connection, effect: e.Authenticate, exc: Exception) -> None:
        if not isinstance(exc, Refused):
            _log.error("cannot authenticate", exc_info=exc)
            exc = Refused("internal", "The token could not be checked.")
        elif not effect.refresh:
            metrics.refused[exc.code] += 1
        connection.perform(connection.session.refused_token(effect.id, exc))

    def _authenticated(self, connection: Connection, effect: e.Authenticate, principal: Principal) -> None:
        held = self._of_user.get(principal.user) if principal.user else None
        if held is not None and len(held) >= self.options.connections_per_user and not effect.refresh:
            refusal = Refused("limit_exceeded", "This user holds as many connections as it may.")
            self._unauthenticated(connection, effect, refusal)
            return
        session = connection.session
        wall = self._wall()
        connection.perform(session.authenticated(effect.id, principal, wall))
        if effect.refresh and session.principal is principal:
            self.subscribing.recheck(connection)
        due = self._due(session, wall)
        if due >= 0 and not connection.gone:
            # The first ping comes at a random moment, so that those who came together are not served together.
            self._wheel.put(connection, due if effect.refresh else due * (1 + self._chance.random()) / 2)

    def opened(self, connection: Connection) -> None:
        """A session is open: count it as its user's."""
        principal = connection.session.principal
        assert principal is not None
        connection.user = principal.user
        if not principal.user:
            return
        held = self._of_user.get(principal.user)
        if held is None:
            self._of_user[principal.user] = (connection,)
        elif isinstance(held, dict):
            held[connection] = None
        else:
            self._of_user[principal.user] = {held[0]: None, connection: None}

    def end_revoked(self, revoked: Sequence[Revocation]) -> None:
        """Close the connections that these revocations take away."""
        tokens = {one.token_id for one in revoked if one.token_id is not None}
        concerned = [connection for one in revoked if one.user for connection in self.connections_of(one.user)]
        if tokens:
            concerned.extend(self.connections)
        for connection in dict.fromkeys(concerned):
            principal = connection.session.principal
            if principal is not None and any(one.ends(principal) for one in revoked):
                connection.close(CloseCode.REVOKED, "access was taken away")

    def _turn(self, connection: Connection) -> float:
        """A connection's turn on the wheel; returns in how many seconds it wants the next."""
        session = connection.session
        wall = self._wall()
        connection.do(session.tick(self.now(), wall))
        if session.subscriptions:
            self.subscribing.renew(connection, _RENEW_WITHIN)
        return self._due(session, wall)

    def _due(self, session: Session, wall: float) -> float:
        return min(session.due(self.now(), wall), _RENEW_EVERY)

    async def drain(self, seconds: float | None = None) -> None:
        """Take no new connections and move the present ones over, spread out; return when they are gone or time is up.

        Cancelling it leaves the gateway unready, with whatever is still connected.
        """
        self._draining = True
        seconds = self.options.drain if seconds is None else seconds
        end = self.now() + seconds
        waiting = list(self.connections)
        self._chance.shuffle(waiting)
        pause = seconds * _SPREAD / max(1, len(waiting))
        began = self.now()
        for index, connection in enumerate(waiting):
            if connection.gone:
                continue
            due = began + index * pause
            if due > self.now():
                await asyncio.sleep(due - self.now())
            connection.do(connection.session.move(max(0.0, end - self.now())))
        if self.connections:
            self._emptied = self._loop.create_future()
            await asyncio.wait([self._emptied], timeout=max(0.0, end - self.now()))
        for connection in list(self.connections):
            connection.close(CloseCode.MOVED, "this gateway drains")


def _nothing() -> None:
    """Nobody watches for revocations."""
