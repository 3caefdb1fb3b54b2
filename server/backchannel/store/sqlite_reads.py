"""Reads on one SQLite connection, as both a snapshot and a transaction offer them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ..broker.broker import Envelope, LogHead
from .setwise import envelope_of
from .shapes import TableShape
from .sqlite_connection import engine_over
from .sqlite_errors import sqlite_border
from .sqlite_statements import COUNTERS, HEADS, LOGS, SqliteStatements, chunks

__all__ = ["SqliteReads", "decode_heads"]

_HEADS: Final = msgspec.json.Decoder(list[tuple[str, str, int, int]])
_ROWS: Final = msgspec.json.Decoder(list[list[Any]])
_COUNTERS: Final = msgspec.json.Decoder(list[tuple[str, int]])
_LOGGED: Final = msgspec.json.Decoder(
    list[tuple[str, tuple[int, str, str, str | None, str | None, str | None, int, str | None]]]
)


def decode_heads(text: str) -> dict[str, LogHead]:
    """The heads by channel in the answer of `HEADS` or `CHANGED_HEADS`."""
    return {channel: LogHead(epoch, offset, first) for channel, epoch, offset, first in _HEADS.decode(text)}


class SqliteReads:
    """A connection, its statements, and SQLAlchemy over the same connection for what is not on the hot path.

    All methods are synchronous and end all statements that they begin. Errors of SQLite come as `Refused`.
    """

    def __init__(self, connection: sqlite3.Connection, app: str, statements: SqliteStatements | None = None) -> None:
        self.connection = connection
        self.app = app
        self._engine = engine_over(connection)
        # Held for good: giving it back would let SQLAlchemy roll back a transaction that is not its own.
        self.alchemy = self._engine.connect()
        self.statements = statements or SqliteStatements(self._engine.dialect)

    def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        with sqlite_border():
            return self.alchemy.execute(statement).all()

    def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key.

        Raises:
            ValueError: the key is not the whole primary key.
        """
        shape = self.statements.shape(table)
        row = self._one(self.statements.get(shape, shape.key), (self.app, *shape.whole_key(key)))
        return None if row is None else shape.row(row)

    def get_many(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> list[sa.Row[Any] | None]:
        """Many rows by their whole primary keys, in the order of the keys; None where there is none.

        Raises:
            ValueError: a key is not the whole primary key.
        """
        shape = self.statements.shape(table)
        bound = [shape.whole_key(key) for key in keys]
        found: list[sa.Row[Any] | None] = []
        for part in chunks(bound):
            rows: list[sa.Row[Any] | None] = [None] * len(part)
            text = self.statements.get_many(shape, shape.key, len(part))
            values = [value for position, key in enumerate(part) for value in (position, *key)]
            with sqlite_border():
                read = self.connection.execute(text, (*values, self.app)).fetchall()
            for position, *row in _ROWS.decode(read[0][0]) if shape.fits_json else read:
                rows[position] = shape.row(tuple(row))
            found += rows
        return found

    def heads(self, channels: Sequence[str]) -> dict[str, LogHead]:
        """The heads of those of these channels that have one."""
        row = self._one(HEADS, (self.app, msgspec.json.encode(channels).decode()))
        return decode_heads(row[0]) if row is not None else {}

    def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """The channels' newest offsets; 0 where there is none."""
        heads = self.heads(channels)
        return {channel: heads[channel].offset if channel in heads else 0 for channel in channels}

    def logs(self, after: Mapping[str, int], limit: int) -> dict[str, tuple[LogHead, list[Envelope]]]:
        """The logs' heads, and their events after an offset."""
        values = {"app": self.app, "after": msgspec.json.encode(after).decode(), "limit": limit}
        with sqlite_border():
            epoch, heads, events = self.connection.execute(LOGS, values).fetchone()
        unused = LogHead(epoch or "", 0, 1)
        found = decode_heads(heads)
        logs: dict[str, tuple[LogHead, list[Envelope]]] = {
            channel: (found.get(channel, unused), []) for channel in after
        }
        for channel, row in _LOGGED.decode(events):
            head, read = logs[channel]
            read.append(envelope_of(channel, head.epoch, *row))
        for _, read in logs.values():
            read.sort(key=attrgetter("offset"))
        return logs

    def counters(self, names: Sequence[str]) -> dict[str, int]:
        """The values of named counters; 0 where there is none."""
        row = self._one(COUNTERS, (self.app, msgspec.json.encode(names).decode()))
        return dict.fromkeys(names, 0) | dict(_COUNTERS.decode(row[0]) if row is not None else ())

    def _one(self, text: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        with sqlite_border():
            row: tuple[Any, ...] | None = self.connection.execute(text, values).fetchone()
            return row

    def shape(self, table: sa.Table) -> TableShape:
        """The table's shape."""
        return self.statements.shape(table)

    def close(self) -> None:
        """Close the connection; a transaction that is open is undone."""
        self.alchemy.close()
        self._engine.dispose()
        self.connection.close()
