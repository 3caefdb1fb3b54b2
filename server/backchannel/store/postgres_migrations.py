"""Brings a PostgreSQL database up to date, also while others use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..app import Migrations
from .errors import StoreError
from .installation import ensure_epoch
from .postgres_dialect import ENGINE_URL
from .postgres_errors import LOCK_TIMEOUT, postgres_border
from .postgres_target import PostgresTarget
from .upgrade import LOCK_PATIENCE, upgrade

__all__ = ["migrate", "prepare_app", "run_in_engine"]

T = TypeVar("T")

_TRIES: Final = 20
_PAUSE: Final = 1.0
"""Seconds between two tries to get a lock on a table, in which whoever waited behind it gets through."""


async def migrate(
    target: PostgresTarget, migrations: Sequence[Migrations], progress: Callable[[str], None] | None
) -> None:
    """Bring the tables of Backchannel and of these apps up to date.

    A revision that cannot have a table at once is undone, and tried again.

    Raises:
        StoreError: the code is too old for the database, or a table stays locked.
        RegistrationError: a table is not keyed by app (tenant).
        Refused: `unavailable`: the database is not there.
    """
    for left in reversed(range(_TRIES)):
        try:
            await run_in_engine(target, lambda connection: upgrade(connection, migrations, progress), begin=False)
            return
        except sa.exc.DBAPIError as exc:
            if not _is_lock_timeout(exc):
                raise
            if not left:
                raise StoreError(
                    f"A table that a revision changes stayed in use for {_TRIES} times {LOCK_PATIENCE:g} s: end the "
                    f"transaction that holds it (pg_stat_activity tells which), and start again."
                ) from exc
            await asyncio.sleep(_PAUSE)


async def prepare_app(target: PostgresTarget, app: str) -> None:
    """Make an app's epoch, if this is its first start. Raises as `migrate`."""
    await run_in_engine(target, lambda connection: ensure_epoch(connection, app))


async def run_in_engine(target: PostgresTarget, function: Callable[[sa.Connection], T], *, begin: bool = True) -> T:
    """Run a synchronous function with a connection of SQLAlchemy's, for cold paths; in a transaction by default.

    Raises:
        Refused: `unavailable`: the database is not there, or was lost.
        StoreError: it refuses for good.
    """
    engine = _engine(target)
    try:
        async with engine.begin() if begin else engine.connect() as connection:
            return await connection.run_sync(function)
    except sa.exc.DBAPIError as exc:
        cause = exc.orig.__cause__ if exc.orig is not None else None
        if isinstance(cause, asyncpg.PostgresError) and not isinstance(cause, asyncpg.PostgresConnectionError):
            raise
        with postgres_border():
            raise cause or exc from None
    finally:
        await engine.dispose()


def _engine(target: PostgresTarget) -> AsyncEngine:
    """An engine whose statements have no names, so that it works behind a pooler too."""
    return create_async_engine(
        ENGINE_URL,
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={
            "async_creator_fn": target.connect,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
        },
    )


def _is_lock_timeout(exc: sa.exc.DBAPIError) -> bool:
    return getattr(exc.orig, "sqlstate", None) == LOCK_TIMEOUT
