"""PostgreSQL as a gateway process needs it: it reads logs, API keys and revocations, and makes no tables."""

from __future__ import annotations

import asyncio
from typing import Final

import sqlalchemy as sa

from backchannel_protocol import Refused

from .api_keys import ApiKeys
from .errors import StoreError
from .postgres_cold import PostgresCold
from .postgres_limits import PostgresLimits
from .postgres_log_reader import LOG_READERS, PostgresLogReader
from .postgres_migrations import run_in_engine
from .postgres_target import PostgresTarget
from .revocations import Revocations
from .tables import installation
from .upgrade import CORE, standing

__all__ = ["PostgresReader", "open_postgres_reader"]

_PAUSE: Final = 0.5
"""Seconds between two looks for the tables."""


class PostgresReader:
    """What a gateway reads of one app (tenant). For the loop on which it is first used; close it there."""

    def __init__(self, target: PostgresTarget, app: str, limits: PostgresLimits, pool: int) -> None:
        """Use `open_postgres_reader`."""
        self._target = target
        self._app = app
        self._limits = limits
        self._pool = pool
        self._cold = PostgresCold(target, limits)
        self.api_keys = ApiKeys(self._cold, app)
        """The app's API keys."""
        self.revocations = Revocations(self._cold, app)
        """The app's revocations."""

    def log_reader(self) -> PostgresLogReader:
        """A reader of logs, with connections of its own. Close it."""
        return PostgresLogReader(self._target, self._app, self._limits, size=self._pool)

    async def close(self) -> None:
        """Close the connections for API keys and revocations."""
        await self._cold.close()


async def open_postgres_reader(
    url: str,
    app: str = "main",
    *,
    pool: int = LOG_READERS,
    wait: float = 60.0,
    limits: PostgresLimits | None = None,
) -> PostgresReader:
    """Open a database for a gateway, once it is there and a worker, or `backchannel migrate`, has made the tables.

    Args:
        url: see `PostgresTarget`.
        app: the tenant.
        pool: how many connections read logs at most.
        wait: for how many seconds it may be waited for database, tables and tenant. Cancelling ends the wait.
        limits: how long what may take.

    Raises:
        StoreError: it refuses; a newer version's revision took away what this one reads; or the wait is over, and the
            message says what was missing.
    """
    target = PostgresTarget(url)
    missing = "it does not answer"
    try:
        async with asyncio.timeout(wait):
            # The tables are made by another process, which tells nobody.
            while missing := await _missing(target, app):  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        raise StoreError(
            f"PostgreSQL at {target.shown} was not ready within {wait:g} s: {missing}. Start it and a worker; or look "
            f"for what keeps them."
        ) from None
    # A read that takes longer is of no use to a client.
    return PostgresReader(target, app, limits or PostgresLimits(statement=5.0), pool)


async def _missing(target: PostgresTarget, app: str) -> str:
    """What is not there yet; empty if all is."""
    try:
        return await run_in_engine(target, lambda connection: _look(connection, app), begin=False)
    except Refused as exc:
        return exc.message


def _look(connection: sa.Connection, app: str) -> str:
    state = standing(connection, CORE)
    if state == "behind":
        return "its tables are not made, or not up to date; a worker or `backchannel migrate` brings them up to date"
    if state == "too new":
        raise StoreError("A newer version made the tables, and took away what this one reads: install that version.")
    found = connection.scalar(sa.select(installation.c.epoch).where(installation.c.app == app))
    return "" if found is not None else f"no worker of the tenant {app!r} was ever started"
