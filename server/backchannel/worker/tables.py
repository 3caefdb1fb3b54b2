"""What the worker must know of an app's tables, worked out once per table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.sql import visitors

__all__ = ["TableFacts", "facts_of", "tables_of"]


class TableFacts:
    """One table, as declarations and their order need it."""

    __slots__ = ("columns", "family", "fills_id", "keyed_by_text", "order", "primary")

    def __init__(self, table: sa.Table, order: int, family: frozenset[sa.Table]) -> None:
        self.columns: Final = frozenset(table.c.keys()) - {"app"}
        """All columns but `app`, which the store fills in."""
        self.primary: Final = tuple(column.key for column in table.primary_key if column.key != "app")
        """The columns of the primary key, without `app`."""
        self.fills_id: Final = "id" in self.columns and isinstance(table.c.id.type, sa.String)
        self.keyed_by_text: Final = bool(self.primary) and all(_is_text(table.c[name]) for name in self.primary)
        """Whether its primary key is made of plain text, which is the same to the database if it is equal."""
        self.order: Final = order
        """Parents come before the tables that refer to them."""
        self.family: Final = family
        """The tables that hang together with this one by foreign keys: they are written together."""

    def check(self, table: sa.Table, names: Collection[str], verb: str) -> None:
        """Raise `ValueError` for a column that the table does not have."""
        if not self.columns.issuperset(names):
            unknown = sorted(set(names) - self.columns)
            raise ValueError(
                f"{verb}: {table.name} has no column {unknown[0]!r} (it has: {', '.join(sorted(self.columns))})."
            )

    def identity(self, row: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The primary key in these columns; None if they do not hold all of it."""
        try:
            return tuple([row[name] for name in self.primary]) if self.primary else None
        except KeyError:
            return None


def _is_text(column: sa.Column[Any]) -> bool:
    """No collation, and no type that makes something else of a text."""
    kind: Any = column.type
    return type(kind) in (sa.Text, sa.String) and kind.collation is None


_facts: dict[sa.Table, TableFacts] = {}
"""Kept for good, as tables are; to look into a weak dictionary takes three times as long."""


def facts_of(table: sa.Table) -> TableFacts:
    """What is known of a table. Tables must be complete before the first request is handled."""
    facts = _facts.get(table)
    if facts is None:
        _learn(table)
        facts = _facts[table]
    return facts


def _learn(table: sa.Table) -> None:
    """Work out the facts of a table and of all tables that were declared beside it."""
    tables = table.metadata.sorted_tables
    families = {other: {other} for other in tables}
    for other in tables:
        for key in other.foreign_keys:
            joined = families[other] | families[key.column.table]
            for member in joined:
                families[member] = joined
    for order, other in enumerate(tables):
        _facts[other] = TableFacts(other, order, frozenset(families[other]))


_read: WeakKeyDictionary[sa.Select[Any], frozenset[sa.Table] | None] = WeakKeyDictionary()


def tables_of(statement: sa.Select[Any]) -> frozenset[sa.Table] | None:
    """The tables that a statement reads, subqueries included; None if it has free text, which may read any.

    Cached per statement object, so that a statement that is built once and used with parameters costs nothing.
    """
    try:
        return _read[statement]
    except KeyError:
        pass
    found: set[sa.Table] = set()
    tables: frozenset[sa.Table] | None = None
    for element in visitors.iterate(statement):
        if isinstance(element, sa.TextClause):
            break
        table = element if isinstance(element, sa.Table) else getattr(element, "table", None)
        if isinstance(table, sa.Table):
            found.add(table)
    else:
        tables = frozenset(found)
    _read[statement] = tables
    return tables
