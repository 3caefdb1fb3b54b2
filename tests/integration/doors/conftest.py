"""Real servers behind each door, a gateway that echoes, and raw sockets to talk to them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.frames import Frame, Opcode

from backchannel.gateway.framing import BINARY, TEXT, frame
from backchannel.gateway.routes import websocket_routes
from backchannel.gateway.transport import Transport
from backchannel.gateway.upgrade import http_protocol
from backchannel.gateway.websocket import Door, websocket_protocol
from backchannel_protocol import Codec, Refused

TIMEOUT = 10
HEADERS = (
    b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


class EchoConnection:
    """Sends every message back, or does what it says."""

    def __init__(self, transport: Transport, codec: Codec) -> None:
        self.transport = transport
        self.opcode = BINARY if codec.binary else TEXT
        self.out: list[bytes] = []
        self.happened: dict[str, int] = {}
        self.something = threading.Condition()

    def happens(self, event: str, value: int = 0) -> None:
        with self.something:
            self.happened[event] = value
            self.something.notify_all()

    def wait_for(self, event: str) -> int:
        """Wait until this has happened to the connection; gives what was told with it, and forgets it."""
        with self.something:
            assert self.something.wait_for(lambda: event in self.happened, TIMEOUT), event
            return self.happened.pop(event)

    def receive(self, message: bytes) -> None:
        word, _, rest = message.partition(b" ")
        if word == b"close":
            self.flush()
            self.transport.close(int(rest), "as you wish")
        elif word == b"abort":
            self.transport.abort()
        elif word == b"fail":
            raise RuntimeError("a bug behind the door")
        elif word == b"flood":
            for _ in range(int(rest)):
                self.transport.write(frame(b"x" * 60_000, self.opcode))
            self.happens("queued", self.transport.queued())
        else:
            self.out.append(frame(message, self.opcode))

    def flush(self) -> None:
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()

    def paused(self) -> None:
        self.happens("paused")

    def resumed(self) -> None:
        self.happens("resumed")

    def lost(self) -> None:
        # Nothing raises on a transport that is gone, and nothing is queued for it.
        self.transport.write(frame(b"too late"))
        self.transport.close(1000, "too late")
        self.happens("lost", self.transport.queued())


class EchoGateway:
    """A gateway whose connections echo."""

    frame_limit = 65_536
    max_queued = 1024 * 1024

    def __init__(self) -> None:
        self.accepted: list[tuple[Codec, str]] = []
        self.connections: list[EchoConnection] = []
        self.refuse: Refused | None = None
        self.greeting: bytes | None = None

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return origin is None or origin == f"http://{host}"

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> EchoConnection:
        if self.refuse is not None:
            raise self.refuse
        self.accepted.append((codec, address))
        connection = EchoConnection(transport, codec)
        self.connections.append(connection)
        if self.greeting is not None:
            transport.write(frame(self.greeting, connection.opcode))
        return connection

    @property
    def latest(self) -> EchoConnection:
        """The connection that was accepted last."""
        return self.connections[-1]


class Message(NamedTuple):
    """One frame from the server."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        """The code of a close frame."""
        assert self.opcode == Opcode.CLOSE, self
        return cast(int, struct.unpack("!H", self.payload[:2])[0])


class RawClient:
    """A socket that speaks WebSocket only as far as a test wants it to."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = b""

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_frame(self, payload: bytes, opcode: int = 1, *, fin: bool = True) -> None:
        """Send a frame as a client must."""
        self.send(Frame(Opcode(opcode), payload, fin).serialize(mask=True))

    def _fill(self) -> None:
        more = self.socket.recv(65_536)
        if not more:
            raise EOFError(self.buffer)
        self.buffer += more

    def exactly(self, size: int) -> bytes:
        """The next bytes."""
        while len(self.buffer) < size:
            self._fill()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """An HTTP answer: status, headers by lower-case name, body."""
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        body = self.exactly(int(headers.get("content-length", 0)))
        return int(lines[0].split()[1]), headers, body

    def open(self, more: bytes = b"") -> dict[str, str]:
        """Open a WebSocket; the headers of the answer."""
        self.send(b"GET /ws HTTP/1.1\r\n" + HEADERS + more + b"\r\n")
        status, headers, body = self.response()
        assert status == 101, (status, body)
        return headers

    def message(self) -> Message:
        """The next frame, which a server must not mask."""
        first, size = self.exactly(2)
        assert size < 0x80
        if size == 126:
            (size,) = struct.unpack("!H", self.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.exactly(8))
        return Message(first & 0x0F, self.exactly(size))

    def echo(self, payload: bytes, opcode: int = 1) -> None:
        """One message there and back."""
        self.send_frame(payload, opcode)
        assert self.message() == (opcode, payload)

    def ended(self) -> bool:
        """Wait until the server has ended the connection, in order (True) or by a reset (False)."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionResetError:
            return False
        return True


class Server(NamedTuple):
    """A running server."""

    kind: str
    port: int
    gateway: EchoGateway
    door: Door
    uvicorn: uvicorn.Server

    @contextmanager
    def client(self, receive_buffer: int = 0) -> Iterator[RawClient]:
        """A fresh connection."""
        client = RawClient(self.port, receive_buffer)
        try:
            yield client
        finally:
            client.socket.close()

    def serves_others(self) -> None:
        """Whatever happened to one connection, the next one is served."""
        with self.client() as other:
            other.open()
            other.echo(b"still there")


DoorKind = Literal["sniffed", "uvicorn", "asgi"]


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextmanager
def running(
    kind: DoorKind, loop: str, app: Any = None, *, close_timeout: float = 5.0, head_timeout: float = 10.0,
    trusted_proxies: tuple[str, ...] = (),
) -> Iterator[Server]:  # fmt: skip
    """A server on a port of its own, in a thread of its own."""
    gateway = EchoGateway()
    door = Door(gateway, close_timeout=close_timeout, head_timeout=head_timeout, trusted_proxies=trusted_proxies)
    own: dict[str, Any] = {"ws": websocket_protocol(door)} if kind != "asgi" else {"ws": "websockets-sansio"}
    if kind == "sniffed":
        own["http"] = http_protocol(door)
    else:
        own["http"] = "httptools"
    config = uvicorn.Config(
        app or Starlette(routes=websocket_routes(gateway)),
        host="127.0.0.1",
        port=0,
        loop=loop,
        lifespan="off",
        log_config=None,
        access_log=False,
        ws_max_size=gateway.frame_limit,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        timeout_graceful_shutdown=2,
        **own,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, name=f"server-{kind}-{loop}")
    thread.start()
    try:
        assert server.up.wait(TIMEOUT)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Server(kind, port, gateway, door, server)
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def run_server() -> Callable[..., Any]:
    """Starts a server of a test's own: `with run_server("sniffed", "uvloop") as server`."""
    return running


def _named(param: tuple[str, str]) -> str:
    return "-".join(param)


@pytest.fixture(
    scope="module",
    params=[("sniffed", "uvloop"), ("sniffed", "asyncio"), ("uvicorn", "uvloop"), ("uvicorn", "asyncio")],
    ids=_named,
)
def own_door(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose WebSockets are framed by our own door."""
    kind, loop = request.param
    with running(kind, loop) as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[("sniffed", "uvloop"), ("uvicorn", "asyncio"), ("asgi", "uvloop"), ("asgi", "asyncio")],
    ids=_named,
)
def any_door(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server behind any of the doors."""
    kind, loop = request.param
    with running(kind, loop) as server:
        yield server
