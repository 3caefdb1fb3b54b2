"""Writes: what a batch has declared and not yet written, grouped so that each group is one statement.

A write joins the group of its kind, table and columns, unless a write that came between could touch the same rows: then
it gets a group of its own behind that one. So grouping never changes what the rows are in the end. Foreign keys are
respected in the usual cases (parents first, deletes last); a batch that the database refuses all the same runs again
command by command with `OrderedWrites`, where only neighbours are grouped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..store.store import Transaction
from .tables import TableFacts, facts_of

__all__ = ["OrderedWrites", "Write", "WriteKind", "Writes"]


class WriteKind(IntEnum):
    """What a write does to its rows."""

    INSERT = 0
    UPDATE = 1
    DELETE = 2


class Write(NamedTuple):
    """One declared row."""

    kind: WriteKind
    table: sa.Table
    key: Mapping[str, Any]
    """The columns that name the rows; empty for an insert."""
    values: Mapping[str, Any]
    """The new values; empty for a delete."""

    def could_touch(self, facts: TableFacts, identity: tuple[Any, ...] | None) -> bool:
        """Whether it could touch this row of its table; None: any row."""
        if identity is None or not (self.values.keys() if self.key else {}.keys()).isdisjoint(facts.primary):
            return True
        own = facts.identity(self.key or self.values)
        return own is None or own == identity


_Shape = tuple[WriteKind, tuple[str, ...], tuple[str, ...]]


class _Group:
    """Writes that are one statement."""

    __slots__ = ("keys", "rows", "shape", "table")

    def __init__(self, table: sa.Table, shape: _Shape) -> None:
        self.table = table
        self.shape = shape
        self.rows: list[Write] = []
        self.keys: dict[tuple[Any, ...], int] = {}
        """By the values of the key columns: where in `rows`. Empty for inserts."""

    def takes(self, write: Write, key: tuple[Any, ...]) -> bool:
        """Whether the rows that this write names are others than those of the group, whatever came before."""
        if write.kind is WriteKind.INSERT:
            return True
        # A row that gets another key may be the one that the next write names.
        return key not in self.keys and write.key.keys().isdisjoint(write.values)

    def add(self, write: Write, key: tuple[Any, ...]) -> None:
        self.keys[key] = len(self.rows)
        self.rows.append(write)


class _TableWrites:
    """The groups of one table, in the order in which they must be written."""

    __slots__ = ("barrier", "facts", "groups", "last", "latest")

    def __init__(self, facts: TableFacts) -> None:
        self.facts = facts
        self.groups: list[_Group] = []
        self.latest: dict[_Shape, int] = {}
        self.last: dict[tuple[Any, ...], int] = {}
        """By primary key: the last group that touches the row."""
        self.barrier = 0
        """Groups before this one take no more writes: a write behind them may touch any row."""

    def add(self, write: Write) -> None:
        kind, table, key, values = write
        shape: _Shape = (kind, tuple(sorted(key)), tuple(sorted(values)))
        key_values = tuple([key[name] for name in shape[1]])
        identity = self._identity(write)
        index = self.latest.get(shape, -1)
        if identity is None:
            # It may touch any row but those that the same columns with other values name.
            if index < 0 or index != len(self.groups) - 1 or not self.groups[index].takes(write, key_values):
                index = self._new_group(table, shape)
            self.barrier = index + 1
            self.groups[index].add(write, key_values)
            return
        previous = self.last.get(identity, -1)
        if index < self.barrier or index < previous:
            index = self._new_group(table, shape)
        elif index == previous and kind is not WriteKind.INSERT:
            group = self.groups[index]
            if len(key) != len(self.facts.primary):
                index = self._new_group(table, shape)
            else:
                # The same columns of the same row again: the later values win, in one row of the statement.
                group.rows[group.keys[key_values]] = write
                return
        self.last[identity] = index
        self.groups[index].add(write, key_values)

    def _identity(self, write: Write) -> tuple[Any, ...] | None:
        facts = self.facts
        if write.kind is WriteKind.INSERT:
            identity = facts.identity(write.values)
            # A row whose key the database makes is new: it touches no row that could be named here.
            return (id(write.values),) if identity is None else identity
        if write.kind is WriteKind.UPDATE and not write.values.keys().isdisjoint(facts.primary):
            return None
        return facts.identity(write.key)

    def _new_group(self, table: sa.Table, shape: _Shape) -> int:
        self.groups.append(_Group(table, shape))
        self.latest[shape] = index = len(self.groups) - 1
        return index

    def touches(self, identity: tuple[Any, ...] | None) -> bool:
        """Whether a write that waits could touch this row; None: any row."""
        if not self.groups:
            return False
        return identity is None or self.barrier > 0 or identity in self.last


class Writes:
    """What waits to be written, grouped across the commands of a batch."""

    def __init__(self) -> None:
        self._tables: dict[sa.Table, _TableWrites] = {}

    def __bool__(self) -> bool:
        return bool(self._tables)

    def add(self, writes: Iterable[Write]) -> None:
        """Take declared writes, in the order declared."""
        tables = self._tables
        for write in writes:
            entry = tables.get(write.table)
            if entry is None:
                entry = tables[write.table] = _TableWrites(facts_of(write.table))
            entry.add(write)

    def touches(self, table: sa.Table, identity: tuple[Any, ...] | None = None) -> bool:
        """Whether anything waits that could touch this row, or any row, of a table."""
        entry = self._tables.get(table)
        return entry is not None and entry.touches(identity)

    async def flush(self, transaction: Transaction, tables: Collection[sa.Table] | None = None) -> None:
        """Write what waits for these tables, or for all, and for the tables that hang together with them.

        Raises:
            Exception: whatever the database refuses with; the transaction must be rolled back then.
        """
        if tables is None:
            chosen = list(self._tables)
        else:
            family: set[sa.Table] = set()
            for table in tables:
                family |= facts_of(table).family
            chosen = [table for table in self._tables if table in family]
        entries = sorted([self._tables.pop(table) for table in chosen], key=lambda entry: entry.facts.order)
        for group in _statements(entries):
            await _write(transaction, group)


class OrderedWrites(Writes):
    """What waits to be written for one command alone: in the order declared, neighbours grouped."""

    def __init__(self) -> None:
        super().__init__()
        self._groups: list[_Group] = []

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, writes: Iterable[Write]) -> None:
        """Take declared writes, in the order declared."""
        for write in writes:
            kind, table, key, values = write
            shape: _Shape = (kind, tuple(sorted(key)), tuple(sorted(values)))
            key_values = tuple([key[name] for name in shape[1]])
            group = self._groups[-1] if self._groups else None
            if group is None or group.table is not table or group.shape != shape or not group.takes(write, key_values):
                group = _Group(table, shape)
                self._groups.append(group)
            group.add(write, key_values)

    def touches(self, table: sa.Table, identity: tuple[Any, ...] | None = None) -> bool:
        """Whether anything waits for this table."""
        return any(group.table is table for group in self._groups)

    async def flush(self, transaction: Transaction, tables: Collection[sa.Table] | None = None) -> None:
        """Write everything that waits, whatever the tables: the order is kept."""
        groups, self._groups = self._groups, []
        for group in groups:
            await _write(transaction, group)


def _statements(entries: list[_TableWrites]) -> Iterable[_Group]:
    """All groups: each table's in their order, among tables parents first, but deletes children first."""
    queues = [(entry.groups, [0]) for entry in entries]
    left = sum(len(groups) for groups, _ in queues)
    while left:
        for deletes in (False, True):
            for groups, position in reversed(queues) if deletes else queues:
                while position[0] < len(groups):
                    group = groups[position[0]]
                    if (group.shape[0] is WriteKind.DELETE) is not deletes:
                        break
                    position[0] += 1
                    left -= 1
                    yield group


async def _write(transaction: Transaction, group: _Group) -> None:
    kind, key_columns, _ = group.shape
    rows = group.rows
    if len(rows) > 1:
        # One order for all workers, so that two that write the same rows wait for each other and never in a circle.
        if kind is WriteKind.INSERT:
            primary = facts_of(group.table).primary
            rows.sort(key=lambda row: [str(row.values.get(name, "")) for name in primary])
        else:
            rows.sort(key=lambda row: [str(row.key[name]) for name in key_columns])
    if kind is WriteKind.INSERT:
        await transaction.insert(group.table, [row.values for row in rows])
    elif kind is WriteKind.UPDATE:
        await transaction.update(group.table, [(row.key, row.values) for row in rows])
    else:
        await transaction.delete(group.table, [row.key for row in rows])
