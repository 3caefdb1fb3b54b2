"""The WebSocket door: RFC 6455 on an asyncio transport, without a task, queue or timer per connection.

The protocol is a `Transport` for the gateway's connection and an `asyncio.Protocol` for the loop, nothing between. It
is given to uvicorn as `Config(ws=…)` (`websocket_protocol`), handed connections at their first read by `upgrade.py`,
or served by `loop.create_server` alone. permessage-deflate (`deflate.py`) is agreed where the operator allows it, and
never with context takeover, which would cost memory per connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, MutableSet
from typing import Any, Final, Protocol, cast

from backchannel_protocol import CloseCode, Refused

from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .borrowed_socket import BorrowedSocket, borrow
from .deadlines import Deadlines
from .deflate import agree, inflate
from .forwarded import TrustedProxies
from .framing import (
    BINARY,
    PING,
    PONG,
    TEXT,
    FrameReader,
    FramingError,
    ReaderState,
    close_code_of,
    close_frame,
    frame,
)
from .framing import CLOSE as CLOSE_OPCODE
from .handshake import HandshakeRefused, accept_response, check_origin, end_of_head, parse_head
from .problem import problem_of, response_bytes
from .transport import Connection, Gateway

__all__ = [
    "CLOSE_TIMEOUT",
    "HEAD_TIMEOUT",
    "AwaitsHead",
    "Door",
    "WebSocketProtocol",
    "high_mark",
    "late_request",
    "websocket_protocol",
]

_log: Final = get_logger(__name__)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a peer has to answer a close frame, or to read what was sent before it."""
HEAD_TIMEOUT: Final = 10.0
"""Seconds that a client has from its first byte, or from connecting, until the head of its request is there."""
_HIGH: Final = 64 * 1024


