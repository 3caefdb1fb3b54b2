"""Who speaks on a new connection: HTTP or a WebSocket, decided at the first read.

uvicorn's way to a WebSocket parses the request, writes it out again and parses it again, for twice the CPU per
handshake. Here a first read that is a WebSocket's request goes to the WebSocket door as it came, and everything else to
uvicorn's HTTP protocol, untouched. A request that comes in pieces, or behind another one on a kept connection, takes
uvicorn's way and ends at the same door.

This file, and only this file, uses what uvicorn does not document: uvicorn is pinned to one minor version, and a
contract test checks each name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, MutableSet
from functools import partial
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from backchannel_protocol import Refused

from .handshake import MAX_HEADERS, WEBSOCKET_PATH
from .problem import Problem, problem_of, response_bytes
from .websocket import Door, WebSocketProtocol, late_request

__all__ = ["MAX_HTTP_HEAD", "BoundedHttpProtocol", "http_protocol"]

MAX_HTTP_HEAD: Final = 32 * 1024
"""Bytes in the request line and headers of an HTTP request: room for the largest token, and as much again."""

_WEBSOCKET: Final = re.compile(
    rb"GET %b(?:\?[!-~]*)? HTTP/1\.1(?=(?:\r\n[^\r\n]+)*?\r\n(?i:upgrade):[ \t]*(?i:websocket)[ \t]*\r\n)"
    % re.escape(WEBSOCKET_PATH.encode())
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with bounds on the head of a request and problems for what cannot be parsed."""

    def __init__(
        self,
        door: Door,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._in_head = True
        self._head_size = 0
        door.heads.add(self)
        self._refusal: Problem | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.heads.discard(self)
        self._door.closing.discard(self.transport)
        # The timer would hold the whole request for as long as it runs, also when the peer reset the connection.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        if self._in_head and self._head_size > MAX_HTTP_HEAD and not self.transport.is_closing():
            self._refuse_head()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_size = 0
        self._door.heads.add(self)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        self._door.heads.discard(self)
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HTTP_HEAD or len(self.headers) > MAX_HEADERS:
            self._refuse_head()
            # Anything raised here ends the parser, whose error uvicorn answers with `send_400_response`.
            raise ValueError("head too large")
        super().on_headers_complete()

    def _refuse_head(self) -> None:
        self._refusal = problem_of(
            Refused(
                "too_large",
                f"The request's head is larger than {MAX_HTTP_HEAD} bytes or {MAX_HEADERS} headers; send less.",
            ),
            431,
        )

    def send_400_response(self, msg: str) -> None:
        problem = self._refusal
        if problem is None:
            problem = self._refusal = problem_of(Refused("invalid", "This is not an HTTP request; see RFC 9112."))
        self._door.heads.discard(self)
        if not self.transport.is_closing():
            self.transport.write(response_bytes(problem))
            self._door.hang_up(self.transport)

    def late(self) -> None:
        """Refuse a request whose head did not come in time, once the one before it is answered."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._door.heads.add(self)
            return
        self._refusal = problem_of(late_request(), 408)
        self.send_400_response("")

    def handle_websocket_upgrade(self) -> None:
        self.connections.discard(self)
        version = self.parser.get_http_version().encode()
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.scope["headers"]:
            head += [name, b": ", value, b"\r\n"]
        head.append(b"\r\n")
        _hand_over(self.transport, WebSocketProtocol(self._door, cast(Any, self.connections)), b"".join(head))


class _FirstRead(WebSocketProtocol):
    """A WebSocket, unless the first bytes of the connection say otherwise: then it is uvicorn's."""

    __slots__ = ("_http",)

    def __init__(self, door: Door, peers: MutableSet[Any], http: Callable[[], asyncio.Protocol]) -> None:
        """`http` makes who takes over what is no WebSocket's."""
        super().__init__(door, peers)
        self._http: Callable[[], asyncio.Protocol] | None = http

    def late(self) -> None:
        if self._http is None:
            super().late()
        else:
            # A client that asked nothing is told nothing.
            self._transport.close()

    def _handshake(self, data: bytes) -> None:
        http, self._http = self._http, None
        if http is None or _WEBSOCKET.match(data) is not None:
            super()._handshake(data)
        else:
            self._peers.discard(self)
            self._door.heads.discard(self)
            _hand_over(self._transport, http(), data)


def _hand_over(transport: asyncio.Transport, protocol: asyncio.Protocol, data: bytes) -> None:
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    protocol.data_received(data)


def http_protocol(door: Door) -> type[asyncio.Protocol]:
    """The class to give to `uvicorn.Config(http=…)`."""

    class UpgradeSniffer(_FirstRead):
        __slots__ = ()

        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(
                door,
                cast(Any, server_state.connections),
                partial(BoundedHttpProtocol, door, config, server_state, app_state, _loop),
            )

    return UpgradeSniffer
