"""One write transaction on the store's only write connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..broker.broker import Envelope
from .errors import StoreError
from .setwise import count_by_channel, deletes_of, ends_text, inserts_of, place, updates_of
from .shapes import TableShape
from .sqlite_errors import sqlite_border
from .sqlite_reads import SqliteReads
from .sqlite_statements import KEYS, chunks
from .store import KeyRow, StoredKey
from .tables import events, keys

__all__ = ["SqliteTransaction"]

_EVENT = ("channel", "data", "ends", "key", "name", "offset", "subject", "time", "user")
_KEY = ("digest", "key", "principal", "reply", "time")

_UPSERT_HEADS = (
    'INSERT INTO heads (app, channel, epoch, "offset", first, changed) VALUES {} ON CONFLICT (app, channel) '
    'DO UPDATE SET "offset" = heads."offset" + excluded."offset", changed = max(heads.changed, excluded.changed)'
)
_UPSERT_COUNTERS = (
    "INSERT INTO counters (app, name, value) VALUES {} ON CONFLICT (app, name) DO UPDATE SET value = excluded.value"
)


class SqliteTransaction:
    """`Transaction`, by `BEGIN IMMEDIATE`. No method ever suspends, so none can be cancelled half-way.

    SQLite has one writer, so all lanes are serial. Every refusal leaves the transaction open for `rollback`, but for
    `commit`, which undoes what it could not make durable.
    """

    def __init__(self, reads: SqliteReads, epoch: str, clock: Callable[[], int], done: Callable[[], None]) -> None:
        self._reads: SqliteReads | None = reads
        self._epoch = epoch
        self._clock = clock
        self._done = done

    def _open(self) -> SqliteReads:
        if self._reads is None:
            raise StoreError("This transaction is over; begin another.")
        return self._reads

    # Reads

    async def keys(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredKey]:
        """What is kept for these (principal, key) pairs."""
        reads = self._open()
        found: dict[tuple[str, str], StoredKey] = {}
        for part in chunks(wanted):
            values = [value for pair in part for value in pair]
            with sqlite_border():
                rows = reads.connection.execute(KEYS(len(part)), (*values, reads.app)).fetchall()
            for principal, key, digest, reply in rows:
                found[principal, key] = StoredKey(digest, reply)
        return found

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        return self._open().rows(statement)

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key."""
        return self._open().get(table, key)

    async def get_many(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> list[sa.Row[Any] | None]:
        """Many rows by their whole primary keys; None where there is none."""
        return self._open().get_many(table, keys)

    async def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """The newest offsets, with this transaction's own; 0 where there is none."""
        return self._open().positions(channels)

    async def counters(self, names: Sequence[str]) -> dict[str, int]:
        """The present values of named counters; 0 if new."""
        return self._open().counters(names)

    # Writes

    async def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all name the same columns; columns with a Python default may be left out.

        Raises:
            Refused: `conflict`, if the database refuses a row.
            ValueError: the rows name different columns, or one that does not exist.
        """
        if not rows:
            return
        reads = self._open()
        shape = reads.shape(table)
        self._insert(reads, shape, *inserts_of(shape, rows))

    def _insert(
        self, reads: SqliteReads, shape: TableShape, names: tuple[str, ...], rows: Sequence[Sequence[Any]]
    ) -> None:
        for part in chunks(rows):
            values: list[Any] = []
            for row in part:
                values.append(reads.app)
                values.extend(row)
            self._write(reads, reads.statements.insert(shape, names, len(part)), values)

    async def update(self, table: sa.Table, changes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Update rows by (key columns, new values), as if one after another.

        Raises:
            Refused: `conflict`, if the database refuses a change.
            ValueError: the changes name different columns, or one that does not exist.
        """
        if not changes:
            return
        reads = self._open()
        shape = reads.shape(table)
        keys, names, bound, one_by_one = updates_of(shape, changes)
        if one_by_one:
            text = reads.statements.update_one(shape, names, keys)
            for values, key in bound:
                self._write(reads, text, [*values, reads.app, *key])
            return
        for part in chunks(bound):
            flat = [value for values, key in part for value in (*values, *key)]
            self._write(reads, reads.statements.update(shape, names, keys, len(part)), [*flat, reads.app])

    async def delete(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> None:
        """Delete rows by key columns.

        Raises:
            Refused: `conflict`, if other rows refer to them.
            ValueError: the keys name different columns, or one that does not exist.
        """
        if not keys:
            return
        reads = self._open()
        shape = reads.shape(table)
        names, bound = deletes_of(shape, keys)
        for part in chunks(bound):
            flat = [value for key in part for value in key]
            self._write(reads, reads.statements.delete(shape, names, len(part)), [reads.app, *flat])

    async def set_counters(self, values: Mapping[str, int]) -> None:
        """Store counters' new values."""
        reads = self._open()
        self._upsert(reads, _UPSERT_COUNTERS, [(reads.app, name, values[name]) for name in sorted(values)])

    async def append(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Give durable events their epoch and offset and write them to their logs.

        Returns:
            Complete copies, in the order given.
        """
        if not envelopes:
            return []
        reads = self._open()
        counts = count_by_channel(envelopes)
        now = self._clock()
        self._upsert(
            reads,
            _UPSERT_HEADS,
            [(reads.app, channel, self._epoch, count, 1, now) for channel, count in counts.items()],
        )
        heads = reads.heads(list(counts))
        complete = place(envelopes, counts, {channel: (head.epoch, head.offset) for channel, head in heads.items()})
        rows = [
            (e.channel, e.data.decode(), ends_text(e), e.key, e.name, e.offset, e.subject, e.time, e.user)
            for e in complete
        ]
        self._insert(reads, reads.shape(events), _EVENT, rows)
        return complete

    async def save_keys(self, rows: Sequence[KeyRow]) -> None:
        """Keep idempotency keys with their replies."""
        reads = self._open()
        values = [(row.digest, row.key, row.principal, row.reply, row.time) for row in rows]
        self._insert(reads, reads.shape(keys), _KEY, values)

    async def execute(self, statement: sa.Executable) -> sa.Result[Any]:
        """Free SQL. Rows that it returns are all read before this returns."""
        reads = self._open()
        with sqlite_border():
            result = reads.alchemy.execute(statement)
            # An unread cursor would be cut off by the rollback of whatever comes next.
            return result.freeze()() if result.returns_rows else result

    def _upsert(self, reads: SqliteReads, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for part in chunks(rows):
            group = f"({', '.join('?' * len(part[0]))})"
            self._write(reads, text.format(", ".join([group] * len(part))), [value for row in part for value in row])

    def _write(self, reads: SqliteReads, text: str, values: Sequence[Any]) -> None:
        with sqlite_border():
            reads.connection.execute(text, values)

    # The end

    async def commit(self) -> None:
        """Make it durable: synced when this returns.

        Raises:
            Refused: `conflict`, nothing happened: a constraint that is checked at the end does not hold;
                `unavailable`, outcome unknown: the disk refused.
        """
        reads = self._open()
        try:
            with sqlite_border(committing=True):
                reads.connection.execute("COMMIT")
        except BaseException:
            await self.rollback()
            raise
        self._finish()

    async def rollback(self) -> None:
        """Undo everything; does nothing once the transaction is over."""
        if self._reads is None:
            return
        reads = self._reads
        try:
            # SQLite has rolled back by itself where the disk was full or failed.
            if reads.connection.in_transaction:
                with sqlite_border():
                    reads.connection.execute("ROLLBACK")
        finally:
            self._finish()

    def _finish(self) -> None:
        self._reads = None
        self._done()
