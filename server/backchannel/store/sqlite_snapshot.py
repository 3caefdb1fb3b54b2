"""Read-only snapshots, each on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ..broker.broker import Envelope, LogHead
from .errors import StoreError
from .sqlite_connection import connect_reader
from .sqlite_errors import sqlite_border
from .sqlite_reads import SqliteReads
from .sqlite_statements import SqliteStatements

__all__ = ["SnapshotPool", "SqliteReader"]

OPEN_LIMIT: Final = 32
"""Snapshots that may be open at once; each holds file handles and keeps the write-ahead log from shrinking."""
IDLE_LIMIT: Final = 4
"""Connections that are kept when nobody reads."""


class SqliteReader:
    """One snapshot: what was committed when it began, however long it is read. Close it."""

    def __init__(self, reads: SqliteReads, pool: SnapshotPool) -> None:
        self._reads: SqliteReads | None = reads
        self._pool = pool

    def _open(self) -> SqliteReads:
        if self._reads is None:
            raise StoreError("This snapshot is closed; begin another.")
        return self._reads

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        return self._open().rows(statement)

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key."""
        return self._open().get(table, key)

    async def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """The newest offsets in this snapshot; 0 where there is none."""
        return self._open().positions(channels)

    async def logs(self, after: Mapping[str, int], limit: int) -> dict[str, tuple[LogHead, list[Envelope]]]:
        """The logs' heads, and their events after an offset."""
        return self._open().logs(after, limit)

    async def close(self) -> None:
        """End the snapshot; safe to call twice."""
        if self._reads is not None:
            reads, self._reads = self._reads, None
            self._pool.give_back(reads)


class SnapshotPool:
    """The connections for snapshots. For one loop."""

    def __init__(self, path: Path, app: str, statements: SqliteStatements) -> None:
        self._path = path
        self._app = app
        self._statements = statements
        self._idle: list[SqliteReads] = []
        self._used: set[SqliteReads] = set()
        self._turn = asyncio.Semaphore(OPEN_LIMIT)
        self._closed = False

    async def begin(self) -> SqliteReader:
        """Begin a snapshot of what is committed now; waits only while `OPEN_LIMIT` are open.

        Cancelling gives up the place in the queue.
        """
        await self._turn.acquire()
        try:
            if self._closed:
                raise StoreError("The store is closed.")
            reads = self._idle.pop() if self._idle else self._connect()
            try:
                with sqlite_border():
                    reads.connection.execute("BEGIN")
                    # BEGIN alone promises nothing: the snapshot is taken by the first read.
                    reads.connection.execute("SELECT 1 FROM installation").fetchone()
            except BaseException:
                reads.close()
                raise
        except BaseException:
            self._turn.release()
            raise
        self._used.add(reads)
        return SqliteReader(reads, self)

    def _connect(self) -> SqliteReads:
        return SqliteReads(connect_reader(self._path), self._app, self._statements)

    def give_back(self, reads: SqliteReads) -> None:
        """Take back a connection and end its snapshot."""
        if reads not in self._used:
            return
        self._used.remove(reads)
        self._turn.release()
        if len(self._idle) < IDLE_LIMIT:
            with sqlite_border():
                reads.connection.execute("ROLLBACK")
            self._idle.append(reads)
        else:
            reads.close()

    def close(self) -> None:
        """Close all connections, also those in use."""
        self._closed = True
        for reads in (*self._idle, *self._used):
            reads.close()
        self._idle.clear()
        self._used.clear()
