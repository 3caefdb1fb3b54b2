"""The same connections over plain ASGI: any server, through Starlette's WebSocket.

The server does the framing, so what the gateway framed is split into messages again, and a task per connection sends
them: slower and heavier than `websocket.py`, and otherwise the same to both sides. Give the server the frame limit as
its own (`ws_max_size`), since it buffers a message before it hands it over; compression is its business as well. ASGI
knows no abort: where a peer neither reads nor leaves, the server's own timeouts free its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from backchannel_protocol import CloseCode, Codec, Refused

from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .framing import payloads
from .handshake import HandshakeRefused, bearer_token, check_origin, choose_codec
from .problem import problem_response
from .transport import Connection, Gateway
from .websocket import CLOSE_TIMEOUT, high_mark

__all__ = ["asgi_websocket_endpoint"]

_log: Final = get_logger(__name__)


def asgi_websocket_endpoint(
    gateway: Gateway, *, close_timeout: float = CLOSE_TIMEOUT
) -> Callable[[WebSocket], Coroutine[Any, Any, None]]:
    """The endpoint for a `starlette.routing.WebSocketRoute`.

    Args:
        gateway: who takes the connections.
        close_timeout: seconds until a peer that does not answer a close is given up.
    """

    async def endpoint(websocket: WebSocket) -> None:
        try:
            codec, subprotocol, transport, connection = _accept(gateway, websocket, close_timeout)
        except HandshakeRefused as exc:
            metrics.handshakes_refused[exc.reason] += 1
            await _deny(websocket, exc.refused, exc.status, exc.headers)
            return
        except Refused as exc:
            metrics.handshakes_refused[exc.code] += 1
            await _deny(websocket, exc, None, {})
            return
        try:
            await websocket.accept(subprotocol)
            await transport.run(connection, codec)
        finally:
            transport.ended()
            connection.lost()

    return endpoint


def _accept(
    gateway: Gateway, websocket: WebSocket, close_timeout: float
) -> tuple[Codec, str | None, _AsgiTransport, Connection]:
    headers = websocket.headers
    offered: list[str] = websocket.scope.get("subprotocols", [])
    named = "sec-websocket-protocol" in headers or offered
    codec, subprotocol = choose_codec([token.encode("latin-1", "replace") for token in offered] if named else None)
    check_origin(gateway, headers.get("origin"), headers.get("host"))
    transport = _AsgiTransport(gateway, websocket, codec, close_timeout)
    client = websocket.client
    connection = gateway.accept(
        transport, codec, client.host if client is not None else "", bearer_token(headers.get("authorization", ""))
    )
    return codec, subprotocol, transport, connection


async def _deny(websocket: WebSocket, refused: Refused, status: int | None, headers: dict[str, str]) -> None:
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(problem_response(refused, status, headers))
    else:
        await websocket.close()


class _AsgiTransport:
    """A `Transport` that sends through the server, in order, from one task."""

    __slots__ = (
        "_close",
        "_close_timeout",
        "_closing",
        "_codec",
        "_connection",
        "_frame_limit",
        "_high",
        "_paused",
        "_queue",
        "_reader",
        "_size",
        "_timer",
        "_wake",
        "_websocket",
        "_writer",
    )

    def __init__(self, gateway: Gateway, websocket: WebSocket, codec: Codec, close_timeout: float) -> None:
        self._websocket = websocket
        self._codec = codec
        self._close_timeout = close_timeout
        self._frame_limit = gateway.frame_limit
        self._high = high_mark(gateway)
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._closing = False
        self._close: tuple[int, str] | None = None
        self._connection: Connection | None = None
        self._wake = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # Transport

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        for payload in payloads(data):
            self._queue.append(payload)
            self._size += len(payload)
        self._wake.set()
        if self._size > self._high and not self._paused and self._connection is not None:
            self._paused = True
            self._connection.paused()

    def queued(self) -> int:
        return self._size

    def close(self, code: int, reason: str) -> None:
        if self._closing:
            return
        self._closing = True
        self._close = (code, reason)
        self._wake.set()
        self._timer = asyncio.get_running_loop().call_later(self._close_timeout, self.abort)

    def abort(self) -> None:
        self._closing = True
        self._drop()
        for task in (self._reader, self._writer):
            if task is not None:
                task.cancel()

    # Inside

    async def run(self, connection: Connection, codec: Codec) -> None:
        """Carry messages both ways until either side ends it. Cancelling it drops the connection."""
        self._connection = connection
        if self._closing and self._close is None:
            return
        if self._size > self._high:
            self._paused = True
            connection.paused()
        self._writer = asyncio.create_task(self._write_out())
        self._reader = asyncio.create_task(self._read_in(connection, codec.binary))
        try:
            await asyncio.wait((self._reader,))
        finally:
            tasks = (self._reader, self._writer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def ended(self) -> None:
        """Nothing can be sent any more."""
        self._closing = True
        self._drop()
        if self._timer is not None:
            self._timer.cancel()

    def _drop(self) -> None:
        self._queue.clear()
        self._size = 0

    async def _write_out(self) -> None:
        queue, binary = self._queue, self._codec.binary
        try:
            while True:
                while queue:
                    payload = queue.popleft()
                    message: dict[str, Any] = {"type": "websocket.send"}
                    if binary:
                        message["bytes"] = payload
                    else:
                        message["text"] = payload.decode()
                    await self._websocket.send(message)
                    metrics.bytes_out += len(payload)
                    self._sent(len(payload))
                if self._close is not None:
                    code, reason = self._close
                    await self._websocket.close(int(code), reason)
                    return
                self._wake.clear()
                await self._wake.wait()
        except (WebSocketDisconnect, OSError, RuntimeError):
            # The server's ways to say that the peer is gone, or that it closed the connection itself.
            self.abort()

    def _sent(self, size: int) -> None:
        self._size = max(0, self._size - size)
        if self._paused and self._size <= self._high // 4 and not self._closing and self._connection is not None:
            self._paused = False
            self._connection.resumed()

    async def _read_in(self, connection: Connection, binary: bool) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._closing:
                continue
            payload = message.get("bytes") if binary else message.get("text")
            if payload is None:
                kind = "binary" if binary else "text"
                self._refuse(CloseCode.UNSUPPORTED_DATA, f"This subprotocol's frames are {kind} messages.")
                continue
            with contextlib.suppress(UnicodeEncodeError):
                payload = payload if binary else payload.encode()
            if isinstance(payload, str):
                self._refuse(CloseCode.INVALID_TEXT, "A text message is not UTF-8.")
            elif len(payload) > self._frame_limit:
                self._refuse(CloseCode.TOO_BIG, f"A message is larger than {self._frame_limit} bytes.")
            else:
                self._receive(connection, payload)

    def _receive(self, connection: Connection, payload: bytes) -> None:
        try:
            connection.receive(payload)
            if not self._closing:
                connection.flush()
        except Exception:
            # As in `WebSocketProtocol`: it costs this connection only.
            _log.exception("A message could not be handled")
            metrics.closes[str(int(CloseCode.INTERNAL))] += 1
            self.close(CloseCode.INTERNAL, "The server failed.")

    def _refuse(self, code: CloseCode, reason: str) -> None:
        metrics.frames_malformed += 1
        metrics.closes[str(int(code))] += 1
        self.close(code, reason)
