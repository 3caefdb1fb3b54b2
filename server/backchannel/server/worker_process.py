"""WorkerProcess: runs an app's handlers, around Redis and PostgreSQL; keeps no client's connection."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import sqlalchemy as sa

from backchannel_protocol import Refused

from ..app import App, Migrations
from ..auth.commands import serving
from ..broker.hooks import Hooks, NotePresence
from ..broker.redis import RedisBroker
from ..relay.redis import RedisWorkerRelay
from ..settings import Settings
from ..store.postgres import open_postgres
from ..store.postgres_migrations import run_in_engine
from ..store.postgres_target import PostgresTarget
from ..store.store import Store
from ..store.upgrade import CORE, standing
from ..telemetry.logs import get_logger
from ..worker.housekeeping import keep_house
from ..worker.runtime import WorkerLimits
from ..worker.worker import Worker
from .health import serve_health
from .listening import inherited, listen
from .process import Process
from .redis_bus import make_bus, needed, open_bus
from .store_watch import StoreWatch
from .waiting import Opening, Waiting, together
from .worker_metrics import count_worker

__all__ = ["WorkerProcess"]

_log = get_logger(__name__)

# How soon a worker ends once it is told to; of it, how long what it took may take, and then what nobody waits for.
_END: Final = 9.5
_LEAVE: Final = 5.0
_STOP: Final = 2.0


class WorkerProcess(Process):
    """One worker. It starts also while Redis or PostgreSQL are not there, and is unready until they are.

    Use it on one event loop: `start`, then `run` until a signal, or `stop`.

    Args:
        app: the declarations and functions.
        settings: `redis` and `postgres` must be set.
        wrap_store: what the handlers' store is wrapped in, for tests.
        migrate: whether the database is brought up to date at start; without, it is waited for.
        health_fds: descriptors of inherited sockets to serve the health on, beside the setting's port.

    Raises:
        RegistrationError: the app is not whole.
        ConfigurationError: a setting is missing or wrong.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        *,
        wrap_store: Callable[[Store], Store] | None = None,
        migrate: bool = True,
        health_fds: Sequence[int] = (),
    ) -> None:
        super().__init__(settings)
        needed(settings, "worker")
        app.check()
        self.app = app
        self.incarnation = secrets.token_hex(8)
        """What this run of this process is known by in the relay."""
        self.health_port = 0
        """Where the health is served; 0: nowhere but on inherited sockets."""
        self._served = serving(app)
        self._wrap_store = wrap_store or (lambda store: store)
        self._migrate = migrate
        self._health_fds = health_fds
        self._parts = contextlib.AsyncExitStack()
        self._waiting = Waiting()
        self._opening: Opening | None = None
        self._relay: RedisWorkerRelay | None = None
        self._store_watch: StoreWatch | None = None
        self._worker: Worker | None = None
        self._leaving = False
        self._end_by: float | None = None

    def readiness(self) -> dict[str, str]:
        """What keeps this process from serving, part by part; empty: it is ready."""
        reasons = dict(self._waiting.reasons)
        if self._leaving:
            reasons["worker"] = "it leaves"
        elif self._worker is None:
            reasons["worker"] = "it starts"
        if self._relay is not None and not self._relay.ready():
            reasons["relay"] = "requests do not reach this worker"
        if self._store_watch is not None and self._store_watch.reason:
            reasons["store"] = self._store_watch.reason
        return reasons

    async def _start(self, progress: Callable[[str], None] | None) -> None:
        settings = self.settings
        sockets = [inherited(descriptor) for descriptor in self._health_fds]
        if settings.health_port and not sockets:
            sockets = [listen(settings.host, settings.health_port, option="--health-port")]
            self.health_port = settings.health_port
        await serve_health(self.readiness, sockets, self._stack)
        self._stack.push_async_callback(self._parts.aclose)
        self._opening = Opening(self._open(progress), self._waiting)
        self._stack.push_async_callback(self._opening.close)
        await self._opening.settled()

    async def _open(self, progress: Callable[[str], None] | None) -> None:
        settings = self.settings
        bus = make_bus(settings)
        broker = RedisBroker(bus, grace=settings.grace, gateway=None)
        # Workers look at rooms, too, and so find out who is gone from them.
        Hooks(self._served, self._ask_hook).attach(broker)
        relay = RedisWorkerRelay(bus, worker=self.incarnation, names=self._served.requests)
        store: list[Store] = []

        async def open_redis() -> None:
            await open_bus(bus, settings, self._waiting, self._parts)
            await broker.start()
            self._parts.push_async_callback(broker.close)
            await relay.start()
            self._parts.push_async_callback(relay.close)

        async def open_store() -> None:
            store.append(await self._waiting.until_there("postgres", lambda: self._open_store(progress)))

        await together(open_redis(), open_store())
        worker = Worker(
            self._served,
            self._wrap_store(store[0]),
            broker,
            relay,
            tenant=settings.app,
            limits=WorkerLimits(handler=settings.handler_timeout, stop=_STOP),
            settings=settings,
        )
        # What an app does at its start needs the database, which may be gone again.
        await self._waiting.until_there("app", worker.start)
        self._parts.push_async_callback(worker.stop)
        self._parts.callback(count_worker(worker))
        self._relay, self._worker = relay, worker
        _log.info("the worker takes requests", worker=self.incarnation)

    async def _ask_hook(self, note: NotePresence, user: str, key: str) -> None:
        """Run a hook here. Raises `Refused`."""
        if self._worker is None:
            raise Refused("unavailable", "The worker starts.", outcome="none")
        await self._worker.publisher.call(note, user=user, key=key)

    async def _open_store(self, progress: Callable[[str], None] | None) -> Store:
        settings = self.settings
        if not self._migrate:
            await self._tables_are_there()
        store = await open_postgres(
            settings.postgres,
            settings.app,
            migrations=self.app.migrations,
            progress=progress,
            pool=settings.postgres_pool,
        )
        self._parts.push_async_callback(store.close)
        self._store_watch = watch = StoreWatch(store)
        watch.start()
        self._parts.push_async_callback(watch.close)
        keeping = asyncio.create_task(
            keep_house(self.app, store, tenant=settings.app, token_lifetime=settings.token_lifetime)
        )
        self._parts.push_async_callback(_cancelled, keeping)
        return store

    async def _tables_are_there(self) -> None:
        """See that somebody else has brought the database up to date. Raises `Refused` while nobody has."""
        target = PostgresTarget(self.settings.postgres)
        for each in (CORE, *self.app.migrations):
            if await run_in_engine(target, partial(_standing, each), begin=False) == "behind":
                raise Refused(
                    "unavailable",
                    f"The tables of {each.app!r} are not up to date: `backchannel migrate` brings them up to date.",
                    outcome="none",
                )

    async def _broken(self) -> None:
        assert self._opening is not None
        await self._opening.failed()

    async def _drain(self) -> None:
        """Leave the relay, and finish what was taken."""
        self._leaving = True
        self._end_by = asyncio.get_running_loop().time() + _END
        if self._worker is not None:
            _log.info("leaving", requests=self._worker.open)
            await self._worker.leave(_LEAVE)

    async def stop(self) -> None:
        """Stop at once: what was acknowledged is stored, and what was not is sent to another worker."""
        try:
            async with asyncio.timeout_at(self._end_by):
                await super().stop()
        except TimeoutError:
            _log.warning("something did not end in time, and was cut off")


def _standing(each: Migrations, connection: sa.Connection) -> str:
    return standing(connection, each)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
