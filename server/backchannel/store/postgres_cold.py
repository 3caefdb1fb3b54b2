"""`ColdDatabase` in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from .postgres_dialect import PostgresDialect
from .postgres_errors import postgres_border
from .postgres_limits import PostgresLimits, begin_snapshot, begin_write
from .postgres_pool import PostgresPool
from .postgres_reads import PostgresReads, PostgresTexts
from .postgres_target import PostgresTarget

__all__ = ["PostgresCold"]

_SIZE: Final = 2


class PostgresCold:
    """Two connections at most. For the loop on which it is first used."""

    def __init__(self, target: PostgresTarget, limits: PostgresLimits) -> None:
        self._limits = limits
        self._pool = PostgresPool(target, _SIZE)
        self._texts = PostgresTexts(PostgresDialect())

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        prepared = self._texts.selects.prepare(statement)
        begin, seconds = begin_snapshot(self._limits), self._limits.statement
        return prepared.rows(await self._pool.fetch(prepared.text, *prepared.values, begin=begin, seconds=seconds))

    async def write(self, statement: sa.Executable) -> int:
        """Change rows; how many there were."""
        seconds = self._limits.answer
        connection = await self._pool.begin(begin_write(self._limits, ()), seconds=seconds)
        try:
            result = await PostgresReads(connection, "", self._texts, seconds).execute(statement)
            with postgres_border(committing=True):
                await connection.execute("COMMIT", timeout=seconds)
            return result.rowcount
        finally:
            await self._pool.end(connection)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()
