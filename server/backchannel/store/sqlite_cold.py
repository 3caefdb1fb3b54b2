"""`ColdDatabase` in a SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa

from .sqlite_errors import sqlite_border

__all__ = ["SqliteCold"]


class SqliteCold:
    """Statements run in threads, with connections of their own. Any loop may use it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        return await asyncio.to_thread(self._rows, statement)

    def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with sqlite_border(), self._engine.connect() as connection:
            return connection.execute(statement).all()

    async def write(self, statement: sa.Executable) -> int:
        """Change rows; how many there were."""
        return await asyncio.to_thread(self._write, statement)

    def _write(self, statement: sa.Executable) -> int:
        with sqlite_border(), self._engine.begin() as connection:
            return cast("sa.CursorResult[Any]", connection.execute(statement)).rowcount

    async def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
