"""Writing past the transport: on real sockets, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from backchannel.gateway.borrowed_socket import borrow
from backchannel.gateway.transport import Transport
from backchannel.gateway.websocket import Door, WebSocketProtocol
from backchannel_protocol import Codec

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on one of the loops."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(coroutine, 30))

    return run


class Held:
    """A connection that only notes what becomes of its transport."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.is_paused = False
        self.gone = asyncio.Event()

    def receive(self, message: bytes) -> None:
        pass

    def flush(self) -> None:
        pass

    def paused(self) -> None:
        self.is_paused = True

    def resumed(self) -> None:
        self.is_paused = False

    def lost(self) -> None:
        self.gone.set()


class Gateway:
    """Takes every connection."""

    frame_limit = 1000
    max_queued = 1 << 30

    def __init__(self) -> None:
        self.taken: asyncio.Queue[Held] = asyncio.Queue()

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return True

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Held:
        held = Held(transport)
        self.taken.put_nowait(held)
        return held


async def connect(gateway: Gateway) -> tuple[asyncio.Server, asyncio.StreamReader, asyncio.StreamWriter, Held]:
    """A client with its handshake behind it, and the server's end."""
    loop = asyncio.get_running_loop()
    door = Door(gateway)
    server = await loop.create_server(lambda: WebSocketProtocol(door, set()), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(REQUEST)
    held = await gateway.taken.get()
    await reader.readuntil(b"\r\n\r\n")
    return server, reader, writer, held


def test_order_holds_when_the_kernel_takes_no_more(run: Run) -> None:
    """What is written while the socket is full, after it is full and when it drains again arrives whole and in order,
    and nothing is written past what the transport still holds."""

    async def main() -> None:
        server, reader, writer, held = await connect(Gateway())
        pieces = [bytes([number % 251]) * (1 + number * 37 % 9_000) for number in range(3_000)]
        sent = 0
        while not held.is_paused:
            held.transport.write(pieces[sent])
            sent += 1
        assert held.transport.queued() > 0
        expected = b"".join(pieces)
        got = b""
        for piece in pieces[sent:]:  # the peer reads a little between any two
            held.transport.write(piece)
            got += await reader.read(4_096)
        while len(got) < len(expected):
            got += await reader.read(1 << 20)
        assert got == expected
        assert held.transport.queued() == 0
        writer.close()
        await held.gone.wait()
        server.close()

    run(main())


def test_a_peer_that_resets_is_noticed(run: Run) -> None:
    """A write to a socket that the peer has reset raises nothing and ends the connection."""

    async def main() -> None:
        server, _, writer, held = await connect(Gateway())
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        while not held.gone.is_set():
            held.transport.write(b"x" * 1_000)
            await asyncio.sleep(0)
        server.close()

    run(main())


def test_a_number_that_is_anothers_is_not_written_to(run: Run) -> None:
    """Behind `connection_lost` a write goes nowhere, although the descriptor's number is in use again: what is for one
    user must never reach another."""

    async def main() -> None:
        server, _, writer, held = await connect(Gateway())
        writer.close()
        await held.gone.wait()
        await asyncio.sleep(0)  # the transport closes its socket behind `connection_lost`
        others = [os.pipe() for _ in range(20)]  # among them is the lowest free number
        held.transport.write(b"for one user only")
        for there, here in others:
            os.set_blocking(there, False)
            with pytest.raises(BlockingIOError):
                os.read(there, 100)
            os.close(there)
            os.close(here)
        server.close()

    run(main())


def test_letting_go_closes_nothing(run: Run) -> None:
    """A borrowed socket that is collected, also without its connection's end, leaves the transport its socket and warns
    of nothing."""

    async def main() -> None:
        server, reader, writer, held = await connect(Gateway())
        assert isinstance(held.transport, WebSocketProtocol)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            borrowed = borrow(held.transport._transport)
            assert borrowed is not None
            del borrowed
            gc.collect()
        held.transport.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await held.gone.wait()
        server.close()

    run(main())


def test_tls_and_what_has_no_socket_are_left_to_the_transport() -> None:
    """Bytes past TLS would go in the clear: nothing is borrowed there, nor where there is no socket."""

    class Of(asyncio.Transport):
        pass

    with socket.socket() as plain:
        assert borrow(Of({"socket": plain, "sslcontext": object()})) is None
        assert borrow(Of({})) is None
        assert borrow(Of({"socket": plain})) is not None