def high_mark(gateway: Gateway) -> int:
    """Bytes in a connection's buffer above which it counts as slow. It is asked to go on at a quarter of that."""
    return min(_HIGH, gateway.max_queued // 2)


class Door:
    """What all connections that come through one door share."""

    __slots__ = ("close_timeout", "closing", "compression", "gateway", "head_timeout", "heads", "proxies")

    def __init__(
        self,
        gateway: Gateway,
        *,
        trusted_proxies: Iterable[str] = (),
        compression: int = 0,
        close_timeout: float = CLOSE_TIMEOUT,
        head_timeout: float = HEAD_TIMEOUT,
    ) -> None:
        """
        Args:
            gateway: who takes the connections.
            trusted_proxies: addresses and networks whose `X-Forwarded-For` is believed.
            compression: bytes from which messages to clients that offer compression are compressed; 0: none is agreed.
            close_timeout: seconds until a peer that does not answer a close is aborted.
            head_timeout: seconds until a client that has not finished its request's head is cut off.

        Raises:
            ValueError: a trusted proxy is neither an address nor a network.
        """
        self.gateway = gateway
        self.proxies = TrustedProxies(trusted_proxies)
        self.compression = compression
        self.close_timeout = close_timeout
        self.head_timeout = head_timeout
        self.closing: Deadlines[asyncio.BaseTransport] = Deadlines(close_timeout, _abort)
        """Transports that end; whoever is left at the deadline is aborted."""
        self.heads: Deadlines[AwaitsHead] = Deadlines(head_timeout, _call_late)
        """Protocols whose request has not fully come."""

    def hang_up(self, transport: asyncio.Transport) -> None:
        """End a transport behind what was written, where the peer may still be sending.

        Closing a socket while bytes that the peer sent are unread resets the connection, which may destroy our last
        words on their way. So our side ends first, what still comes is dropped, and the deadline bounds the rest.
        """
        self.closing.add(transport)
        if transport.is_closing():
            return
        if not transport.can_write_eof():
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # the peer was faster
            transport.abort()


class AwaitsHead(Hashable, Protocol):
    """A protocol that waits for the head of a request."""

    def late(self) -> None:
        """The head did not come in time: say so and end."""


def late_request() -> Refused:
    """What a client is told whose request does not come."""
    return Refused("invalid", "The request's head did not come in time; send it at once.")


def _abort(transport: asyncio.BaseTransport) -> None:
    cast(asyncio.Transport, transport).abort()


def _call_late(protocol: AwaitsHead) -> None:
    protocol.late()


# Where a protocol stands, in this order. Plain integers: an enum's member costs three times as much to look up, and
# `write` is called for every listener of every event.
_HANDSHAKE: Final = 0
_OPEN: Final = 1
_CLOSING: Final = 2
"""A close frame was sent; the peer's is awaited."""
_ENDED: Final = 3
"""Nothing is sent any more, and what comes in is dropped."""


class WebSocketProtocol(asyncio.Protocol):
    """One WebSocket, from its request's first byte to its end."""

    __slots__ = (
        "_borrowed",
        "_buffered",
        "_connection",
        "_door",
        "_out",
        "_peers",
        "_pong",
        "_reader",
        "_rest",
        "_state",
        "_transport",
    )

    _transport: asyncio.Transport

    def __init__(self, door: Door, peers: MutableSet[Any]) -> None:
        """
        Args:
            door: what it shares with the others.
            peers: a set that holds this protocol while its transport lives; uvicorn shuts down what is in its own.
        """
        self._door = door
        self._peers = peers
        self._state = _HANDSHAKE
        self._connection: Connection | None = None
        self._reader: FrameReader | None = None
        # What is written during a read, to leave in one piece; None outside of reads.
        self._out: list[bytes] | None = None
        self._pong: bytes | None = None
        self._rest = b""
        # To write past the transport, while it has its socket.
        self._borrowed: BorrowedSocket | None = None
        # Whether the transport holds something that must leave before what is written next.
        self._buffered = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peers.add(self)
        self._door.heads.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.discard(self)
        self._door.heads.discard(self)
        self._door.closing.discard(self._transport)
        self._borrowed = None
        self._end()
        connection, self._connection = self._connection, None
        self._pong = None
        if connection is not None:
            connection.lost()

    def eof_received(self) -> None:
        # The transport closes itself behind this, once what was written has left: for which it gets as long as a close.
        self._end()
        self._door.closing.add(self._transport)

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.paused()

    def resume_writing(self) -> None:
        if self._pong is not None:
            pong, self._pong = self._pong, None
            self.write(pong)
        if self._connection is not None:
            self._connection.resumed()

    def data_received(self, data: bytes) -> None:
        connection, reader = self._connection, self._reader
        if connection is None or reader is None:
            if self._state == _HANDSHAKE:
                self._handshake(data)
            return
        if self._state == _ENDED:
            return
        out: list[bytes] = []
        self._out = out
        failure: FramingError | None = None
        try:
            try:
                reader.feed(data, connection.receive, self._control)
            except FramingError as exc:
                metrics.frames_malformed += 1
                failure = exc
            if self._state == _OPEN:
                connection.flush()
        except Exception:
            # A bug behind the door costs this connection, not the server.
            _log.exception("A message could not be handled")
            failure = FramingError(CloseCode.INTERNAL, "The server failed.")
        if failure is not None:
            self._close_myself(failure.code, failure.reason)
            self._end()
        self._out = None
        if out:
            self._send(out[0] if len(out) == 1 else b"".join(out))
        if failure is not None:
            self._door.hang_up(self._transport)
        elif self._state == _ENDED:
            self._transport.close()

    # uvicorn

    def shutdown(self) -> None:
        """End the connection because the server stops; uvicorn calls it for whatever is left then."""
        if self._state == _HANDSHAKE:
            self._end()
            self._transport.close()
        else:
            self._close_myself(CloseCode.GOING_AWAY, "The server stops.")

    # Door

    def late(self) -> None:
        """Refuse a request whose head did not come in time."""
        self._refuse(late_request(), 408, "late", {})
        out, self._out = self._out, None
        self._send(b"".join(out or ()))
        self._door.hang_up(self._transport)

    # Transport

    def write(self, data: bytes) -> None:
        if self._state > _OPEN:
            return
        if self._out is not None:
            self._out.append(data)
        else:
            self._send(data)

    def queued(self) -> int:
        if self._state == _ENDED:
            return 0
        waiting = sum(map(len, self._out)) if self._out else 0
        try:
            return waiting + self._transport.get_write_buffer_size()
        except RuntimeError:  # as in `_send`
            return 0

    def close(self, code: int, reason: str) -> None:
        if self._state > _OPEN:
            return
        self.write(close_frame(code, reason))
        self._state = _CLOSING
        if self._reader is not None:
            self._reader.state = ReaderState.CLOSING
        self._door.closing.add(self._transport)

    def abort(self) -> None:
        self._end()
        if self._out is not None:
            self._out.clear()
        self._transport.abort()

    # Inside

    def _send(self, data: bytes) -> None:
        """Give it to the kernel at once; what that does not take, the transport sends when it can.

        uvloop's own `write` costs 1.2 µs more, a fifth of what the kernel takes for one listener's event. The order
        holds, since nothing passes the transport while it has something left.
        """
        metrics.bytes_out += len(data)
        if self._borrowed is not None and not (self._buffered and self._waits()):
            try:
                sent = self._borrowed.send(data)
            except OSError:  # it takes nothing now, or it is broken, which the transport finds as well
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
            self._buffered = True
        try:
            self._transport.write(data)
        except RuntimeError:
            # uvloop's way to say that the transport closed under our hands; connection_lost is on its way.
            self._end()

    def _waits(self) -> bool:
        """Whether the transport still holds something."""
        try:
            self._buffered = self._transport.get_write_buffer_size() > 0
        except RuntimeError:  # as in `_send`
            self._buffered = False
        return self._buffered

    def _end(self) -> None:
        self._state = _ENDED
        self._rest = b""
        if self._reader is not None:
            self._reader.state = ReaderState.DONE

    def _close_myself(self, code: CloseCode, reason: str) -> None:
        """Close for a reason that the connection does not know of, so that it is counted here."""
        if self._state == _OPEN:
            metrics.closes[str(int(code))] += 1
        self.close(code, reason)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._answer_ping(payload)
        elif opcode == CLOSE_OPCODE:
            code = close_code_of(payload)
            if self._state == _OPEN:
                # What came before it is answered before it.
                if self._connection is not None:
                    self._connection.flush()
                self.write(close_frame(code) if code is not None else frame(b"", CLOSE_OPCODE))
            self._end()
            self._door.closing.add(self._transport)

    def _answer_ping(self, payload: bytes) -> None:
        pong = frame(payload, PONG)
        if self.queued() > high_mark(self._door.gateway):
            # Somebody who sends pings and reads no pongs gets the newest only (section 5.5.3).
            self._pong = pong
        else:
            self.write(pong)

    def _handshake(self, data: bytes) -> None:
        data = self._rest + data
        self._out = []
        try:
            end = end_of_head(data)
            if end < 0:
                self._rest = data
                self._out = None
                return
            self._open(data[:end])
        except HandshakeRefused as exc:
            self._refuse(exc.refused, exc.status, exc.reason, exc.headers)
        except Refused as exc:
            self._refuse(exc, None, exc.code, {})
        except Exception:
            _log.exception("A handshake could not be answered")
            failed = Refused("internal", "The server failed; its log has the reason.", outcome="none")
            self._refuse(failed, None, "internal", {})
        self._rest = b""
        out, self._out = self._out, None
        if out:
            self._send(b"".join(out))
        if self._state == _ENDED:
            self._door.hang_up(self._transport)
        elif len(data) > end:
            self.data_received(data[end:])

    def _open(self, head: bytes) -> None:
        handshake = parse_head(head)
        door = self._door
        gateway = door.gateway
        check_origin(gateway, handshake.origin, handshake.host)
        peer = self._transport.get_extra_info("peername")
        address = door.proxies.client(peer[0] if isinstance(peer, tuple) else "", handshake.forwarded)
        agreed = agree(handshake.extensions) if door.compression else None
        self.write(accept_response(handshake, agreed))
        codec = handshake.codec
        compress_from = door.compression if agreed else 0
        self._connection = gateway.accept(self, codec, address, handshake.token, compress_from)
        self._reader = FrameReader(BINARY if codec.binary else TEXT, gateway.frame_limit, inflate if agreed else None)
        if self._state == _HANDSHAKE:
            self._state = _OPEN
        elif self._state == _CLOSING:
            self._reader.state = ReaderState.CLOSING
        door.heads.discard(self)
        high = high_mark(gateway)
        self._transport.set_write_buffer_limits(high=high, low=high // 4)
        self._borrowed = borrow(self._transport)
        self._buffered = True  # by whoever had the transport before, for all that is known

    def _refuse(self, refused: Refused, status: int | None, reason: str, headers: dict[str, str]) -> None:
        metrics.handshakes_refused[reason] += 1
        self._door.heads.discard(self)
        self._out = [response_bytes(problem_of(refused, status), headers)]
        self._end()


def websocket_protocol(door: Door) -> type[asyncio.Protocol]:
    """The class to give to `uvicorn.Config(ws=…)`."""

    class UvicornWebSocketProtocol(WebSocketProtocol):
        __slots__ = ()

        def __init__(
            self,
            config: Any,
            server_state: Any,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(door, server_state.connections)

    return UvicornWebSocketProtocol
