"""The store in PostgreSQL: as many processes as are wanted, each with a few connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import asyncpg

from ..app import Migrations
from .api_keys import ApiKeys
from .errors import StoreError
from .housekeeping import keep_house
from .installation import renew_epochs
from .lanes import LaneTurns, lane_numbers
from .postgres_cold import PostgresCold
from .postgres_dialect import PostgresDialect
from .postgres_housekeeping import PostgresHouse
from .postgres_limits import PostgresLimits, begin_snapshot, begin_write
from .postgres_log_reader import PostgresLogReader
from .postgres_migrations import migrate, prepare_app, run_in_engine
from .postgres_pool import PostgresPool
from .postgres_reader import PostgresReader, open_postgres_reader
from .postgres_reads import PostgresReads, PostgresTexts
from .postgres_snapshot import PostgresSnapshot
from .postgres_target import PostgresTarget
from .postgres_transaction import PostgresTransaction
from .revocations import Revocations

__all__ = [
    "PostgresReader",
    "PostgresStore",
    "migrate_postgres",
    "new_postgres_epoch",
    "open_postgres",
    "open_postgres_reader",
    "postgres_api_keys",
    "postgres_revocations",
]

Progress = Callable[[str], None]

_LEASE: Final = (
    "INSERT INTO leases AS l (app, name, holder, until) "
    "VALUES ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $4) "
    "ON CONFLICT (app, name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
    "WHERE l.holder = excluded.holder OR l.until <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint RETURNING 1"
)


def _now() -> int:
    return time.time_ns() // 1_000_000


async def open_postgres(
    url: str,
    app: str = "main",
    *,
    migrations: Sequence[Migrations] = (),
    progress: Progress | None = None,
    clock: Callable[[], int] = _now,
    pool: int = 8,
    limits: PostgresLimits | None = None,
) -> PostgresStore:
    """Open a database for one app (tenant), made and brought up to date if need be.

    Args:
        url: see `PostgresTarget`.
        app: the tenant.
        migrations: `App.migrations`: the tables of the app's own.
        progress: called with one line per revision applied.
        clock: Unix milliseconds.
        pool: how many connections at most; half of them for commands, half for queries.
        limits: how long what may take.

    Raises:
        StoreError: it refuses, or a newer version's revision took away what this one needs.
        RegistrationError: a table of the app's own is not keyed by app.
        Refused: `unavailable`: it is not there.
    """
    target = PostgresTarget(url)
    await migrate(target, migrations, progress)
    await prepare_app(target, app)
    return PostgresStore(target, app, clock=clock, pool=pool, limits=limits or PostgresLimits())


async def migrate_postgres(url: str, migrations: Sequence[Migrations], progress: Progress | None = None) -> None:
    """Bring a database up to date, also while others use it. Raises as `open_postgres`."""
    await migrate(PostgresTarget(url), migrations, progress)


async def new_postgres_epoch(url: str, clock: Callable[[], int] = _now) -> int:
    """Make all positions that clients remember void: for after a restore.

    Returns:
        How many apps the database has.

    Raises:
        StoreError, Refused: as `open_postgres`.
    """
    target = PostgresTarget(url)
    await migrate(target, (), None)
    return await run_in_engine(target, lambda connection: renew_epochs(connection, clock()))


async def postgres_api_keys(url: str, app: str = "main", *, limits: PostgresLimits | None = None) -> ApiKeys:
    """The API keys of a database, brought up to date if need be. Close them. Raises as `open_postgres`."""
    return ApiKeys(await _cold(url, limits), app)


async def postgres_revocations(url: str, app: str = "main", *, limits: PostgresLimits | None = None) -> Revocations:
    """The revocations of a database, brought up to date if need be. Close them. Raises as `open_postgres`."""
    return Revocations(await _cold(url, limits), app)


async def _cold(url: str, limits: PostgresLimits | None) -> PostgresCold:
    target = PostgresTarget(url)
    await migrate(target, (), None)
    return PostgresCold(target, limits or PostgresLimits())


class PostgresStore:
    """`Store`. Use it on one loop, but for `log_reader`."""

    def __init__(
        self, target: PostgresTarget, app: str, *, clock: Callable[[], int], pool: int, limits: PostgresLimits
    ) -> None:
        """Use `open_postgres`."""
        self.app = app
        self._target = target
        self._clock = clock
        self._limits = limits
        self._texts = PostgresTexts(PostgresDialect())
        self._writing = PostgresPool(target, max(pool // 2, 1))
        # Queries have connections of their own: a handler may wait for one while it holds a transaction.
        self._reading = PostgresPool(target, max(pool - pool // 2, 1))
        self._turns = LaneTurns(limits.lock)
        self._closed = False

    @property
    def writers(self) -> int:
        """How many transactions may be open at once."""
        return self._writing.size

    async def begin(self, lanes: Sequence[str]) -> PostgresTransaction:
        """Begin a write transaction that holds these lanes: nobody else does, in any process.

        Cancelling gives up the place in the queue.

        Raises:
            Refused: `unavailable`: the database is not there, or a lane stays taken for too long.
            StoreError: the store is closed.
        """
        self._check()
        numbers = lane_numbers(self.app, lanes)
        await self._turns.take(numbers)
        seconds = self._limits.answer
        try:
            connection = await self._writing.begin(begin_write(self._limits, numbers), seconds=seconds)
        except BaseException:
            self._turns.give_back(numbers)
            raise
        reads = PostgresReads(connection, self.app, self._texts, seconds)
        done = lambda: self._turns.give_back(numbers)  # noqa: E731
        return PostgresTransaction(reads, self._writing, self._clock, seconds, done)

    async def snapshot(self) -> PostgresSnapshot:
        """Begin a read-only snapshot of what is committed now, on the primary. Close it.

        Raises:
            Refused: `unavailable`.
            StoreError: the store is closed.
        """
        self._check()
        connection = await self._reading.begin(begin_snapshot(self._limits), seconds=self._limits.answer)
        return PostgresSnapshot(PostgresReads(connection, self.app, self._texts, self._limits.answer), self._reading)

    def log_reader(self) -> PostgresLogReader:
        """A reader for a gateway, with connections of its own. Any thread; close it on the loop that used it."""
        return PostgresLogReader(self._target, self.app, self._limits)

    async def read(self, text: str, *values: Any) -> list[asyncpg.Record]:
        """What one statement that only reads returns, for the store's own housekeeping."""
        self._check()
        limits = self._limits
        return await self._reading.fetch(text, *values, begin=begin_snapshot(limits), seconds=limits.statement)

    async def housekeeping(self, bounds: Mapping[str, tuple[int, float]], now: int) -> None:
        """Trim logs to (events, seconds) per namespace, and let the replies of keys older than 30 days go.

        It works in short steps; cancelling stops between two steps. Several workers may do so at once.
        """
        await keep_house(PostgresHouse(self), bounds, now)

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take, keep or (0 seconds) give back a lease, by the database's clock; False while another holder has it.

        Raises:
            Refused: `unavailable`.
        """
        transaction = await self.begin(())
        try:
            taken = await transaction.reads.fetch(_LEASE, self.app, name, holder, int(seconds * 1000))
            await transaction.commit()
        finally:
            await transaction.rollback()
        return bool(taken)

    async def close(self) -> None:
        """Close the connections once the transactions that are open have ended, or took too long to."""
        self._closed = True
        await self._writing.close(wait=self._limits.answer)
        await self._reading.close()

    def _check(self) -> None:
        if self._closed:
            raise StoreError("The store is closed.")
