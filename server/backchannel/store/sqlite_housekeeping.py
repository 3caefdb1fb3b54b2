"""A SQLite store, as its housekeeping needs it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

from .sqlite_errors import sqlite_border

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .sqlite import SqliteStore

__all__ = ["SqliteHouse"]


class _Step:
    """What runs on the write connection."""

    def __init__(self, writer: Connection) -> None:
        self._writer = writer

    async def fetch(self, text: str, *values: Any) -> Sequence[Any]:
        """What a statement returns."""
        with sqlite_border():
            return self._writer.execute(text.replace("$", "?"), values).fetchall()


class SqliteHouse:
    """`House`. A transaction has the only writer, so no row need be locked."""

    lock = ""

    def __init__(self, store: SqliteStore) -> None:
        self.app = store.app
        self._store = store

    async def look(self, text: str, *values: Any) -> Sequence[Any]:
        """What a statement returns, without waiting for a turn: no method of a transaction suspends half-way."""
        return await _Step(self._store.writer).fetch(text, *values)

    @asynccontextmanager
    async def step(self) -> AsyncGenerator[_Step]:
        """A transaction."""
        transaction = await self._store.begin(())
        try:
            yield _Step(self._store.writer)
            await transaction.commit()
        finally:
            await transaction.rollback()
