"""The store in a SQLite file: one process, one writer, every commit synced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from sqlite3 import Connection

import sqlalchemy as sa

from ..app import Migrations
from .api_keys import ApiKeys
from .errors import StoreError, StoreLocked
from .housekeeping import keep_house
from .installation import ensure_epoch, renew_epochs
from .lock import FileLock
from .revocations import Revocations
from .sqlite_cold import SqliteCold
from .sqlite_connection import connect, sqlite_engine
from .sqlite_errors import sqlite_border
from .sqlite_housekeeping import SqliteHouse
from .sqlite_log_reader import SqliteLogReader
from .sqlite_reads import SqliteReads
from .sqlite_snapshot import SnapshotPool, SqliteReader
from .sqlite_statements import SqliteStatements
from .sqlite_transaction import SqliteTransaction
from .upgrade import upgrade

__all__ = [
    "SqliteStore",
    "migrate_sqlite",
    "new_sqlite_epoch",
    "open_sqlite",
    "sqlite_api_keys",
    "sqlite_revocations",
    "sqlite_snapshots",
]

Progress = Callable[[str], None]


def _now() -> int:
    return time.time_ns() // 1_000_000


def open_sqlite(
    path: Path | str,
    app: str = "main",
    *,
    migrations: Sequence[Migrations] = (),
    progress: Progress | None = None,
    clock: Callable[[], int] = _now,
) -> SqliteStore:
    """Open a database for one app (tenant), locked against other processes, made and brought up to date if need be.

    Args:
        path: the file; its folder must exist. `<path>.lock` is beside it.
        app: the tenant.
        migrations: `App.migrations`: the tables of the app's own.
        progress: called with one line per revision applied.
        clock: Unix milliseconds.

    Raises:
        StoreLocked: another process has it open; the message says which.
        StoreError: it cannot be opened, or a newer version made it.
        RegistrationError: a table of the app's own is not keyed by app.
        Refused: `unavailable`: it is busy, or the disk is full or fails.
    """
    path = _resolved(path)
    lock = FileLock(path)
    try:
        _upgrade(path, migrations, progress)
        epoch = _epoch(path, app)
        reads = SqliteReads(connect(path), app)
    except BaseException:
        lock.release()
        raise
    return SqliteStore(path, lock, reads, epoch, clock)


def migrate_sqlite(path: Path | str, migrations: Sequence[Migrations], progress: Progress | None = None) -> None:
    """Bring a database up to date, while nobody has it open. Raises as `open_sqlite`."""
    path = _resolved(path)
    lock = FileLock(path)
    try:
        _upgrade(path, migrations, progress)
    finally:
        lock.release()


def new_sqlite_epoch(path: Path | str, clock: Callable[[], int] = _now) -> int:
    """Make all positions that clients remember void: for after a restore, while nobody has the database open.

    Returns:
        How many apps the database has.

    Raises:
        StoreLocked, StoreError, Refused: as `open_sqlite`.
    """
    path = _resolved(path)
    lock = FileLock(path)
    try:
        _upgrade(path, (), None)
        engine = sqlite_engine(path, begin="IMMEDIATE")
        try:
            with engine.begin() as connection:
                return renew_epochs(connection, clock())
        finally:
            engine.dispose()
    finally:
        lock.release()


def sqlite_api_keys(path: Path | str, app: str = "main") -> ApiKeys:
    """The API keys of a database, also of one that a server has open. Close it.

    Raises:
        StoreError, Refused: as `open_sqlite`.
    """
    return ApiKeys(SqliteCold(_engine_beside(path)), app)


def sqlite_revocations(path: Path | str, app: str = "main") -> Revocations:
    """The revocations of a database, also of one that a server has open. Close it.

    Raises:
        StoreError, Refused: as `open_sqlite`.
    """
    return Revocations(SqliteCold(_engine_beside(path)), app)


def sqlite_snapshots(path: Path | str, app: str, migrations: Sequence[Migrations]) -> SnapshotPool:
    """Snapshots of a database, also of one that a server has open. Close it.

    Raises:
        StoreError, Refused: as `open_sqlite`.
    """
    path = _resolved(path)
    try:
        lock = FileLock(path)
    except StoreLocked:
        pass  # Whoever has it open has brought it up to date.
    else:
        try:
            _upgrade(path, migrations, None)
            _epoch(path, app)
        finally:
            lock.release()
    return SnapshotPool(path, app, SqliteStatements(sqlite_engine(path).dialect))


def _engine_beside(path: Path | str) -> sa.Engine:
    """An engine on a database that is up to date, whether or not somebody has it open."""
    path = _resolved(path)
    try:
        lock = FileLock(path)
    except StoreLocked:
        pass  # Whoever has it open has brought it up to date.
    else:
        try:
            _upgrade(path, (), None)
        finally:
            lock.release()
    return sqlite_engine(path)


def _resolved(path: Path | str) -> Path:
    if str(path) == ":memory:":
        raise StoreError("The store needs a file, since readers have connections of their own: name one.")
    return Path(path).resolve()


def _upgrade(path: Path, migrations: Sequence[Migrations], progress: Progress | None) -> None:
    engine = sqlite_engine(path, begin="IMMEDIATE", references=False)
    try:
        with sqlite_border(), engine.connect() as connection:
            upgrade(connection, migrations, progress)
    finally:
        engine.dispose()


def _epoch(path: Path, app: str) -> str:
    engine = sqlite_engine(path, begin="IMMEDIATE")
    try:
        with sqlite_border(), engine.begin() as connection:
            return ensure_epoch(connection, app)
    finally:
        engine.dispose()


class SqliteStore:
    """`Store`. Use it on one loop, but for `log_reader`.

    The write connection is called directly, on that loop's thread: only waiting for one's turn suspends. A turn that is
    given never waits for a reader, since WAL lets both go on.
    """

    def __init__(self, path: Path, lock: FileLock, reads: SqliteReads, epoch: str, clock: Callable[[], int]) -> None:
        self.path = path
        self.app = reads.app
        self.epoch = epoch
        """The store's epoch, and that of every channel that was never used."""
        self._lock = lock
        self._reads = reads
        self._clock = clock
        self._turn = asyncio.Lock()
        self._snapshots = SnapshotPool(path, reads.app, reads.statements)
        self._leases: dict[str, tuple[str, int]] = {}
        self._closed = False

    @property
    def writers(self) -> int:
        """SQLite has one writer."""
        return 1

    @property
    def writer(self) -> Connection:
        """The write connection; only for whoever has the turn."""
        return self._reads.connection

    async def begin(self, lanes: Sequence[str]) -> SqliteTransaction:
        """Begin a write transaction. SQLite has one writer, so it holds all lanes; turns are given in order.

        Cancelling gives up the place in the queue.

        Raises:
            Refused: `unavailable`: another process (the command line) writes for too long.
            StoreError: the store is closed.
        """
        await self._turn.acquire()
        try:
            if self._closed:
                raise StoreError("The store is closed.")
            with sqlite_border():
                self.writer.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._turn.release()
            raise
        return SqliteTransaction(self._reads, self.epoch, self._clock, self._turn.release)

    async def snapshot(self) -> SqliteReader:
        """Begin a read-only snapshot of what is committed now. Close it.

        Raises:
            Refused: `unavailable`.
            StoreError: the store is closed.
        """
        return await self._snapshots.begin()

    def log_reader(self, executor: Executor | None = None) -> SqliteLogReader:
        """A reader for a gateway. Any thread; close it on the loop that used it.

        `executor` runs its reads instead of threads of its own, as where all reads must end in the tick that asked.
        """
        return SqliteLogReader(self.path, self.app, self.epoch, executor=executor)

    async def housekeeping(self, bounds: Mapping[str, tuple[int, float]], now: int) -> None:
        """Trim logs to (events, seconds) per namespace, and let the replies of keys older than 30 days go.

        It works in short steps between which whoever waits to write gets a turn; cancelling stops between two steps.
        """
        await keep_house(SqliteHouse(self), bounds, now)

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take, keep or (0 seconds) give back a lease; False while another holder has it.

        They are kept in memory and end with the process: no other one has the database open.
        """
        now = self._clock()
        other, until = self._leases.get(name, (holder, 0))
        if other != holder and until > now:
            return False
        self._leases[name] = (holder, now + int(seconds * 1000))
        return True

    async def close(self) -> None:
        """Close the database once the transaction that is open has ended; the lock is released."""
        async with self._turn:
            if self._closed:
                return
            self._closed = True
            self._snapshots.close()
            self._reads.close()
            self._lock.release()
