"""Keeping one connection open: connect, connect again with backoff, move, close."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from typing import Final, Literal, Protocol

from backchannel_protocol import CloseCode, Codec, Refused
from backchannel_protocol.frames import ClientInfo, Connect, Connected, Position, ServerFrame

from .backoff import Backoff
from .clock import Clock, sleep, within
from .connection import Connection
from .errors import ConnectionClosed
from .token import TokenSource
from .transport import ABNORMAL, Connector, Transport

__all__ = ["ClientState", "Lifecycle", "Owner"]

log = logging.getLogger("backchannel_client")

ClientState = Literal["disconnected", "connecting", "connected"]

# For one attempt: reaching the server, then its answer to `connect`.
_ATTEMPT_SECONDS: Final = 10.0

# A move begins within this share of the time that the server gives, so that the rest is enough for it.
_MOVE_SHARE: Final = 0.5


class Owner(Protocol):
    """Whom the lifecycle works for."""

    def next_id(self) -> int:
        """An id for the next `connect` frame."""

    def positions(self, token: str | None) -> dict[str, Position]:
        """What to resume, as of now."""

    def opened(self, connection: Connection) -> None:
        """This connection is the current one from now on."""

    def received(self, connection: Connection, frame: ServerFrame) -> None:
        """A frame, from the current connection or from one that is being left."""

    def lost(self, connection: Connection) -> None:
        """A connection that had opened has ended."""

    def is_needed(self, connection: Connection) -> bool:
        """Whether something still depends on a connection that is being left."""

    def ended(self, reason: ConnectionClosed) -> None:
        """There will be no other connection."""

    def changed(self, state: ClientState) -> None:
        """The state has changed."""


class Lifecycle:
    """Opens a connection, replaces it when it is lost or told to move, and knows when to stop."""

    def __init__(
        self,
        owner: Owner,
        *,
        url: str,
        tokens: TokenSource,
        info: ClientInfo,
        codec: Codec,
        clock: Clock,
        random: random_module.Random,
        connector: Connector,
    ) -> None:
        self.state: ClientState = "disconnected"
        self.current: Connection | None = None
        self.end: ConnectionClosed | None = None
        """Why there will be no other connection."""
        self.settled = asyncio.Event()
        """Set once the first connection is open, or none will be."""
        self.closed = asyncio.Event()
        self.failure: ConnectionClosed | None = None
        """How the last attempt went wrong."""
        self._owner = owner
        self._url = url
        self._tokens = tokens
        self._info = info
        self._codec = codec
        self._clock = clock
        self._connector = connector
        self._backoff = Backoff(random.random)
        self._random = random.random
        self._refused_token: str | None = None
        """The token that the server turned down, while one other may be tried (CLOSE-2)."""
        self._leaving: list[Connection] = []
        self._task: asyncio.Task[None] | None = None
        self._closing: dict[asyncio.Task[None], Connection] = {}

    def start(self) -> None:
        """Begin to connect, unless that has begun."""
        if self._task is None and self.end is None:
            self._set_state("connecting")
            self._task = asyncio.create_task(self._run())

    async def close(self, reason: ConnectionClosed) -> None:
        """End for good: say goodbye on every connection. Cancelling ends them without."""
        if self._task is not None:
            self._task.cancel()
        self._finish(reason)
        connections = [*self._leaving, *([self.current] if self.current else [])]
        try:
            await asyncio.gather(*(connection.close(reason.code) for connection in connections), *self._closing)
        except asyncio.CancelledError:
            # A task that was cancelled before it began has done nothing.
            for connection in (*connections, *self._closing.values()):
                connection.abort(reason)
            raise
        if self._task is not None:
            await asyncio.wait([self._task])

    def review(self) -> None:
        """Close the connections that were left and on which nothing depends any more."""
        for connection in [each for each in self._leaving if not self._owner.is_needed(each)]:
            self._leave(connection)

    async def _run(self) -> None:
        try:
            delay = 0.0
            while True:
                connection = await self._connect(delay)
                end = await connection.over
                if end is None:
                    self._count_uptime(connection)
                    end = await self._wait(self._time_to_move(connection), connection)
                delay = 0.0 if end is None else self._delay_after_loss(connection, end)
        except ConnectionClosed as exc:
            self._finish(exc)
        except Exception:
            log.exception("The client stops")
            self._finish(ConnectionClosed(ABNORMAL, "The client failed; its log has the reason."))

    async def _connect(self, delay: float) -> Connection:
        before = self.current
        while True:
            end = await self._wait(delay, before)
            if before is not None and end is not None:
                # A move that did not succeed in time: from here on it is as after any loss.
                delay = self._delay_after_loss(before, end)
                before = None
                continue
            try:
                return await self._attempt()
            except ConnectionClosed as exc:
                self.failure = exc
                delay = self._next_delay(exc)
                log.info("Cannot connect: %s; trying again in %.1f s", exc, delay)

    async def _wait(self, seconds: float, before: Connection | None) -> ConnectionClosed | None:
        """Wait, but not longer than the connection lasts that is still in use; returns its end if it came first."""
        if before is None:
            if seconds > 0:
                await sleep(self._clock, seconds)
            return None
        if seconds <= 0:
            return None
        try:
            return await within(self._clock, seconds, asyncio.shield(before.gone))
        except TimeoutError:
            return None

    def _time_to_move(self, connection: Connection) -> float:
        """A random moment in the time that `move` gave, so that many clients do not come as one (MOVE-1)."""
        by = connection.move_by or 0.0
        return self._random() * _MOVE_SHARE * max(0.0, by - self._clock.time())

    def _count_uptime(self, connection: Connection) -> None:
        if self._backoff.lost(self._clock.time() - connection.since):
            self._refused_token = None

    def _delay_after_loss(self, connection: Connection, end: ConnectionClosed) -> float:
        self._count_uptime(connection)
        delay = self._next_delay(end)
        self._set_state("connecting")
        log.info("Connection lost: %s; connecting again in %.1f s", end, delay)
        return delay

    def _next_delay(self, end: ConnectionClosed) -> float:
        """The seconds to wait after this end.

        Raises:
            ConnectionClosed: it was final.
        """
        if end.code == CloseCode.UNAUTHENTICATED and self._tokens.renewable and self._refused_token is None:
            self._refused_token = self._tokens.last or ""
            return 0.0
        # While moving there are two connections, of which the first is about to go.
        too_many_for_now = end.code == CloseCode.TOO_MANY_CONNECTIONS and self.current is not None
        if end.final and not too_many_for_now:
            raise end
        return max(self._backoff.next(), end.retry_after or 0.0)

    async def _attempt(self) -> Connection:
        try:
            token = await self._tokens.fetch()
        except Refused as exc:
            raise ConnectionClosed(
                ABNORMAL, f"No token: {exc.message}", final=not exc.retry, retry_after=exc.retry_after
            ) from exc
        except Exception as exc:
            log.warning("Fetching a token failed", exc_info=True)
            raise ConnectionClosed(ABNORMAL, f"No token: {exc!r}.") from exc
        if self._refused_token is not None and token == self._refused_token:
            raise ConnectionClosed(CloseCode.UNAUTHENTICATED, "The server turned the token down; there is no other.")
        connection = Connection(await self._reach(), self._codec, self._clock, self._receive, self._lost)
        positions = self._owner.positions(token)
        connection.resumed = set(positions)
        connect = Connect(id=self._owner.next_id(), token=token, client=self._info, resume=positions or None)
        try:
            await within(self._clock, _ATTEMPT_SECONDS, connection.open(connect))
        except TimeoutError:
            if connection.connected is not None:
                # The answer came in the same moment, and the connection is in use already.
                return connection
            end = ConnectionClosed(ABNORMAL, f"{self._url} did not answer `connect` within {_ATTEMPT_SECONDS:g} s.")
            connection.abort(end)
            raise end from None
        except asyncio.CancelledError:
            connection.abort(ConnectionClosed(CloseCode.NORMAL))
            raise
        return connection

    async def _reach(self) -> Transport:
        reaching = asyncio.ensure_future(self._connector(self._url, self._codec))
        try:
            return await within(self._clock, _ATTEMPT_SECONDS, reaching)
        except TimeoutError:
            raise ConnectionClosed(ABNORMAL, f"{self._url} did not answer within {_ATTEMPT_SECONDS:g} s.") from None
        except asyncio.CancelledError:
            if reaching.done() and not reaching.cancelled() and reaching.exception() is None:
                # It opened in the very moment in which nobody wanted it any more.
                reaching.result().abort()
            raise

    def _receive(self, connection: Connection, frame: ServerFrame) -> None:
        if isinstance(frame, Connected):
            self._adopt(connection)
        else:
            self._owner.received(connection, frame)
        self.review()

    def _adopt(self, connection: Connection) -> None:
        before, self.current = self.current, connection
        self._owner.opened(connection)
        if before is not None:
            self._leaving.append(before)
            by = before.move_by
            if by is not None:
                self._clock.call_later(max(0.0, by - self._clock.time()), lambda: self._leave(before))
        self._set_state("connected")
        self.settled.set()

    def _leave(self, connection: Connection) -> None:
        if connection in self._leaving:
            self._leaving.remove(connection)
            task = asyncio.create_task(connection.close())
            self._closing[task] = connection
            task.add_done_callback(self._closing.pop)

    def _lost(self, connection: Connection, end: ConnectionClosed) -> None:
        if connection in self._leaving:
            self._leaving.remove(connection)
        if connection is self.current:
            self.current = None
            if connection.move_by is not None and self.end is None:
                # Another is being opened already; otherwise the end decides what comes next.
                self._set_state("connecting")
        self._owner.lost(connection)

    def _finish(self, reason: ConnectionClosed) -> None:
        if self.end is None:
            self.end = reason
            self._set_state("disconnected")
            self._owner.ended(reason)
            self.settled.set()
            self.closed.set()

    def _set_state(self, state: ClientState) -> None:
        if state != self.state:
            self.state = state
            self._owner.changed(state)
