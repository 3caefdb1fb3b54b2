"""The store: the only truth. What the worker, the gateway and the housekeeping need of the database.

What every implementation guarantees:

- `Transaction.commit` returns only when what was written survives a crash of the process and of the machine (given
  storage that keeps what it synced). If it raises, the outcome is unknown unless the error says otherwise.
- Offsets are dense per channel: `append` gives them at the end of a transaction, by one statement for all channels; if
  offset n is visible, all below n are visible or trimmed.
- Transactions that lock a common lane are serial, in the order in which they got the lock.
- All keys, rows and logs belong to the store's `app` (tenant); two apps in one database never see each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from msgspec import Struct

from ..broker.broker import Envelope, LogHead

__all__ = ["KeyRow", "LogReader", "Reader", "Store", "StoredKey", "Transaction"]


class StoredKey(Struct, frozen=True):
    """What was kept for an idempotency key that was used."""

    digest: bytes
    """Hash of name and canonical data: other data under the same key is a `conflict`."""
    reply: bytes | None
    """The encoded reply (`{"data": …, "positions": …}`); None once its body was let go after 30 days."""


class KeyRow(Struct, frozen=True):
    """An idempotency key to keep."""

    principal: str
    key: str
    digest: bytes
    reply: bytes
    time: int


class Reader(Protocol):
    """Reads within one snapshot."""

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a SQLAlchemy Core select."""

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key (without `app`, which is filled in); the hot path, by the driver itself."""

    async def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """The offsets of durable channels' newest events in this snapshot; 0 where there is none."""

    async def logs(self, after: Mapping[str, int], limit: int) -> dict[str, tuple[LogHead, list[Envelope]]]:
        """Per durable channel its log's head and the events after an offset, in order, at most `limit` of each; in one
        statement. A log that was trimmed begins later than asked; the head says where."""

    async def close(self) -> None:
        """End the snapshot."""


class Transaction(Protocol):
    """One write transaction. Not for concurrent use, but for reads.

    What is inserted, counted or kept may be written together with what is asked next, so a refusal of it comes from
    there, at the latest from `commit`, with outcome none.
    """

    async def keys(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredKey]:
        """What is kept for these (principal, key) pairs, in one statement."""

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a SQLAlchemy Core select, in this transaction."""

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> sa.Row[Any] | None:
        """One row by its whole primary key (without `app`), by the driver itself."""

    async def get_many(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> list[sa.Row[Any] | None]:
        """As `get` of each of these keys, of one moment, in one statement."""

    async def positions(self, channels: Sequence[str]) -> dict[str, int]:
        """As `Reader.positions`, in this transaction."""

    async def insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all name the same columns, in one statement."""

    async def update(self, table: sa.Table, changes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Update rows by (key columns, new values); all changes name the same columns."""

    async def delete(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> None:
        """Delete rows by key columns; all keys name the same columns."""

    async def counters(self, names: Sequence[str]) -> dict[str, int]:
        """The present values of named counters (0 if new), locked until the end, in one statement."""

    async def set_counters(self, values: Mapping[str, int]) -> None:
        """Store counters' new values, in one statement."""

    async def append(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Give durable events their epoch and offset and write them to their logs; returns them complete."""

    async def save_keys(self, rows: Sequence[KeyRow]) -> None:
        """Keep idempotency keys with their replies, in one statement."""

    async def execute(self, statement: sa.Executable) -> sa.Result[Any]:
        """Free SQL; only for handlers that have a transaction of their own."""

    async def commit(self) -> None:
        """Make it durable; nothing may be called after it."""

    async def rollback(self) -> None:
        """Undo everything; safe to call at any time, also after a failed commit."""


class LogReader(Protocol):
    """Reads durable logs for a gateway: read-only, from the gateway's loop, never on a worker's connection."""

    async def head(self, channel: str) -> LogHead:
        """Where a durable channel's log stands; calls of one loop tick are answered by one statement."""

    async def heads(self, channels: Sequence[str]) -> Mapping[str, LogHead]:
        """As `head` of each of these channels, by name."""

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events of a durable log after an offset, in order, at most `limit`."""

    async def changed(self, since: int) -> dict[str, LogHead]:
        """Heads that changed at or after this instant (Unix milliseconds), by one indexed query."""

    async def close(self) -> None:
        """Let go of the connections."""


class Store(Protocol):
    """A database, opened for one app (tenant)."""

    @property
    def writers(self) -> int:
        """How many write transactions may be open at once."""

    async def begin(self, lanes: Sequence[str]) -> Transaction:
        """Begin a write transaction that holds these lanes, locked in sorted order."""

    async def snapshot(self) -> Reader:
        """Begin a read-only snapshot of what is committed now."""

    def log_reader(self) -> LogReader:
        """A reader for a gateway. Any thread."""

    async def housekeeping(self, bounds: Mapping[str, tuple[int, float]], now: int) -> None:
        """Trim logs to (events, seconds) per namespace, and let the replies of keys older than 30 days go."""

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take a lease for so many seconds, or keep the one that is held; False while another holder has it.

        With 0 seconds it is given back. It is measured by the database's clock, so it holds among all processes.

        Raises:
            Refused: `unavailable`.
        """

    async def close(self) -> None:
        """Close the database; the lock file is released."""
