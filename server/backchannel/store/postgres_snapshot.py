"""Read-only snapshots of PostgreSQL's primary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..broker.broker import Envelope, LogHead
from .errors import StoreError
from .postgres_pool import PostgresPool
from .postgres_reads import PostgresReads

__all__ = ["PostgresSnapshot"]


class PostgresSnapshot:
    """One snapshot (`REPEATABLE READ READ ONLY`): what was committed when it began, however long it is read. Close it.

    Cancelling a read ends it on the server.
    """

    def __init__(self, reads: PostgresReads, pool: PostgresPool) -> None:
        self._reads: PostgresReads | None = reads
        self._pool = pool

    def _open(self) -> PostgresReads:
        if self._reads is None:
            raise StoreError("This snapshot is closed; begin another.")
        return self._reads

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        return await self._open().rows(statement)

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key."""
        return await self._open().get(table, key)

    async def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """The newest offsets in this snapshot; 0 where there is none."""
        return await self._open().positions(channels)

    async def logs(self, after: Mapping[str, int], limit: int) -> dict[str, tuple[LogHead, list[Envelope]]]:
        """The logs' heads, and their events after an offset."""
        return await self._open().logs(after, limit)

    async def close(self) -> None:
        """End the snapshot; safe to call twice."""
        if self._reads is not None:
            reads, self._reads = self._reads, None
            await self._pool.end(reads.connection)
