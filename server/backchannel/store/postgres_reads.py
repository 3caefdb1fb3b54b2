"""Reads on one PostgreSQL connection, as both a snapshot and a transaction offer them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import sqlalchemy as sa

from ..broker.broker import Envelope, LogHead
from .postgres_errors import postgres_border
from .postgres_selects import Executed, PostgresSelects
from .postgres_statements import HEADS, LOGS, PostgresStatements, columns_of
from .postgres_target import Connection
from .setwise import envelope_of

__all__ = ["PostgresReads", "PostgresTexts", "heads_of"]


class PostgresTexts:
    """What is known of statements, shared by all connections of a store."""

    __slots__ = ("selects", "statements")

    def __init__(self, dialect: sa.Dialect) -> None:
        self.statements = PostgresStatements(dialect)
        self.selects = PostgresSelects(dialect)


def heads_of(records: Sequence[asyncpg.Record]) -> tuple[dict[str, LogHead], LogHead]:
    """The heads by channel in the answer of `HEADS`, and the head of a channel that was never used."""
    unused = LogHead("", 0, 1)
    heads: dict[str, LogHead] = {}
    for channel, epoch, offset, first in records:
        head = LogHead(epoch, offset, first)
        if channel is None:
            unused = head
        else:
            heads[channel] = head
    return heads, unused


class PostgresReads:
    """A connection within a transaction. Statements of several tasks take turns; errors come as `Refused`."""

    __slots__ = ("_seconds", "_turn", "app", "connection", "texts")

    def __init__(self, connection: Connection, app: str, texts: PostgresTexts, seconds: float) -> None:
        """`seconds` is how long an answer is waited for."""
        self.connection = connection
        self.app = app
        self.texts = texts
        self._seconds = seconds
        self._turn = asyncio.Lock()

    async def fetch(self, text: str, *values: Any) -> list[asyncpg.Record]:
        """What a statement of the store's own returns."""
        async with self._turn:
            with postgres_border():
                return await self.connection.fetch(text, *values, timeout=self._seconds)

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        prepared = self.texts.selects.prepare(statement)
        return prepared.rows(await self.fetch(prepared.text, *prepared.values))

    async def execute(self, statement: sa.Executable) -> Executed:
        """Free SQL, with what the server says it did."""
        prepared = self.texts.selects.prepare(statement)
        async with self._turn:
            with postgres_border():
                # Without a name: behind a pooler one would outlive the transaction.
                running = await self.connection.prepare(prepared.text, name="", timeout=self._seconds)
                records = await running.fetch(*prepared.values, timeout=self._seconds)
                return prepared.executed(records, running.get_statusmsg() or "")

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key.

        Raises:
            ValueError: the key is not the whole primary key.
        """
        shape = self.texts.statements.shape(table)
        values = shape.whole_key(key)
        records = await self.fetch(self.texts.statements.get(shape, shape.key), self.app, *values)
        return shape.row(tuple(records[0])) if records else None

    async def get_many(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> list[sa.Row[Any] | None]:
        """Many rows by their whole primary keys, in the order of the keys; None where there is none.

        Raises:
            ValueError: a key is not the whole primary key.
        """
        statements = self.texts.statements
        shape = statements.shape(table)
        if not keys or not statements.spreads(shape, shape.key):
            return [await self.get(table, key) for key in keys]
        columns = columns_of([shape.whole_key(key) for key in keys])
        rows: list[sa.Row[Any] | None] = [None] * len(keys)
        for number, *row in await self.fetch(statements.get_many(shape, shape.key), self.app, *columns):
            rows[number - 1] = shape.row(tuple(row))
        return rows

    async def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """The channels' newest offsets; 0 where there is none."""
        if not channels:
            return {}
        heads, unused = heads_of(await self.fetch(HEADS, self.app, list(channels)))
        return {channel: heads.get(channel, unused).offset for channel in channels}

    async def logs(self, after: Mapping[str, int], limit: int) -> dict[str, tuple[LogHead, list[Envelope]]]:
        """The logs' heads, and their events after an offset."""
        logs: dict[str, tuple[LogHead, list[Envelope]]] = {}
        for channel, epoch, offset, first, *event in await self.fetch(
            LOGS, self.app, list(after), list(after.values()), limit
        ):
            _, events = logs.setdefault(channel, (LogHead(epoch, offset, first), []))
            if event[0] is not None:
                events.append(envelope_of(channel, epoch, *event))
        return logs
