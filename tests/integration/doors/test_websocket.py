"""The WebSocket doors: one behaviour, whoever does the framing."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from backchannel_protocol import MSGPACK, Refused

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def masked(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


def test_an_independent_client(any_door: Any) -> None:
    """A client library opens, sends every size, pings and closes, and finds nothing to complain of."""
    for subprotocols in (None, [Subprotocol("backchannel.v1.msgpack")]):
        with connect(f"ws://127.0.0.1:{any_door.port}/ws?token=secret", subprotocols=subprotocols) as client:
            for size in (0, 1, 125, 126, 4096, 65_535, 65_536):
                message: str | bytes = b"x" * size if subprotocols else "x" * size
                client.send(message)
                assert client.recv(10) == message
            client.send([b"f" * 10, b"g"] if subprotocols else ["f" * 10, "g"])
            assert len(client.recv(10)) == 11
            assert client.ping().wait(10)
        assert client.close_code == 1000
        any_door.gateway.latest.wait_for("lost")
    assert any_door.gateway.accepted[-1] == (MSGPACK, "127.0.0.1")


def test_close_by_the_client(any_door: Any) -> None:
    """The client's code comes back, the connection ends in order, and the gateway learns of it."""
    with any_door.client() as client:
        client.open()
        client.echo(b"last")
        client.send(masked(b"\x0f\xa1bye", 8) + masked(b"dropped"))
        assert client.message().close_code == 4001
        assert client.ended()
    assert any_door.gateway.latest.wait_for("lost") == 0


def test_close_behind_a_message(own_door: Any) -> None:
    """What came in the same read before the client's close is answered before it."""
    with own_door.client() as client:
        client.open()
        client.send(masked(b"last") + masked(b"\x03\xe8", 8))
        assert client.message() == (1, b"last")
        assert client.message().close_code == 1000
        assert client.ended()


def test_close_without_a_code(any_door: Any) -> None:
    """A close frame may be empty; so is its answer, or it says 1000."""
    with any_door.client() as client:
        client.open()
        client.send_frame(b"", 8)
        answer = client.message()
        assert answer.opcode == 8
        assert answer.payload in (b"", b"\x03\xe8")
        assert client.ended()


def test_close_by_the_server(any_door: Any) -> None:
    """What was written leaves first, then the close frame; messages behind it are dropped."""
    with any_door.client() as client:
        client.open()
        client.send(masked(b"one") + masked(b"close 4500") + masked(b"dropped"))
        assert client.message() == (1, b"one")
        closing = client.message()
        assert closing.close_code == 4500
        assert closing.payload[2:] == b"as you wish"
        client.send(masked(b"\x11\x94", 8))
        assert client.ended()
    any_door.gateway.latest.wait_for("lost")


def test_abort(any_door: Any) -> None:
    """An abort ends the connection without a close frame."""
    with any_door.client() as client:
        client.open()
        client.send_frame(b"abort")
        with contextlib.suppress(ConnectionResetError):
            assert client.socket.recv(100) == b""
    any_door.gateway.latest.wait_for("lost")
    any_door.serves_others()


def test_peer_that_vanishes(any_door: Any) -> None:
    """A connection that is reset, or ends without a close frame, is reported too."""
    for linger in (b"\x01\x00\x00\x00\x00\x00\x00\x00", b"\x00\x00\x00\x00\x00\x00\x00\x00"):
        with any_door.client() as client:
            client.open()
            client.echo(b"hello")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        any_door.gateway.latest.wait_for("lost")


def test_bug_behind_the_door(any_door: Any) -> None:
    """A failure of the gateway costs one connection, which is told 1011, and tells nothing else."""
    with any_door.client() as client:
        client.open()
        client.send_frame(b"fail")
        closing = client.message()
        assert closing.close_code == 1011
        assert b"bug" not in closing.payload
    any_door.serves_others()


def test_refused_by_the_gateway(any_door: Any) -> None:
    """A gateway that takes no more connections says so before the switch of protocols."""
    any_door.gateway.refuse = Refused("unavailable", "This gateway drains.", outcome="none", retry_after=1.5)
    try:
        with any_door.client() as client:
            client.send(REQUEST)
            status, headers, body = client.response()
    finally:
        any_door.gateway.refuse = None
    assert (status, headers["retry-after"]) == (503, "2")
    assert json.loads(body)["code"] == "unavailable"
    any_door.serves_others()


def test_written_while_accepting(any_door: Any) -> None:
    """What the gateway writes as it accepts comes behind the answer to the handshake."""
    any_door.gateway.greeting = b"welcome"
    try:
        with any_door.client() as client:
            client.open()
            assert client.message() == (1, b"welcome")
            client.echo(b"and on")
    finally:
        any_door.gateway.greeting = None


def test_slow_reader(any_door: Any) -> None:
    """A peer that reads nothing is told to the connection as paused, what waits is counted, and it goes on after."""
    with any_door.client(receive_buffer=4096) as client:
        client.open()
        client.send_frame(b"flood 200")
        any_door.gateway.latest.wait_for("paused")
        assert any_door.gateway.latest.wait_for("queued") > 1_000_000
        for _ in range(200):
            assert len(client.message().payload) == 60_000
        any_door.gateway.latest.wait_for("resumed")
        client.echo(b"hello again")


