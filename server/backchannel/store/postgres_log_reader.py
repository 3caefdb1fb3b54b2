"""Reads durable logs for a gateway, on its loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from ..broker.broker import Envelope, LogHead
from .errors import StoreError
from .head_questions import HeadQuestions
from .postgres_limits import PostgresLimits, begin_snapshot
from .postgres_pool import PostgresPool
from .postgres_reads import heads_of
from .postgres_statements import CHANGED_HEADS, HEADS, LOG
from .postgres_target import PostgresTarget
from .setwise import envelope_of

__all__ = ["LOG_READERS", "PostgresLogReader"]

LOG_READERS: Final = 4
"""Connections of a log reader."""


class PostgresLogReader:
    """`LogReader`. Each answer is one statement, and so of one moment; behind a pooler it has a transaction of its own.

    Use it on one loop. Cancelling a read ends it on the server.
    """

    def __init__(self, target: PostgresTarget, app: str, limits: PostgresLimits, *, size: int = LOG_READERS) -> None:
        self._app = app
        self._limits = limits
        self._pool = PostgresPool(target, size)
        self._questions = HeadQuestions(self._answers)
        self._closed = False

    async def head(self, channel: str) -> LogHead:
        """Where a durable channel's log stands; calls of one loop tick are answered by one statement.

        Raises:
            Refused: `unavailable`.
        """
        return (await self._questions.ask((channel,)))[channel]

    async def heads(self, channels: Sequence[str]) -> dict[str, LogHead]:
        """As `head` of each of these channels, by name.

        Raises:
            Refused: `unavailable`.
        """
        return await self._questions.ask(channels)

    async def _answers(self, channels: Sequence[str]) -> tuple[dict[str, LogHead], LogHead]:
        return heads_of(await self._fetch(HEADS, list(channels)))

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events of a durable log after an offset, in order, at most `limit`, and the head of the same moment.

        Raises:
            Refused: `unavailable`.
        """
        records = await self._fetch(LOG, channel, after, limit)
        if not records:
            raise StoreError(f"The database has no app {self._app!r} any more; start its worker.")
        store_epoch, epoch, offset, first, *_ = records[0]
        if epoch is None:
            return LogHead(store_epoch, 0, 1), []
        envelopes = [envelope_of(channel, epoch, *tuple(record)[4:]) for record in records if record[4] is not None]
        return LogHead(epoch, offset, first), envelopes

    async def changed(self, since: int) -> dict[str, LogHead]:
        """Heads that changed at or after this instant (Unix milliseconds).

        Raises:
            Refused: `unavailable`.
        """
        return heads_of(await self._fetch(CHANGED_HEADS, since))[0]

    async def close(self) -> None:
        """Close the connections; reads that run are refused."""
        self._closed = True
        await self._pool.close()

    async def _fetch(self, text: str, *values: Any) -> list[asyncpg.Record]:
        if self._closed:
            raise StoreError("This log reader is closed.")
        return await self._pool.fetch(
            text, self._app, *values, begin=begin_snapshot(self._limits), seconds=self._limits.statement
        )
