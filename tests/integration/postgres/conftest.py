"""Stores and workers on PostgreSQL, and a way to it that can be counted and cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from backchannel.app import App
from backchannel.auth.principal import Principal
from backchannel.broker.memory import MemoryBroker
from backchannel.relay.memory import MemoryRelay
from backchannel.relay.relay import Reply, Request
from backchannel.store.postgres import PostgresStore, open_postgres
from backchannel.testing.services import PostgresServer
from backchannel.worker.runtime import WorkerLimits
from backchannel.worker.worker import Worker

OpenStore = Callable[..., Awaitable[PostgresStore]]


@pytest.fixture
async def open_store(database_url: str) -> AsyncGenerator[OpenStore]:
    """Opens the test's database, as often as is wanted: each time as a process of its own would."""
    opened: list[PostgresStore] = []

    async def open_it(url: str = database_url, **options: Any) -> PostgresStore:
        opened.append(await open_postgres(url, **options))
        return opened[-1]

    yield open_it
    for store in opened:
        await store.close()


class Bench:
    """A worker, and the gateway's end of its relay."""

    def __init__(self, app: App, store: PostgresStore, limits: WorkerLimits) -> None:
        self.store = store
        self._broker = MemoryBroker()
        self._relay = MemoryRelay(asyncio.get_running_loop())
        self.worker = Worker(app, store, self._broker, self._relay, limits=limits)
        self._app = app
        self._ids = count(1)

    async def ask(
        self,
        name: str,
        data: Any,
        *,
        key: str | None = None,
        user: str = "alice",
        attempt: int = 1,
        api_key: str | None = None,
    ) -> Reply:
        """Send a request, a user's or that of an API key for itself, and wait for its reply."""
        request = Request(
            id=next(self._ids),
            kind=self._app.requests[name].kind,
            name=name,
            data=msgspec.json.encode(data),
            principal=Principal(user=user, id=f"user:{user}")
            if api_key is None
            else Principal(user="", id=f"key:{api_key}:"),
            key=key,
            attempt=attempt,
        )
        return await self._relay.ask(request)

    async def call(self, name: str, data: Any, **more: Any) -> Any:
        """The same, decoded; a refusal is raised."""
        reply = await self.ask(name, data, **more)
        if reply.failure is not None:
            raise reply.failure.refused()
        return msgspec.json.decode(reply.data)

    async def close(self) -> None:
        """Stop it."""
        await self.worker.stop()
        await self._broker.close()


StartWorker = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def start_worker(open_store: OpenStore) -> AsyncGenerator[StartWorker]:
    """Starts a worker with a store of its own; again and again on the same database."""
    benches: list[Bench] = []

    async def begin(app: App, url: str | None = None, **options: Any) -> Bench:
        where = {} if url is None else {"url": url}
        store = await open_store(**where, migrations=app.migrations, **options)
        # By default no stall of the machine parts what was sent together.
        bench = Bench(app, store, WorkerLimits(batch_seconds=30.0, slow=30.0))
        benches.append(bench)
        await bench.worker.start()
        return bench

    yield begin
    for bench in benches:
        await bench.close()


class Way:
    """A way to the database that counts what goes over it, and can be cut."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self.url = ""
        self.round_trips = 0
        """Messages after which the client waits for answers: simple queries, and flushes and ends of extended ones."""
        self.cut_at: bytes = b""
        """Cut the connection whose client sends this."""
        self.deliver = True
        """Whether the server still gets that, or not."""
        self.was_cut = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        upstream, downstream = await asyncio.open_connection(self._target.hostname, self._target.port)
        answers = asyncio.create_task(_pump(upstream, writer))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._requests(reader, downstream, answers)
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            for one in (writer, downstream):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, answers: asyncio.Task[None]
    ) -> None:
        code = b""
        while code[:2] != b"\x00\x03":  # before the protocol's version: asks for encryption
            size = int.from_bytes(head := await reader.readexactly(4), "big")
            server.write(head + (code := await reader.readexactly(size - 4)))
        while True:
            kind = await reader.readexactly(1)
            head = await reader.readexactly(4)
            message = kind + head + await reader.readexactly(int.from_bytes(head, "big") - 4)
            if self.cut_at and self.cut_at in message:
                answers.cancel()
                if self.deliver:
                    server.write(message)
                    await server.drain()
                self.was_cut.set()
                return
            if kind in b"QSH":
                self.round_trips += 1
            server.write(message)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@contextlib.contextmanager
def _frozen(server: PostgresServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@pytest.fixture
def frozen() -> Callable[[PostgresServer], AbstractContextManager[None]]:
    """Stops a server with all its processes in their tracks, as a machine that froze."""
    return _frozen


@pytest.fixture
async def way(database_url: str) -> AsyncGenerator[Way]:
    """A way to the test's database; open stores with its `url`."""
    made = Way(database_url)
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(made.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made.url = urlsplit(database_url)._replace(netloc=f"backchannel@127.0.0.1:{port}").geturl()
    yield made
    server.close()
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
