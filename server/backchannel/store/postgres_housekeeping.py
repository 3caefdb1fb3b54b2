"""A PostgreSQL store, as its housekeeping needs it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .postgres import PostgresStore
    from .postgres_reads import PostgresReads

__all__ = ["PostgresHouse"]


class PostgresHouse:
    """`House`. A head is locked while its log is trimmed, so that several workers may do so at once."""

    lock = " FOR UPDATE"

    def __init__(self, store: PostgresStore) -> None:
        self.app = store.app
        self._store = store

    async def look(self, text: str, *values: Any) -> Sequence[Any]:
        """What a statement returns."""
        return await self._store.read(text, *values)

    @asynccontextmanager
    async def step(self) -> AsyncGenerator[PostgresReads]:
        """A transaction."""
        transaction = await self._store.begin(())
        try:
            yield transaction.reads
            await transaction.commit()
        finally:
            await transaction.rollback()
