"""A table as the driver sees it: quoted names, and the conversions of its column types.

SQLAlchemy's own execution costs about ten times what a small statement costs the database. The hot path therefore hands
finished text and finished values to the driver; what a column's type does to a value stays the type's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import result_tuple

from ..registration import RegistrationError

__all__ = ["ColumnShape", "TableShape", "check_table"]

Convert = Callable[[Any], Any]

_ARGUMENTS: Final = 100
"""How many a function of SQL takes at least."""


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

    __slots__ = (
        "_binders",
        "_key_names",
        "_results",
        "_row",
        "columns",
        "defaults",
        "fits_json",
        "key",
        "quoted",
        "table",
    )

    def __init__(self, table: sa.Table, dialect: sa.Dialect) -> None:
        check_table(table)
        self.table = table
        self.quoted: str = dialect.identifier_preparer.format_table(table)
        self.columns: dict[str, ColumnShape] = {c.key: ColumnShape(c, dialect) for c in table.columns}
        self.key: tuple[str, ...] = tuple(c.key for c in table.primary_key.columns if c.key != "app")
        """The primary key without `app`."""
        self._key_names: frozenset[str] = frozenset(self.key)
        self.defaults: frozenset[str] = frozenset(n for n, c in self.columns.items() if c.default is not None)
        self.fits_json: bool = len(self.columns) < _ARGUMENTS and all(
            isinstance(c.type, (sa.String, sa.Integer, sa.Boolean)) for c in table.columns
        )
        """Whether a row can come as one JSON array: whole numbers, texts and truths are the same there."""
        self._binders: dict[tuple[str, ...], Callable[[Mapping[str, Any]], list[Any]]] = {}
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
        names = tuple(names)
        binder = self._binders.get(names)
        if binder is None:
            binder = self._binders[names] = self._binder(names)
        try:
            return binder(values)
        except KeyError:
            lacking = next((name for name in names if name not in values), None)
            if lacking is None:
                raise
            raise ValueError(
                f"Table {self.table.name!r}: all rows of one statement name the same columns; one lacks {lacking!r}."
            ) from None

    def _binder(self, names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], list[Any]]:
        """What `bind` does for these columns."""
        converts = [self.columns[name].bind for name in names]
        if len(names) > 1 and not any(converts):
            take = itemgetter(*names)
            return lambda values: list(take(values))

        def convert_all(values: Mapping[str, Any]) -> list[Any]:
            return [
                values[name] if convert is None else convert(values[name])
                for name, convert in zip(names, converts, strict=True)
            ]

        return convert_all

    def whole_key(self, key: Mapping[str, Any]) -> list[Any]:
        """The driver's values for the whole primary key, in the order of `key`.

        Raises:
            ValueError: it is not the whole primary key.
        """
        if key.keys() != self._key_names:
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
