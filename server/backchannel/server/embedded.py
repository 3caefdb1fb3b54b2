"""Server: every part in one process.

The gateway lives on the main event loop, the worker on its own in a thread, and memory carries between them. The store
is a SQLite file, or PostgreSQL where the settings name one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from ..app import App
from ..auth.watch import RevocationWatch
from ..broker.memory import MemoryBroker
from ..gateway.gateway import Gateway
from ..relay.memory import MemoryRelay
from ..settings import Settings
from ..store.api_keys import ApiKeys
from ..store.revocations import Revocations
from ..store.sqlite import open_sqlite, sqlite_api_keys, sqlite_revocations
from ..store.store import Store
from ..telemetry.logs import get_logger
from ..worker.housekeeping import keep_house
from ..worker.runtime import WorkerLimits
from ..worker.thread import WorkerThread
from ..worker.worker import Worker
from .front import Front, gateway_options
from .process import run_to_end
from .waiting import Waiting
from .worker_metrics import count_worker

__all__ = ["Server", "serve"]

_log = get_logger(__name__)


class Server(Front):
    """Gateway, worker, relay, broker and store of one process.

    Use it on one event loop: `start`, then `run` until a signal, or `stop`.
    """

    def __init__(self, app: App, settings: Settings | None = None) -> None:
        super().__init__(app, settings)
        self._store: Store | None = None
        self._worker_thread: WorkerThread | None = None

    async def _start(self, progress: Callable[[str], None] | None) -> None:
        settings = self.settings
        await self._read_secrets()
        settings.data_folder.mkdir(parents=True, exist_ok=True)
        broker = MemoryBroker(grace=settings.grace)
        self._stack.push_async_callback(broker.close)
        relay = MemoryRelay(asyncio.get_running_loop())
        worker = WorkerThread(lambda: self._worker(broker, relay, progress))
        await worker.start()
        self._stack.push_async_callback(worker.stop)
        self._worker_thread = worker
        keys, revocations = await self._open_beside()
        self._stack.push_async_callback(keys.close)
        self._stack.push_async_callback(revocations.close)
        assert self._store is not None
        reader = self._store.log_reader()
        self._stack.push_async_callback(reader.close)
        watch = RevocationWatch(revocations.since, lifetime=settings.token_lifetime)
        await watch.start()
        self._stack.push_async_callback(watch.close)
        gateway = Gateway(
            self._served,
            relay=relay,
            broker=broker,
            log_reader=reader,
            authenticator=self._authenticator(keys.holder, watch.check),
            options=gateway_options(settings),
            revocations=watch,
        )
        relay.replied = gateway.flush
        await self._serve(gateway)

    async def _open_beside(self) -> tuple[ApiKeys, Revocations]:
        """What the gateway reads of the database that the worker has brought up to date."""
        settings = self.settings
        if settings.postgres:
            from ..store.postgres import postgres_api_keys, postgres_revocations

            keys = await postgres_api_keys(settings.postgres, settings.app)
            return keys, await postgres_revocations(settings.postgres, settings.app)
        return (
            sqlite_api_keys(settings.database, settings.app),
            sqlite_revocations(settings.database, settings.app),
        )

    async def _open_store(self, progress: Callable[[str], None] | None) -> Store:
        settings = self.settings
        if settings.postgres:
            # Only who uses it pays for loading its driver.
            from ..store.postgres import open_postgres

            waiting = Waiting()
            try:
                return await waiting.until_there(
                    "postgres",
                    lambda: open_postgres(
                        settings.postgres,
                        settings.app,
                        migrations=self.app.migrations,
                        progress=progress,
                        pool=settings.postgres_pool,
                    ),
                )
            finally:
                await waiting.close()
        return open_sqlite(settings.database, settings.app, migrations=self.app.migrations, progress=progress)

    @contextlib.asynccontextmanager
    async def _worker(
        self, broker: MemoryBroker, relay: MemoryRelay, progress: Callable[[str], None] | None
    ) -> AsyncIterator[Worker]:
        """The worker with the store that it alone writes to; runs in the worker's thread."""
        settings = self.settings
        store = self._store = await self._open_store(progress)
        keeping = asyncio.create_task(
            keep_house(self.app, store, tenant=settings.app, token_lifetime=settings.token_lifetime)
        )
        try:
            worker = Worker(
                self._served,
                store,
                broker,
                relay,
                tenant=settings.app,
                limits=WorkerLimits(handler=settings.handler_timeout),
                settings=settings,
            )
            uncount = count_worker(worker)
            try:
                yield worker
            finally:
                uncount()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await store.close()

    async def _broken(self) -> None:
        assert self._worker_thread is not None
        await self._worker_thread.ended()
        _log.critical("the worker has ended by itself; the server ends too")


def serve(app: App, settings: Settings, *, started: Callable[[Server], None] | None = None) -> None:
    """Run a server in this process until it is told to stop; `started` is called once it serves and heeds signals.

    Raises:
        BackchannelError: it could not start; the message tells the cure.
    """
    run_to_end(lambda: Server(app, settings), settings, started)
