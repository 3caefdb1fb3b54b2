"""Counts that do not depend on the machine's mood, and fail when they grow; no time is measured here.

| what                                                            | where                                           |
|-----------------------------------------------------------------|-------------------------------------------------|
| socket writes, messages per write, encodings, verifications     | `test_writes.py`                                |
| tasks, timers and objects per idle connection, memory per event | `test_idle.py`                                  |
| commands of Redis per event and per call                        | `test_redis.py`                                 |
| statements of SQLite per batch                                  | `test_statements.py`                            |
| round trips to PostgreSQL per batch                             | `tests/integration/postgres/test_statements.py` |

Each file begins with a table of what it expects. They are taken with a socket that counts instead of sending, and an
app that does little by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from backchannel import App, Command, Context, Event, Namespace, Query
from backchannel.chat import app as chat
from backchannel.gateway.framing import payloads
from backchannel.gateway.websocket import Door, WebSocketProtocol
from backchannel.testing import Sandbox, VirtualLoop
from backchannel_protocol import JSON, MSGPACK

app = App("counts")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time is the sandbox's, but where Redis is counted."""
    return {"asyncio": asyncio.new_event_loop} if item.path.stem == "test_redis" else {"virtual": VirtualLoop}


@app.namespace("live")
class Live(Namespace):
    """A live channel that everybody may use."""

    kind = "live"
    history = 100
    clients_may_publish = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        """Everybody."""
        return True


@app.namespace("log")
class Log(Namespace):
    """A durable channel that everybody may hear."""

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True


@app.event("value.told")
class Told(Event):
    """A value."""

    value: int


@app.query("value.ask")
class Ask(Query[int]):
    """A query that reads nothing."""

    value: int


@app.handle(Ask)
async def ask(ctx: Context, request: Ask) -> int:
    """Answer with what was asked."""
    return request.value


@app.command("value.tell", lane="channel")
class Tell(Command[int]):
    """Publish so many events on a channel."""

    channel: str
    count: int = 1


@app.handle(Tell)
async def tell(ctx: Context, request: Tell) -> int:
    """Publish them."""
    for value in range(request.count):
        ctx.publish(request.channel, Told(value))
    return request.count


class Socket(asyncio.Transport):
    """A transport that keeps what is written, one entry per write, and has always sent it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Peer:
    """A client at the other end of a counted socket, through the server's own WebSocket protocol.

    Args:
        box: the installation.
        door: leads to its gateway.
        binary: whether it speaks MessagePack; it then only listens.
    """

    def __init__(self, box: Sandbox, door: Door, *, binary: bool = False) -> None:
        self.box = box
        self.socket = Socket()
        self.protocol = WebSocketProtocol(door, set())
        self.protocol.connection_made(self.socket)
        self.protocol.data_received(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: backchannel.v1.%b\r\n\r\n" % (b"msgpack" if binary else b"json")
        )
        self._binary = binary

    async def open(self, user: str, *channels: str) -> Peer:
        """Open the session, and listen; what was written until then is forgotten."""
        frames = [{"type": "connect", "id": 1, "token": self.box.token(user)}]
        frames += [{"type": "subscribe", "id": 2 + n, "channel": channel} for n, channel in enumerate(channels)]
        for frame in frames:
            self.read(frame)
            await self.box.settle()
        self.socket.writes.clear()
        return self

    def read(self, *frames: dict[str, Any]) -> None:
        """Let the server read these in one piece."""
        self.protocol.data_received(b"".join(map(self._masked, frames)))

    def _masked(self, frame: dict[str, Any]) -> bytes:
        payload = (MSGPACK if self._binary else JSON).encode(frame)
        return Frame(Opcode.BINARY if self._binary else Opcode.TEXT, payload).serialize(mask=True)

    def messages(self) -> list[list[bytes]]:
        """The messages of each write since `open`."""
        return [payloads(data) for data in self.socket.writes]


@pytest.fixture
def new_peer() -> Callable[..., Peer]:
    """Makes a client whose socket is counted: `await new_peer(box).open("alice", "live:a")`."""
    doors: dict[Sandbox, Door] = {}

    def make(box: Sandbox, *, binary: bool = False) -> Peer:
        if box not in doors:
            assert box.gateway.current is not None
            doors[box] = Door(box.gateway.current)
        return Peer(box, doors[box], binary=binary)

    return make


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    """An installation with the app of this file, and limits above what is counted."""
    async with Sandbox(app, burst=100_000, calls=100_000, open_requests=10_000) as sandbox:
        yield sandbox


@pytest.fixture
async def chat_box() -> AsyncIterator[Sandbox]:
    """An installation with chat, and limits above what is counted."""
    async with Sandbox(chat, burst=100_000, calls=100_000, open_requests=10_000) as sandbox:
        yield sandbox
