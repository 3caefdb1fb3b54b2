"""Asking an app's requests without a server: for the command line, beside no server or beside others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..app import App
from ..auth.commands import serving
from ..broker.memory import MemoryBroker
from ..context import Publisher
from ..relay.memory import MemoryRelay
from ..settings import Settings
from ..store.opening import open_store
from ..worker.runtime import WorkerLimits
from ..worker.worker import Worker

__all__ = ["asking"]


@asynccontextmanager
async def asking(
    app: App, settings: Settings, progress: Callable[[str], None] | None = None
) -> AsyncIterator[Publisher]:
    """A publisher on the database of the settings, brought up to date. No door is open, and no job runs.

    Durable events are in their logs; others reach nobody.

    Raises:
        StoreLocked: SQLite, and a server has it open.
        StoreError: it cannot be opened; the message tells the cure.
        Refused: `unavailable`: it is not there, or busy.
        RegistrationError: the app is not whole.
    """
    app.check()
    store = await open_store(settings, app.migrations, progress)
    try:
        broker = MemoryBroker(grace=settings.grace)
        try:
            worker = Worker(
                serving(app),
                store,
                broker,
                MemoryRelay(asyncio.get_running_loop()),
                tenant=settings.app,
                limits=WorkerLimits(handler=settings.handler_timeout),
                settings=settings,
            )
            try:
                yield worker.publisher
            finally:
                await worker.stop()
        finally:
            await broker.close()
    finally:
        await store.close()