def test_one_write_per_read(own_door: Any) -> None:
    """The answers of one read, and its pongs, leave in the order of their causes in one piece."""
    with own_door.client() as client:
        client.open()
        client.echo(b"warm")
        client.send(masked(b"p1", 9) + masked(b"a" * 50) + masked(b"p2", 9) + masked(b"b" * 50))
        seen = [client.message() for _ in range(4)]
        assert sorted(seen) == [(1, b"a" * 50), (1, b"b" * 50), (10, b"p1"), (10, b"p2")]
        assert [m.payload for m in seen if m.opcode == 1] == [b"a" * 50, b"b" * 50]
        assert [m.payload for m in seen if m.opcode == 10] == [b"p1", b"p2"]


def test_nagle_stays_off(own_door: Any) -> None:
    """Joining is ours to do: the kernel does not hold small writes back."""
    with own_door.client() as client:
        client.open()
        client.echo(b"hello")
        server_side = own_door.gateway.latest.transport._transport.get_extra_info("socket")
        assert server_side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_frames_byte_by_byte(own_door: Any) -> None:
    """Reads may cut the stream anywhere."""
    with own_door.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.open()
        for byte in masked(b"x" * 200) + masked(b"y" * 10, fin=False) + masked(b"", 9) + masked(b"z", 0):
            client.send(bytes((byte,)))
        seen = [client.message() for _ in range(3)]
        assert [message for message in seen if message.opcode == 1] == [(1, b"x" * 200), (1, b"y" * 10 + b"z")]
        assert (10, b"") in seen


def test_frames_behind_the_handshake(run_server: Any) -> None:
    """Frames in the same segment as the request are not lost where the first read is ours."""
    with run_server("sniffed", "uvloop") as server, server.client() as client:
        client.send(REQUEST + masked(b"early"))
        assert client.response()[0] == 101
        assert client.message() == (1, b"early")


@pytest.mark.parametrize("kind", ["sniffed", "uvicorn"])
def test_handshake_in_pieces(run_server: Any, kind: str) -> None:
    """A request that comes byte by byte opens a WebSocket too."""
    with run_server(kind, "uvloop") as server, server.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in REQUEST:
            client.send(bytes((byte,)))
        assert client.response()[0] == 101
        client.echo(b"hello")


def test_handshake_behind_an_http_request(any_door: Any) -> None:
    """A kept connection may become a WebSocket after it was used for HTTP."""
    with any_door.client() as client:
        client.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.response()[0] == 404
        client.open()
        client.echo(b"hello")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_peer_that_does_not_answer_a_close(run_server: Any, loop: str) -> None:
    """A peer that never answers a close frame is given up at the deadline."""
    with run_server("sniffed", loop, close_timeout=0.2) as server, server.client() as client:
        client.open()
        client.send_frame(b"close 4000")
        assert client.message().close_code == 4000
        client.ended()
        server.gateway.latest.wait_for("lost")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_peer_that_reads_nothing_at_the_end(run_server: Any, loop: str) -> None:
    """A close behind much that is not read does not wait for ever."""
    with run_server("sniffed", loop, close_timeout=0.2) as server, server.client(receive_buffer=4096) as client:
        client.open()
        client.send(masked(b"flood 200") + masked(b"close 4000"))
        server.gateway.latest.wait_for("lost")
        assert not len(server.door.closing)


def test_pings_without_reading(run_server: Any) -> None:
    """Somebody who pings and reads nothing gets the newest pong only, so that nothing piles up."""
    with run_server("sniffed", "uvloop") as server, server.client(receive_buffer=4096) as client:
        client.open()
        client.send_frame(b"flood 200")
        queued = server.gateway.latest.wait_for("queued")
        for number in range(2000):
            client.send_frame(b"%d" % number, 9)
        client.send_frame(b"flood 1")
        assert server.gateway.latest.wait_for("queued") - queued < 70_000
        seen = [client.message() for _ in range(201)]
        assert {message.opcode for message in seen} == {1}
        assert client.message() == (10, b"1999")


@pytest.mark.parametrize("kind", ["sniffed", "asgi"])
def test_shutdown(run_server: Any, kind: str) -> None:
    """A server that stops says goodbye to whoever is left."""
    with run_server(kind, "uvloop") as server, server.client() as client, server.client() as idle:
        client.open()
        client.echo(b"hello")
        server.uvicorn.should_exit = True
        assert client.message().close_code in (1001, 1012)
        if kind != "asgi":  # uvicorn resets what it has not read
            client.send_frame(b"\x03\xe9", 8)
            assert client.ended()
        assert idle.ended()


def test_address_behind_a_proxy(run_server: Any) -> None:
    """A trusted proxy says who the client is."""
    with run_server("sniffed", "uvloop", trusted_proxies=("127.0.0.0/8",)) as server, server.client() as client:
        client.open(b"X-Forwarded-For: 1.1.1.1, 198.51.100.7\r\n")
        assert server.gateway.accepted[-1][1] == "198.51.100.7"


def test_nothing_is_left_behind(run_server: Any) -> None:
    """When all connections are gone, the door remembers none of them."""
    with run_server("sniffed", "uvloop") as server:
        for request in (REQUEST, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", b"nonsense\r\n\r\n", b"GET /ws HTTP/1.1\r\n"):
            with server.client() as client:
                client.send(request)
                if request.endswith(b"\r\n\r\n"):
                    client.response()
        with server.client() as client:
            client.open()
            client.echo(b"marker")
            client.send_frame(b"\x03\xe8", 8)
            assert client.ended()
        server.gateway.latest.wait_for("lost")
        assert len(server.door.heads) == 0
        assert len(server.door.closing) == 0
        assert server.uvicorn.server_state.connections == set()
