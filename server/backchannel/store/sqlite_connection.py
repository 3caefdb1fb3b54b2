"""Connections to a SQLite file, all opened the same way."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from backchannel_protocol import Refused

from .errors import StoreError

__all__ = ["connect", "connect_reader", "engine_over", "sqlite_engine"]

BUSY_TIMEOUT = 5.0
"""Seconds that a write waits for another process's (the command line's) to end."""

_STATEMENTS = 512
"""Prepared statements kept per connection: set-wise statements differ in text by their number of rows."""

_CACHE = 32 * 1024
"""KiB of pages that the writer keeps at most. (Measured, messages to 100 channels: with SQLite's 2 MiB each reads ten
pages again, 41 KB; with this and `_CHECKPOINT` less than two.)"""

_CHECKPOINT = 4000
"""Pages of the write-ahead log, of 4 KiB, after which they are copied into the file: a page that many commits changed
is copied once. (Measured, as above: 44 KB written per message; with SQLite's 1000 pages 55 KB.)"""

_WAL_LIMIT = 64 * 1024 * 1024
"""Bytes that the write-ahead log is cut back to, once a burst is over."""


def connect(path: Path, *, read_only: bool = False, create: bool = False) -> sqlite3.Connection:
    """Open a database in WAL mode, where a commit returns only when it is synced; transactions are begun by hand.

    Any thread may use the connection, one at a time.

    Raises:
        StoreError: it cannot be opened, or SQLite is too old.
    """
    if sqlite3.sqlite_version_info < (3, 38):
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with SQLite 3.38 or later.")
    mode = "ro" if read_only else "rwc" if create else "rw"
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
        )
        if read_only:
            connection.execute("PRAGMA query_only = 1")
        else:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("PRAGMA synchronous = full")
            connection.execute(f"PRAGMA cache_size = -{_CACHE}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
        connection.execute("PRAGMA foreign_keys = 1")
    except sqlite3.DatabaseError as exc:
        if connection is not None:
            connection.close()
        raise StoreError(f"Cannot open {path}: {exc}. Check the path, its rights and the disk.") from exc
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection, for a request that needs one now.

    Raises:
        Refused: `unavailable`: it cannot be had, as when the process has too many files open.
    """
    try:
        return connect(path, read_only=True)
    except StoreError as exc:
        raise Refused(
            "unavailable", "The database cannot be opened for reading.", outcome="none", retry_after=1.0
        ) from exc


def engine_over(connection: sqlite3.Connection) -> sa.Engine:
    """An engine whose only connection is this one, which begins no transactions. Take its connection once and hold it:
    SQLAlchemy rolls back what is given back to it."""
    return sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.StaticPool)


def sqlite_engine(
    path: Path, *, begin: Literal["DEFERRED", "IMMEDIATE"] = "DEFERRED", references: bool = True
) -> sa.Engine:
    """An ordinary engine on a file, for cold paths: migrations and API keys. It makes the file if it is not there.

    Args:
        path: the file.
        begin: how a transaction begins; one that reads before it writes must be `IMMEDIATE`.
        references: whether foreign keys are enforced.
    """

    def make() -> sqlite3.Connection:
        connection = connect(path, create=True)
        connection.execute(f"PRAGMA foreign_keys = {int(references)}")
        return connection

    engine = sa.create_engine("sqlite://", creator=make, poolclass=sa.QueuePool)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {begin}")

    return engine
