"""Opens what the settings name: PostgreSQL, whose driver is loaded only then, or SQLite in the data folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from ..app import Migrations
from ..settings import Settings
from .api_keys import ApiKeys
from .revocations import Revocations
from .store import Reader, Store

__all__ = [
    "migrate_database",
    "new_epoch",
    "open_api_keys",
    "open_revocations",
    "open_snapshot",
    "open_store",
]


async def open_api_keys(settings: Settings) -> ApiKeys:
    """The API keys of the database, also of one that a server has open. Close them.

    Raises:
        StoreError: it cannot be opened; the message tells the cure.
        Refused: `unavailable`: it is not there, or busy.
    """
    if settings.postgres:
        from .postgres import postgres_api_keys

        return await postgres_api_keys(settings.postgres, settings.app)
    from .sqlite import sqlite_api_keys

    settings.data_folder.mkdir(parents=True, exist_ok=True)
    return sqlite_api_keys(settings.database, settings.app)


async def open_revocations(settings: Settings) -> Revocations:
    """The revocations of the database, also of one that a server has open. Close them. Raises as `open_api_keys`."""
    if settings.postgres:
        from .postgres import postgres_revocations

        return await postgres_revocations(settings.postgres, settings.app)
    from .sqlite import sqlite_revocations

    settings.data_folder.mkdir(parents=True, exist_ok=True)
    return sqlite_revocations(settings.database, settings.app)


async def migrate_database(
    settings: Settings, migrations: Sequence[Migrations], progress: Callable[[str], None]
) -> str:
    """Bring the database up to date; returns what to call it.

    Raises:
        StoreLocked: SQLite, and a server has it open.
        StoreError, Refused: as `open_api_keys`.
        RegistrationError: a table of the app's own is not keyed by app.
    """
    if settings.postgres:
        from .postgres import migrate_postgres
        from .postgres_target import PostgresTarget

        await migrate_postgres(settings.postgres, migrations, progress)
        return PostgresTarget(settings.postgres).shown
    from .sqlite import migrate_sqlite

    settings.data_folder.mkdir(parents=True, exist_ok=True)
    migrate_sqlite(settings.database, migrations, progress)
    return str(settings.database)


async def new_epoch(settings: Settings) -> int:
    """Make all positions that clients remember void; returns for how many tenants. Raises as `migrate_database`."""
    if settings.postgres:
        from .postgres import new_postgres_epoch

        return await new_postgres_epoch(settings.postgres)
    from .sqlite import new_sqlite_epoch

    return new_sqlite_epoch(settings.database)


async def open_store(
    settings: Settings, migrations: Sequence[Migrations], progress: Callable[[str], None] | None = None
) -> Store:
    """The store, brought up to date. Close it. Raises as `migrate_database`."""
    if settings.postgres:
        from .postgres import open_postgres

        return await open_postgres(
            settings.postgres,
            settings.app,
            migrations=migrations,
            progress=progress,
            pool=settings.postgres_pool,
        )
    from .sqlite import open_sqlite

    settings.data_folder.mkdir(parents=True, exist_ok=True)
    return open_sqlite(settings.database, settings.app, migrations=migrations, progress=progress)


@asynccontextmanager
async def open_snapshot(settings: Settings, migrations: Sequence[Migrations]) -> AsyncIterator[Reader]:
    """One moment of the database, also of one that a server has open, which goes on meanwhile.

    Raises:
        StoreError, Refused, RegistrationError: as `migrate_database`.
    """
    if settings.postgres:
        store = await open_store(settings, migrations)
        try:
            reader: Reader = await store.snapshot()
            try:
                yield reader
            finally:
                await reader.close()
        finally:
            await store.close()
        return
    from .sqlite import sqlite_snapshots

    settings.data_folder.mkdir(parents=True, exist_ok=True)
    pool = sqlite_snapshots(settings.database, settings.app, migrations)
    try:
        reader = await pool.begin()
        try:
            yield reader
        finally:
            await reader.close()
    finally:
        pool.close()
