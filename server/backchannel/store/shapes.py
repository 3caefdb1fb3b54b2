"""A table as the driver sees it: quoted names, and the conversions of its column types.

SQLAlchemy's own execution costs about ten times what a small statement costs the database. The hot path therefore hands
finished text and finished values to the driver; what a column's type does to a value stays the type's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import result_tuple

from ..registration import RegistrationError

__all__ = ["ColumnShape", "TableShape", "check_table"]

Convert = Callable[[Any], Any]


def check_table(table: sa.Table) -> None:
    """Refuse a table that two apps in one database could not share, or that the hot path cannot fill.

    Raises:
        RegistrationError: it has no `app` column, `app` is not first in its primary key, or a column's default is SQL
            that only SQLAlchemy would run.
    """
    if "app" not in table.c:
        raise RegistrationError(
            f"Table {table.name!r} has no `app` column: every table is keyed by app (tenant). Add "
            f"`sa.Column('app', sa.Text, primary_key=True)` as its first column."
        )
    key = [column.key for column in table.primary_key.columns]
    if key and key[0] != "app":
        raise RegistrationError(
            f"Table {table.name!r} has the primary key ({', '.join(key)}): `app` must come first in it, or two apps in "
            f"one database take each other's keys."
        )
    for column in table.columns:
        if column.default is not None and not (column.default.is_scalar or column.default.is_callable):
            raise RegistrationError(
                f"{table.name}.{column.key}: a `default` must be a plain value or a function; for SQL use "
                f"`server_default`."
            )
        if column.onupdate is not None:
            raise RegistrationError(
                f"{table.name}.{column.key}: `onupdate` is never run; name the value in each update."
            )


class ColumnShape:
    """One column."""

    __slots__ = ("bind", "collated", "default", "kind", "quoted", "result")

    def __init__(self, column: sa.Column[Any], dialect: sa.Dialect) -> None:
        kind = column.type.dialect_impl(dialect)
        self.kind: sa.types.TypeEngine[Any] = kind
        self.quoted: str = dialect.identifier_preparer.quote(column.name)
        self.bind: Convert | None = kind.bind_processor(dialect)
        self.result: Convert | None = kind.result_processor(dialect, None)
        self.collated: bool = getattr(column.type, "collation", None) is not None
        """Whether values that differ may be equal to the database."""
        self.default: Callable[[], Any] | None = _default_of(column)


def _default_of(column: sa.Column[Any]) -> Callable[[], Any] | None:
    default: Any = column.default
    if default is None:
        return None
    if default.is_callable:
        return lambda: default.arg(None)
    return lambda: default.arg


class TableShape:
    """One table, for one dialect."""

    __slots__ = ("_results", "_row", "columns", "defaults", "key", "quoted", "table")

    def __init__(self, table: sa.Table, dialect: sa.Dialect) -> None:
        check_table(table)
        self.table = table
        self.quoted: str = dialect.identifier_preparer.format_table(table)
        self.columns: dict[str, ColumnShape] = {c.key: ColumnShape(c, dialect) for c in table.columns}
        self.key: tuple[str, ...] = tuple(c.key for c in table.primary_key.columns if c.key != "app")
        """The primary key without `app`."""
        self.defaults: frozenset[str] = frozenset(n for n, c in self.columns.items() if c.default is not None)
        self._row: Callable[[Sequence[Any]], sa.Row[Any]] = result_tuple(tuple(self.columns))
        self._results: tuple[Convert | None, ...] | None = tuple(c.result for c in self.columns.values())
        if not any(self._results):
            self._results = None

    def row(self, values: Sequence[Any]) -> sa.Row[Any]:
        """The row of these driver's values, which are in the order of the columns."""
        if self._results is not None:
            values = tuple(
                value if convert is None else convert(value)
                for value, convert in zip(values, self._results, strict=True)
            )
        return self._row(values)

    def names(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns that are named, sorted.

        Raises:
            ValueError: a column does not exist, or is `app`, which is filled in.
        """
        for name in values:
            if name == "app":
                raise ValueError(f"Table {self.table.name!r}: leave out `app`, the store fills it in.")
            if name not in self.columns:
                raise ValueError(
                    f"Table {self.table.name!r} has no column {name!r}; it has: {', '.join(self.columns)}."
                )
        return tuple(sorted(values))

    def key_names(self, key: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns of a key that says which rows are meant, sorted.

        Raises:
            ValueError: it names no column, one that does not exist, or None as a value, which equals nothing.
        """
        names = self.names(key)
        if not names:
            raise ValueError(f"Table {self.table.name!r}: name at least one column that says which rows are meant.")
        return names

    def bind(self, names: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
        """The driver's values for these columns, in order.

        Raises:
            ValueError: a column is missing, so the mappings of one statement do not name the same columns.
        """
        bound = []
        for name in names:
            try:
                value = values[name]
            except KeyError:
                raise ValueError(
                    f"Table {self.table.name!r}: all rows of one statement name the same columns; one lacks {name!r}."
                ) from None
            convert = self.columns[name].bind
            bound.append(value if convert is None else convert(value))
        return bound

    def whole_key(self, key: Mapping[str, Any]) -> list[Any]:
        """The driver's values for the whole primary key, in the order of `key`.

        Raises:
            ValueError: it is not the whole primary key.
        """
        if len(key) != len(self.key) or not all(name in key for name in self.key):
            raise ValueError(
                f"get: the primary key of table {self.table.name!r} is ({', '.join(self.key)}) besides app, and "
                f"({', '.join(key)}) was given; name all of it, or select."
            )
        return self.bind_key(self.key, key)

    def bind_key(self, names: Sequence[str], key: Mapping[str, Any]) -> list[Any]:
        """As `bind`, for columns that say which rows are meant: None equals nothing and is refused."""
        bound = self.bind(names, key)
        if None in bound:
            raise ValueError(
                f"Table {self.table.name!r}: {names[bound.index(None)]!r} is None, which equals no row; "
                f"find the rows by a select first."
            )
        return bound
