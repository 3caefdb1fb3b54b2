"""Buses that close with their test, what they heard and told, and a proxy that fails on demand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from backchannel.bus import Bus, redis_target

PATIENCE = 15.0
"""Seconds that a test waits for what must come; nothing ever waits this long when it passes."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Servers run on uvloop, so faults are tried there; the core is tried on asyncio's own loop as well."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.stem == "test_core":
        factories["asyncio"] = asyncio.new_event_loop
    return factories


class Heard:
    """A receiver that keeps what it got."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.batches: list[list[bytes]] = []
        self._changed = asyncio.Event()

    def __call__(self, payloads: list[bytes]) -> None:
        self.payloads += payloads
        self.batches.append(payloads)
        self._changed.set()

    async def until(self, payload: bytes) -> list[bytes]:
        """Return all payloads once this one is among them."""
        async with asyncio.timeout(PATIENCE):
            while payload not in self.payloads:
                self._changed.clear()
                await self._changed.wait()
        return self.payloads


class Told:
    """What a bus tells its watchers."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.news: list[str] = []
        self._at: list[float] = []
        self._changed = asyncio.Event()
        bus.watch(lambda: self._note("lost"), lambda: self._note("back"))

    def _note(self, what: str) -> None:
        assert self.bus.hearing == (what == "back")
        self.news.append(what)
        self._at.append(time.monotonic())
        self._changed.set()

    async def until(self, *news: str) -> float:
        """Return, when exactly these were told, the instant of the last one."""
        async with asyncio.timeout(PATIENCE):
            while len(self.news) < len(news):
                self._changed.clear()
                await self._changed.wait()
        assert tuple(self.news[: len(news)]) == news
        return self._at[len(news) - 1]


class Proxy:
    """A TCP proxy to a port on loopback."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.up: list[bytes] = []
        """What the client's side sent, read by read."""
        self.swallow = False
        """Pass nothing on, in neither direction, and keep everything open."""
        self.cut_reply_after: int | None = None
        """Pass on so many bytes of what the server sends, then reset the connection."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """The URL of a Redis behind it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        for work in (self._upwards(reader, far_writer), self._downwards(far_reader, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                self.up.append(data)
                if not self.swallow:
                    writer.write(data)
        writer.close()

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                if self.cut_reply_after is not None:
                    writer.write(data[: self.cut_reply_after])
                    await writer.drain()
                    self.cut_reply_after = None
                    break
                if not self.swallow:
                    writer.write(data)
        writer.transport.abort() if self.cut_reply_after is None else writer.close()

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@pytest.fixture
async def open_bus(redis_prefix: str) -> AsyncIterator[Callable[..., Any]]:
    """Starts buses to a URL: `bus = await open_bus(url)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(url: str, **options: Any) -> Bus:
            bus = Bus(redis_target(url), **{"prefix": redis_prefix} | options)
            stack.push_async_callback(bus.close)
            await bus.start()
            return bus

        yield opened


@pytest.fixture
def heard() -> Heard:
    """A receiver that keeps what it got."""
    return Heard()


@pytest.fixture
def new_heard() -> type[Heard]:
    """Makes further ones."""
    return Heard


@pytest.fixture
def told() -> type[Told]:
    """Watches a bus: `news = told(bus)`."""
    return Told


@pytest.fixture
async def open_proxy() -> AsyncIterator[Callable[[int], Any]]:
    """Starts proxies to a port: `proxy, url = await open_proxy(port)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(port: int) -> tuple[Proxy, str]:
            proxy = Proxy(port)
            url = await proxy.start()
            stack.push_async_callback(proxy.stop)
            return proxy, url

        yield opened
