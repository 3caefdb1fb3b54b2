"""A worker on a real store of each kind, behind a real memory relay, all on the test's loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from backchannel.app import App
from backchannel.auth.principal import Principal
from backchannel.broker.broker import Envelope, LogBounds, LogHead
from backchannel.broker.memory import MemoryBroker
from backchannel.relay.memory import MemoryRelay
from backchannel.relay.relay import Failure, Reply, Request
from backchannel.store.postgres import PostgresStore, open_postgres
from backchannel.store.sqlite import SqliteStore, open_sqlite
from backchannel.store.store import Store
from backchannel.testing.services import PostgresServer
from backchannel.worker.runtime import WorkerLimits
from backchannel.worker.worker import Worker


class RecordingBroker(MemoryBroker):
    """The memory broker, remembering what was published in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Envelope] = []
        self.appended: list[tuple[Envelope, LogBounds, str | None]] = []
        self.on_publish: Callable[[Sequence[Envelope]], None] = lambda envelopes: None

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        self.on_publish(envelopes)
        self.published.extend(envelopes)
        super().publish(envelopes)

    async def append(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> LogHead:
        self.appended.append((envelope, bounds, publication))
        return await super().append(envelope, bounds, publication)


class Bench:
    """A worker under test, and the gateway's end of its relay."""

    def __init__(
        self, store: SqliteStore | PostgresStore, worker: Worker, relay: MemoryRelay, broker: RecordingBroker
    ) -> None:
        self.store = store
        self.worker = worker
        self.relay = relay
        self.broker = broker
        self._ids = count(7)

    def request(
        self,
        name: str,
        data: Any = None,
        *,
        user: str = "alice",
        key: str | None = None,
        kind: Any = None,
        **more: Any,
    ) -> Request:
        """A request as a gateway would send it."""
        principal = more.pop("principal", None) or Principal(user=user, id=f"user:{user}")
        declaration = self.worker._app.requests.get(name)
        return Request(
            id=next(self._ids),
            kind=kind or (declaration.kind if declaration else "command"),
            name=name,
            data=msgspec.json.encode({} if data is None else data),
            principal=principal,
            key=key,
            **more,
        )

    async def ask(self, request: Request) -> Reply:
        """Send one request, and wait."""
        return await self.relay.ask(request)

    async def ask_all(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests in one tick, so that they meet in one batch, and wait for all."""
        return list(await asyncio.gather(*(self.relay.ask(request) for request in requests)))

    async def call(self, name: str, data: Any = None, **more: Any) -> Any:
        """Ask, and decode the answer; a refusal is raised."""
        reply = await self.ask(self.request(name, data, **more))
        if reply.failure is not None:
            raise reply.failure.refused()
        return msgspec.json.decode(reply.data)

    async def refusal(self, name: str, data: Any = None, **more: Any) -> Failure:
        """Ask what is refused."""
        reply = await self.ask(self.request(name, data, **more))
        assert reply.failure is not None, reply
        return reply.failure

    async def log(self, channel: str) -> list[Envelope]:
        """The durable log of a channel."""
        reader = self.store.log_reader()
        try:
            return (await reader.read(channel, 0, 1000))[1]
        finally:
            await reader.close()


class StartWorker(Protocol):
    """How a test begins."""

    def __call__(
        self,
        app: App,
        *,
        limits: WorkerLimits | None = None,
        wrap: Callable[[Any], Store] | None = None,
        start: bool = True,
        **more: Any,
    ) -> Awaitable[Bench]: ...


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes new databases: paths of files, or URLs."""
    if request.param == "sqlite":
        numbers = count()
        return lambda: str(tmp_path / f"{next(numbers)}.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database


@pytest.fixture
async def start_worker(database: Callable[[], str]) -> AsyncIterator[StartWorker]:
    """Start a worker for an app; it ends with the test."""
    benches: list[Bench] = []

    async def begin(
        app: App,
        *,
        limits: WorkerLimits | None = None,
        wrap: Callable[[Any], Store] | None = None,
        start: bool = True,
        **more: Any,
    ) -> Bench:
        where = database()
        store: SqliteStore | PostgresStore
        if "://" in where:
            store = await open_postgres(where, migrations=app.migrations)
        else:
            store = open_sqlite(where, migrations=app.migrations)
        broker = RecordingBroker()
        relay = MemoryRelay(asyncio.get_running_loop())
        # By default no stall of the machine parts what was sent together.
        patient = limits or WorkerLimits(batch_seconds=30.0, slow=30.0)
        worker = Worker(app, wrap(store) if wrap else store, broker, relay, limits=patient, **more)
        bench = Bench(store, worker, relay, broker)
        benches.append(bench)
        if start:
            await worker.start()
        return bench

    yield begin
    for bench in benches:
        await bench.worker.stop()
        await bench.broker.close()
        await bench.store.close()
