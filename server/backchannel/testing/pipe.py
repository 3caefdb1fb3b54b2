"""A connection in process: the server's end is a door's transport, the client's end a client's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from backchannel_client import ConnectionClosed
from backchannel_client.transport import ABNORMAL
from backchannel_protocol import CloseCode, Codec

from ..gateway.framing import payloads
from ..gateway.gateway import Gateway
from ..gateway.transport import Connection
from ..gateway.websocket import CLOSE_TIMEOUT, high_mark
from ..telemetry.logs import get_logger
from .way import End, Way

__all__ = ["Pipe"]

_log = get_logger(__name__)

# Seconds that a client waits for the answer to its close frame, as over a real WebSocket.
_GOODBYE = 2.0


class Pipe:
    """Both ends, and the ways between them."""

    def __init__(self, latency: Callable[[], float], forget: Callable[[Pipe], None]) -> None:
        """`latency` tells the seconds of one way; `forget` is called when both ends are gone."""
        self.to_client = Way(self._at_client, latency)
        self.to_server = Way(self._at_server, latency)
        self.server = ServerEnd(self)
        self.client = ClientEnd(self)
        self._forget = forget

    def _at_client(self, items: Sequence[bytes | End]) -> None:
        self.client.arrived(items)
        self.server.drained()

    def _at_server(self, items: Sequence[bytes | End]) -> None:
        self.server.arrived(items)

    def hold(self, to_client: bool, to_server: bool) -> None:
        """Hold back what goes to the client, and what goes to the server."""
        self.to_client.hold(to_client)
        self.to_server.hold(to_server)

    def cut(self) -> None:
        """Lose the connection: both ends see it at once, and what is on the way never arrives."""
        self.to_client.drop()
        self.to_server.drop()
        self.server.broken()
        self.client.ended(End(None))

    def review(self) -> None:
        """Forget the pipe if both ends are done with it."""
        if self.server.gone and self.client.end is not None:
            self._forget(self)


class ServerEnd:
    """`backchannel.gateway.transport.Transport`, with the framing taken off."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._codec: Codec | None = None
        self._closing = False
        self._slow = False
        self._high = 0
        self._frame_limit = 0
        self._deadline: asyncio.TimerHandle | None = None
        self.gone = False
        """Whether the connection was told that it is lost."""

    def open(self, gateway: Gateway, codec: Codec, address: str, token: str | None) -> None:
        """Do what a door does when a handshake is complete.

        Raises:
            Refused: the gateway takes no connection.
        """
        self._codec = codec
        self._high = high_mark(gateway)
        self._frame_limit = gateway.frame_limit
        self._connection = gateway.accept(self, codec, address, token)

    # Transport

    def write(self, data: bytes) -> None:
        """Send framed messages."""
        if self._closing or self.gone:
            return
        for payload in payloads(data):
            self._pipe.to_client.send(payload)
        if not self._slow and self.queued() > self._high and self._connection is not None:
            self._slow = True
            self._connection.paused()

    def queued(self) -> int:
        """Bytes that a client that reads would have; on a way that is free the kernel takes everything."""
        way = self._pipe.to_client
        return way.size if way.held else 0

    def close(self, code: int, reason: str) -> None:
        """Close, behind what was written."""
        if self._closing or self.gone:
            return
        self._closing = True
        self._pipe.to_client.send(End(code, reason))
        self._deadline = self._loop.call_later(CLOSE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Drop the connection."""
        if not self.gone:
            self._pipe.to_client.drop()
            self._pipe.to_client.send(End(None))
            self.broken()

    # The pipe

    def broken(self) -> None:
        """The connection is gone; the gateway hears it in the next tick, as from a real transport."""
        self._closing = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._loop.call_soon(self._lost)

    def _lost(self) -> None:
        if self.gone:
            return
        self.gone = True
        if self._connection is not None:
            self._connection.lost()
        self._pipe.review()

    def drained(self) -> None:
        """The client has read something."""
        if self._slow and self.queued() <= self._high // 4 and self._connection is not None and not self.gone:
            self._slow = False
            self._connection.resumed()

    def arrived(self, items: Sequence[bytes | End]) -> None:
        """What one read brings."""
        connection = self._connection
        if connection is None or self.gone:
            return
        try:
            for item in items:
                if isinstance(item, End):
                    self._peer_ended(connection, item)
                elif not self._closing:
                    self._receive(connection, item)
            if not self._closing:
                connection.flush()
        except Exception as exc:
            # As at the real doors: a bug costs this connection, not the server.
            _log.error("a message could not be handled", exc_info=exc)
            self.close(CloseCode.INTERNAL, "The server failed.")

    def _receive(self, connection: Connection, message: bytes) -> None:
        assert self._codec is not None
        if len(message) > self._frame_limit:
            self.close(CloseCode.TOO_BIG, f"A message is larger than {self._frame_limit} bytes.")
            return
        if not self._codec.binary:
            try:
                message.decode()
            except UnicodeDecodeError:
                self.close(CloseCode.INVALID_TEXT, "A text message is not UTF-8.")
                return
        connection.receive(message)

    def _peer_ended(self, connection: Connection, end: End) -> None:
        if not self._closing:
            # What came before it is answered before it.
            connection.flush()
            self._pipe.to_client.send(end)
        self.broken()


class ClientEnd:
    """`backchannel_client.Transport`."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._closing = False
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self.end: ConnectionClosed | None = None

    async def send(self, message: bytes) -> None:
        """Send one message. Raises `ConnectionClosed` once the connection has ended."""
        if self.end is not None:
            raise self.end
        self._pipe.to_server.send(message)

    async def receive(self) -> bytes:
        """The next message. Cancelling loses none. Raises `ConnectionClosed` behind the last one."""
        while not self._inbox:
            if self.end is not None:
                raise self.end
            self._news.clear()
            await self._news.wait()
        return self._inbox.popleft()

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and end; it takes two seconds at most."""
        if self.end is not None or self._closing:
            return
        self._closing = True
        self._pipe.to_server.send(End(code, reason))
        try:
            await asyncio.wait([self._answered], timeout=_GOODBYE)
        finally:
            self.abort()

    def abort(self) -> None:
        """End at once, without a goodbye."""
        if self.end is None:
            self._pipe.to_server.send(End(None))
            self.ended(End(None))

    def arrived(self, items: Sequence[bytes | End]) -> None:
        """What comes from the server."""
        for item in items:
            if isinstance(item, End):
                if item.code is not None and not self._closing:
                    self._pipe.to_server.send(item)
                self.ended(item)
            elif self.end is None:
                self._inbox.append(item)
        self._news.set()

    def ended(self, end: End) -> None:
        """Nothing comes any more."""
        if self.end is not None:
            return
        if end.code is None:
            self.end = ConnectionClosed(ABNORMAL, "The connection broke off.")
        else:
            self.end = ConnectionClosed(end.code, end.reason)
        if not self._answered.done():
            self._answered.set_result(None)
        self._news.set()
        self._pipe.review()
