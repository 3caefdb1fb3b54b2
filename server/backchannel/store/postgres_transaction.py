"""One write transaction on PostgreSQL.

What it is told to insert waits until something is asked, and then goes to the server with that, as parts of one
statement: on a network it is round trips that cost. A `message.send` in a batch of its own takes seven:

1. `BEGIN`, time-outs, the lanes' locks;
2. the key is looked up;
3. the channel's counter is read and locked;
4. the handler reads the sender's membership,
5. and the channel;
6. the message, the counter, the channel's head and the event are written, and the event's offset comes back;
7. the key is written, with the reply that tells the offset, and `COMMIT`.

Fifty of them in one batch take one more, for the keys, which are too many to go as text: the memberships are read
together, and the channels, before the first handler. Each further question of a handler takes one, and so does each row
that it gets from then on. Behind a pooler that allows no prepared statements, 2 to 6 take two each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from backchannel_protocol import Refused

from ..broker.broker import Envelope
from .errors import StoreError
from .postgres_errors import postgres_border
from .postgres_pool import PostgresPool
from .postgres_reads import PostgresReads
from .postgres_statements import (
    APPEND,
    COUNTERS,
    KEYS,
    NEW_COUNTERS,
    append_parts,
    columns_of,
    save_keys,
    set_counters,
)
from .setwise import count_by_channel, deletes_of, ends_text, inserts_of, place, updates_of
from .store import KeyRow, StoredKey

__all__ = ["PostgresTransaction"]

log = structlog.get_logger(__name__)

_FEW: Final = 8
"""So many keys go as text in one message with `COMMIT`; for more, a prepared statement is worth its round trip."""


class _Part(NamedTuple):
    """Rows that wait to be written: part of the next statement."""

    table: str
    text: Callable[[int], str]
    """The part, where its first parameter has this number."""
    values: list[Any]


class PostgresTransaction:
    """`Transaction`: READ COMMITTED, so that each statement sees what was committed before it.

    An insert may be refused only by what is asked next, or by `commit`. After any refusal the transaction is good for
    `rollback` only. Cancelling a method leaves it so, too; cancelling `commit` leaves open whether it counts.
    """

    def __init__(
        self,
        reads: PostgresReads,
        pool: PostgresPool,
        clock: Callable[[], int],
        seconds: float,
        done: Callable[[], None],
    ) -> None:
        self._reads: PostgresReads | None = reads
        self._pool = pool
        self._clock = clock
        self._seconds = seconds
        self._done = done
        self._waiting: list[_Part] = []
        self._keys: list[KeyRow] = []

    def _open(self) -> PostgresReads:
        if self._reads is None:
            raise StoreError("This transaction is over; begin another.")
        return self._reads

    @property
    def reads(self) -> PostgresReads:
        """The connection, for the store's own statements."""
        return self._open()

    # Reads

    async def keys(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredKey]:
        """What is kept for these (principal, key) pairs."""
        reads = await self._written()
        if not wanted:
            return {}
        principals, keys = columns_of(wanted)
        records = await reads.fetch(KEYS, reads.app, principals, keys)
        return {(principal, key): StoredKey(digest, reply) for principal, key, digest, reply in records}

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        return await (await self._written()).rows(statement)

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key."""
        return await (await self._written()).get(table, key)

    async def get_many(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> list[sa.Row[Any] | None]:
        """Many rows by their whole primary keys; None where there is none."""
        return await (await self._written()).get_many(table, keys)

    async def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """The newest offsets, with this transaction's own; 0 where there is none."""
        return await self._open().positions(channels)

    async def counters(self, names: Sequence[str]) -> dict[str, int]:
        """The present values of named counters, 0 if new; nobody else reads them until the end."""
        reads = await self._written()
        if not names:
            return {}
        ordered = sorted(set(names))
        values = {row["name"]: row["value"] for row in await reads.fetch(COUNTERS, reads.app, ordered)}
        if new := [name for name in ordered if name not in values]:
            made = await reads.fetch(NEW_COUNTERS, reads.app, new)
            values.update({row["name"]: row["value"] for row in made})
        return values

    # Writes

    async def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all name the same columns; columns with a Python default may be left out.

        Raises:
            Refused: `conflict`, if the database refuses a row: here, or from what is asked next.
            ValueError: the rows name different columns, or one that does not exist.
        """
        if not rows:
            return
        reads = self._open()
        statements = reads.texts.statements
        shape = statements.shape(table)
        names, bound = inserts_of(shape, rows)
        if not names or not statements.spreads(shape, names):
            await self._one_by_one(statements.insert_one(shape, names), [[reads.app, *row] for row in bound])
            return
        values = [reads.app, *columns_of(bound)]
        await self._wait(_Part(shape.quoted, lambda first: statements.insert(shape, names, first), values))

    async def update(self, table: sa.Table, changes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Update rows by (key columns, new values), as if one after another.

        Raises:
            Refused: `conflict`, if the database refuses a change.
            ValueError: the changes name different columns, or one that does not exist.
        """
        if not changes:
            return
        statements = self._open().texts.statements
        shape = statements.shape(table)
        keys, names, bound, one_by_one = updates_of(shape, changes)
        reads = await self._written()
        if one_by_one or not statements.spreads(shape, (*names, *keys)):
            text = statements.update_one(shape, names, keys)
            await self._one_by_one(text, [[reads.app, *values, *key] for values, key in bound])
            return
        columns = columns_of([[*values, *key] for values, key in bound])
        await reads.fetch(statements.update(shape, names, keys), reads.app, *columns)

    async def delete(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> None:
        """Delete rows by key columns.

        Raises:
            Refused: `conflict`, if other rows refer to them.
            ValueError: the keys name different columns, or one that does not exist.
        """
        if not keys:
            return
        statements = self._open().texts.statements
        shape = statements.shape(table)
        names, bound = deletes_of(shape, keys)
        reads = await self._written()
        if len(bound) == 1 or not statements.spreads(shape, names):
            await self._one_by_one(statements.delete_one(shape, names), [[reads.app, *key] for key in bound])
            return
        await reads.fetch(statements.delete(shape, names), reads.app, *columns_of(bound))

    async def set_counters(self, values: Mapping[str, int]) -> None:
        """Store counters' new values."""
        reads = self._open()
        if values:
            names = sorted(values)
            bound = [reads.app, names, [values[name] for name in names]]
            await self._wait(_Part("counters", set_counters, bound))

    async def append(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Give durable events their epoch and offset and write them to their logs, with all that waits.

        Returns:
            Complete copies, in the order given.
        """
        reads = self._open()
        if not envelopes:
            return []
        counts = count_by_channel(envelopes)
        backs = dict(counts)
        rows: list[tuple[Any, ...]] = []
        for e in envelopes:
            backs[e.channel] = back = backs[e.channel] - 1
            rows.append((e.channel, back, e.name, e.data.decode(), e.user, e.key, e.subject, e.time, ends_text(e)))
        values = [reads.app, self._clock(), list(counts), list(counts.values()), *columns_of(rows)]
        texts, before = self._take_waiting()
        heads, events = append_parts(len(before) + 1)
        parts = [f"w{number} AS ({text})" for number, text in enumerate(texts)]
        text = f"WITH {', '.join([*parts, f'h AS ({heads})', f'e AS ({events})'])} {APPEND}"
        records = await reads.fetch(text, *before, *values)
        return place(envelopes, counts, {channel: (epoch, offset) for channel, epoch, offset in records})

    async def save_keys(self, rows: Sequence[KeyRow]) -> None:
        """Keep idempotency keys with their replies.

        Raises:
            Refused: `conflict`, if one is kept already: from what is asked next, or from `commit`.
        """
        self._open()
        self._keys.extend(rows)

    async def execute(self, statement: sa.Executable) -> sa.Result[Any]:
        """Free SQL. Rows that it returns are all read before this returns."""
        return await (await self._written()).execute(statement)

    async def _one_by_one(self, text: str, rows: Sequence[Sequence[Any]]) -> None:
        reads = await self._written()
        for row in rows:
            await reads.fetch(text, *row)

    async def _wait(self, part: _Part) -> None:
        """Let rows wait. Parts of one statement do not see each other's rows, so no two may be of one table."""
        if any(one.table == part.table for one in self._waiting):
            await self._written()
        self._waiting.append(part)

    def _take_waiting(self) -> tuple[list[str], list[Any]]:
        """The texts and the values of what waits, which waits no more."""
        waiting, self._waiting = self._waiting, []
        if self._keys:
            rows, self._keys = self._keys, []
            columns = columns_of([(row.principal, row.key, row.digest, row.reply, row.time) for row in rows])
            waiting.append(_Part("keys", save_keys, [self._open().app, *columns]))
        texts: list[str] = []
        values: list[Any] = []
        for part in waiting:
            texts.append(part.text(len(values) + 1))
            values.extend(part.values)
        return texts, values

    async def _written(self) -> PostgresReads:
        """Write what waits, in one statement."""
        reads = self._open()
        if self._waiting or self._keys:
            texts, values = self._take_waiting()
            parts = ", ".join(f"w{number} AS ({text})" for number, text in enumerate(texts[:-1]))
            await reads.fetch(f"WITH {parts} {texts[-1]}" if parts else texts[0], *values)
        return reads

    # The end

    async def commit(self) -> None:
        """Make it durable: synced when this returns.

        Raises:
            Refused: `conflict`, `unavailable` or `internal`, with outcome none: nothing happened; `unavailable` with
                outcome unknown: the answer to the commit did not come.
        """
        reads = self._open()
        try:
            keys = ""
            if self._keys and not self._waiting and len(self._keys) <= _FEW:
                keys, self._keys = _keys_as_text(reads.app, self._keys), []
            else:
                await self._write_the_rest()
            if reads.connection.is_closed():
                # Nothing was sent that could be in doubt.
                raise Refused(
                    "unavailable", "The connection to the database was lost.", outcome="none", retry_after=1.0
                )
            with postgres_border(committing=True):
                done = await reads.connection.execute(f"{keys}COMMIT", timeout=self._seconds)
            if done != "COMMIT":
                raise Refused("unavailable", "The transaction was refused before.", outcome="none", retry_after=1.0)
        except BaseException as exc:
            await self._end(cut=not isinstance(exc, Refused) or exc.outcome != "none")
            raise
        self._reads = None
        self._pool.give_back(reads.connection)
        self._done()

    async def _write_the_rest(self) -> None:
        try:
            await self._written()
        except (sa.exc.SQLAlchemyError, ValueError) as exc:
            # A defect in a row that waited: to whoever commits it must not look as if its outcome were unknown.
            log.error("a row could not be written", exc_info=exc)
            raise Refused(
                "internal", "The server failed; its log has the reason. Nothing happened.", outcome="none"
            ) from exc

    async def rollback(self) -> None:
        """Undo everything; does nothing once the transaction is over. Where the server does not answer, it is cut off
        and undoes by itself."""
        if self._reads is not None:
            await self._end(cut=False)

    async def _end(self, *, cut: bool) -> None:
        reads, self._reads = self._reads, None
        assert reads is not None
        try:
            if cut:
                self._pool.cut(reads.connection)
            else:
                await self._pool.end(reads.connection)
        finally:
            self._done()


def _keys_as_text(app: str, rows: Sequence[KeyRow]) -> str:
    """The statement that keeps these keys, without parameters.

    All values are written in hexadecimal digits, so that no value can be anything but a value.
    """
    groups = ", ".join(
        f"({_text(app)}, {_text(row.principal)}, {_text(row.key)}, {_bytes(row.digest)}, {_bytes(row.reply)}, "
        f"{int(row.time)})"
        for row in rows
    )
    return f"INSERT INTO keys (app, principal, key, digest, reply, time) VALUES {groups}; "  # noqa: S608


def _bytes(value: bytes) -> str:
    return f"decode('{value.hex()}', 'hex')"


def _text(value: str) -> str:
    return f"convert_from({_bytes(value.encode())}, 'UTF8')"
