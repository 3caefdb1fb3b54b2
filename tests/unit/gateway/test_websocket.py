"""The WebSocket protocol on a transport that only records: writes, and what random bytes do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.gateway.framing import frame, payloads
from backchannel.gateway.transport import Transport
from backchannel.gateway.websocket import Door, WebSocketProtocol
from backchannel_protocol import Codec

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
Masked = Callable[..., bytes]


class Recorder(asyncio.Transport):
    """A transport that keeps what is written and takes it at once, or as much as `room` says."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.writes: list[bytes] = []
        self.waiting = 0
        self.closing = False
        self.is_dead = False
        self.eof = False

    def write(self, data: Any) -> None:
        if self.is_dead:
            raise RuntimeError("the handle is closed")
        assert not self.eof
        assert not self.closing
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        if self.is_dead:
            raise RuntimeError("the handle is closed")
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True


class Echo:
    """Answers in `flush`; what else happens to it is written down."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.out: list[bytes] = []
        self.calls: list[str] = []

    def receive(self, message: bytes) -> None:
        if message == b"abort":
            self.transport.abort()
        self.out.append(frame(message))

    def flush(self) -> None:
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()

    def paused(self) -> None:
        self.calls.append("paused")

    def resumed(self) -> None:
        self.calls.append("resumed")

    def lost(self) -> None:
        self.calls.append("lost")


class Gateway:
    """Takes every connection."""

    frame_limit = 1000
    max_queued = 10_000

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return True

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Echo:
        self.latest = Echo(transport)
        return self.latest


def made() -> tuple[WebSocketProtocol, Recorder, Gateway, set[Any]]:
    """A protocol with its transport."""
    gateway, peers = Gateway(), set[Any]()
    protocol, transport = WebSocketProtocol(Door(gateway), peers), Recorder()
    protocol.connection_made(transport)
    return protocol, transport, gateway, peers


def opened() -> tuple[WebSocketProtocol, Recorder, Echo]:
    """A protocol behind its handshake, whose answer is taken away."""
    protocol, transport, gateway, _ = made()
    protocol.data_received(REQUEST)
    assert transport.writes.pop().startswith(b"HTTP/1.1 101 ")
    return protocol, transport, gateway.latest


async def test_one_write_per_read(masked: Masked) -> None:
    """Everything that one read causes leaves in one write: answers, pongs, and the close behind them."""
    protocol, transport, _ = opened()
    protocol.data_received(masked(b"a") + masked(b"p", 9) + masked(b"b"))
    assert len(transport.writes) == 1
    assert sorted(payloads(transport.writes.pop())) == [b"a", b"b", b"p"]
    protocol.data_received(masked(b"c") + b"\x83\x80")
    assert len(transport.writes) == 1
    assert payloads(transport.writes[0])[0] == b"c"
    assert transport.eof


async def test_handshake_and_greeting_are_one_write(masked: Masked) -> None:
    """What is written while the connection is accepted leaves with the answer to the handshake."""
    protocol, transport, gateway, _ = made()
    accept = gateway.accept

    def greeting(
        transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Echo:
        transport.write(frame(b"welcome"))
        return accept(transport, codec, address)

    gateway.accept = greeting  # type: ignore[method-assign]
    protocol.data_received(REQUEST)
    (answer,) = transport.writes
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(frame(b"welcome"))


async def test_nothing_raises_on_a_dead_transport() -> None:
    """A transport that closed under our hands is found out by the first write, and swallows everything."""
    protocol, transport, connection = opened()
    transport.is_dead = True
    assert protocol.queued() == 0
    protocol.write(frame(b"x"))
    protocol.write(frame(b"x"))
    protocol.close(1000, "")
    protocol.connection_lost(None)
    protocol.write(frame(b"x"))
    assert connection.calls == ["lost"]


async def test_abort_within_a_read(masked: Masked) -> None:
    """After an abort nothing more is handed over or written."""
    protocol, transport, connection = opened()
    protocol.data_received(masked(b"a") + masked(b"abort") + masked(b"b"))
    assert transport.closing
    assert transport.writes == []
    assert connection.out[-1] == frame(b"abort")


async def test_marks_and_the_newest_pong(masked: Masked) -> None:
    """The transport's marks reach the connection; while it is above, only the newest pong is kept for later."""
    protocol, transport, connection = opened()
    transport.waiting = 9000
    protocol.pause_writing()
    protocol.data_received(masked(b"1", 9) + masked(b"2", 9))
    assert transport.writes == []
    assert protocol.queued() == 9000
    transport.waiting = 0
    protocol.resume_writing()
    assert transport.writes == [frame(b"2", 10)]
    assert connection.calls == ["paused", "resumed"]


CHUNK = st.one_of(
    st.binary(max_size=20),
    st.tuples(
        st.sampled_from((0x81, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88, 0x82, 0x09)),
        st.one_of(
            st.binary(max_size=125), st.text(max_size=30).map(str.encode), st.just(b"abort"), st.just(b"\x03\xe8")
        ),
    ).map(lambda item: bytes((item[0], 0x80 | len(item[1]), 0, 0, 0, 0)) + item[1]),
)


@pytest.mark.parametrize("prefix", [REQUEST, b""], ids=["open", "handshake"])
@given(chunks=st.lists(CHUNK, max_size=12), leave=st.sampled_from(("eof", "lost")))
async def test_random_bytes(prefix: bytes, chunks: list[bytes], leave: str) -> None:
    """Whatever comes in, nothing is raised, nothing is written behind the end, and everything is given back."""
    protocol, _, gateway, peers = made()
    if prefix:
        protocol.data_received(prefix)
    for chunk in chunks:
        protocol.data_received(chunk)
    if leave == "eof":
        protocol.eof_received()
        protocol.data_received(b"\x81")
    protocol.connection_lost(None)
    assert peers == set()
    if prefix:
        assert gateway.latest.calls == ["lost"]
    assert protocol.queued() == 0
