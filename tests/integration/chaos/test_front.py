"""The front between a client and the gateways: balances, cuts, holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from backchannel.testing.chaos.front import Front, probe
from backchannel.testing.services import free_port

PATIENCE = 10.0


class Gateway:
    """A server that says its name to whoever connects, then echoes."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.port = free_port()
        self.ready = True
        self.status = b"200 OK"
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        writer.write(self.name + b"\n")
        while line := await reader.readline():
            writer.write(line)
        writer.close()


@asynccontextmanager
async def front_of(*gateways: Gateway) -> AsyncIterator[Front]:
    """A front with these gateways, all started."""
    for gateway in gateways:
        await gateway.start()
    front = Front(lambda: gateways)
    await front.start()
    try:
        yield front
    finally:
        await front.close()
        for gateway in gateways:
            await gateway.stop()


async def connect(front: Front) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, and the name of the gateway behind it; empty where nobody is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    async with asyncio.timeout(PATIENCE):
        try:
            return (await reader.readline()).decode().strip(), reader, writer
        except ConnectionResetError:
            return "", reader, writer


async def names(front: Front, count: int) -> list[str]:
    """Who answers so many connections."""
    found = []
    for _ in range(count):
        name, _, writer = await connect(front)
        writer.transport.abort()
        found.append(name)
    return found


async def test_connections_go_round_the_gateways_that_are_ready() -> None:
    """One that is not ready gets none, unless nobody is; one that is gone is passed over."""
    one, two = Gateway(b"one"), Gateway(b"two")
    async with front_of(one, two) as front:
        assert sorted(await names(front, 4)) == ["one", "one", "two", "two"]
        one.ready = False
        assert await names(front, 3) == ["two"] * 3
        two.ready = False
        assert set(await names(front, 4)) == {"one", "two"}
        one.ready = two.ready = True
        await one.stop()
        assert await names(front, 3) == ["two"] * 3
        await two.stop()
        assert await names(front, 1) == [""]


async def test_a_cut_ends_both_sides() -> None:
    """And the next connection is as good as the first."""
    async with front_of(Gateway(b"one")) as front:
        _, reader, writer = await connect(front)
        front.cut()
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionResetError):
                assert not await reader.read()
        writer.transport.abort()
        assert await names(front, 1) == ["one"]


async def test_a_held_client_gets_nothing_until_it_is_released() -> None:
    """What was sent meanwhile comes then, all of it and in order."""
    async with front_of(Gateway(b"one")) as front:
        _, reader, writer = await connect(front)
        front.hold()
        writer.write(b"a\nb\n")
        assert front.held
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.readline()
        front.release()
        async with asyncio.timeout(PATIENCE):
            assert [await reader.readline(), await reader.readline()] == [b"a\n", b"b\n"]
        writer.transport.abort()


async def test_a_probe_tells_whether_a_server_answers_200() -> None:
    """Nobody there, and another status, are no."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if path == b"/readyz" else b"HTTP/1.1 503 No\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await probe(port)
    assert not await probe(port, "/other")
    server.close()
    assert not await probe(free_port())
