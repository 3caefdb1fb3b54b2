"""The WebSocket over plain ASGI, with a server that does only what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from starlette.websockets import WebSocket

from backchannel.gateway.asgi import asgi_websocket_endpoint
from backchannel.gateway.framing import frame
from backchannel.gateway.transport import Transport
from backchannel_protocol import Codec

Message = MutableMapping[str, Any]


class Connection:
    """Does to its transport what the test gave it."""

    def __init__(self, transport: Transport, act: Callable[[Transport, bytes], None]) -> None:
        self.transport = transport
        self.act = act
        self.calls: list[str] = []
        self.has_resumed = asyncio.Event()

    def receive(self, message: bytes) -> None:
        self.act(self.transport, message)

    def flush(self) -> None:
        self.calls.append("flush")

    def paused(self) -> None:
        self.calls.append("paused")

    def resumed(self) -> None:
        self.calls.append("resumed")
        self.has_resumed.set()

    def lost(self) -> None:
        self.calls.append("lost")


class Gateway:
    """Takes one connection."""

    frame_limit = 1000
    max_queued = 10_000

    def __init__(self, act: Callable[[Transport, bytes], None] = lambda transport, message: None) -> None:
        self.act = act
        self.connection: Connection | None = None

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return origin is None

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Connection:
        self.connection = Connection(transport, self.act)
        return self.connection


class Server:
    """An ASGI server whose peer sends what `incoming` holds, and reads only while `reads` is set."""

    def __init__(self, **scope: Any) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.sent: list[Message] = []
        self.sending = asyncio.Event()
        self.listening = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.scope = {"type": "websocket", "headers": [], "subprotocols": [], "path": "/ws", **scope}

    async def receive(self) -> Message:
        if self.incoming.empty():
            self.listening.set()
        return await self.incoming.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.sending.set()
        await self.reads.wait()

    def websocket(self) -> WebSocket:
        """The connection as Starlette sees it."""
        return WebSocket(self.scope, self.receive, self.send)

    def text(self, text: str) -> None:
        """The peer sends a text message."""
        self.incoming.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        """The peer is gone."""
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})


def closes(server: Server) -> list[int]:
    """The close codes that were sent."""
    return [message["code"] for message in server.sent if message["type"] == "websocket.close"]


async def test_stuck_peer_is_given_up_at_the_deadline() -> None:
    """A close behind a send that never ends is not waited for longer than the deadline."""

    def act(transport: Transport, message: bytes) -> None:
        transport.write(frame(b"x"))
        transport.close(4000, "")

    server, gateway = Server(), Gateway(act)
    server.text("go")

    async def stop_reading() -> None:
        await server.sending.wait()
        server.reads.clear()

    stopped = asyncio.create_task(stop_reading())
    await asyncio.wait_for(asgi_websocket_endpoint(gateway, close_timeout=0.05)(server.websocket()), 5)
    await stopped
    assert gateway.connection is not None
    assert gateway.connection.calls[-1] == "lost"
    assert closes(server) == []


async def test_unanswered_close_is_given_up_at_the_deadline() -> None:
    """A server that does not report the end after a close is not waited for either."""
    server, gateway = Server(), Gateway(lambda transport, message: transport.close(4500, "bye"))
    server.text("go")
    await asyncio.wait_for(asgi_websocket_endpoint(gateway, close_timeout=0.05)(server.websocket()), 5)
    assert closes(server) == [4500]


async def test_abort_ends_a_stuck_send() -> None:
    """An abort does not wait for what is being sent."""
    server, gateway = Server(), Gateway()
    running = asyncio.create_task(asgi_websocket_endpoint(gateway)(server.websocket()))
    await server.listening.wait()
    assert gateway.connection is not None
    transport = gateway.connection.transport
    server.reads.clear()
    server.sending.clear()
    transport.write(frame(b"x"))
    await server.sending.wait()
    transport.write(frame(b"y" * 100))
    transport.abort()
    assert transport.queued() == 0
    await asyncio.wait_for(running, 5)
    assert gateway.connection.calls == ["lost"]
    assert [message["type"] for message in server.sent] == ["websocket.accept", "websocket.send"]


async def test_bytes_are_counted_and_marks_told() -> None:
    """What waits for the server is counted; the marks are told once each way."""
    server, gateway = Server(), Gateway()
    running = asyncio.create_task(asgi_websocket_endpoint(gateway)(server.websocket()))
    await server.listening.wait()
    server.reads.clear()
    connection = gateway.connection
    assert connection is not None
    for _ in range(60):
        connection.transport.write(frame(b"x" * 100))
    assert connection.transport.queued() == 6000
    assert connection.calls == ["paused"]
    server.reads.set()
    await asyncio.wait_for(connection.has_resumed.wait(), 5)
    while len(server.sent) < 61:
        server.sending.clear()
        await server.sending.wait()
    server.leave()
    await asyncio.wait_for(running, 5)
    assert [message["text"] for message in server.sent[1:]] == ["x" * 100] * 60
    assert connection.calls == ["paused", "resumed", "lost"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"bytes": b"{}"}, 1003),
        ({"text": "\ud800"}, 1007),
        ({"text": "x" * 1001}, 1009),
        ({"text": None, "bytes": b"{}"}, 1003),
    ],
)
async def test_messages_that_may_not_be(message: dict[str, Any], code: int) -> None:
    """What a server lets pass is refused here, with the codes of our own framing."""
    server, gateway = Server(), Gateway()
    server.incoming.put_nowait({"type": "websocket.receive", **message})
    await asyncio.wait_for(asgi_websocket_endpoint(gateway, close_timeout=0.05)(server.websocket()), 5)
    assert closes(server) == [code]


async def test_servers_without_denial_responses() -> None:
    """Where the server cannot answer a handshake with a response, it is told to refuse it its own way."""
    server = Server(headers=[(b"origin", b"https://evil.example")])
    await asgi_websocket_endpoint(Gateway())(server.websocket())
    assert server.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
