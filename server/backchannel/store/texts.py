"""Texts of statements, made once per table and shape, for one dialect."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from .shapes import TableShape

__all__ = ["StatementTexts"]


class StatementTexts:
    """Shapes by table, and texts by shape."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self.dialect = dialect
        self._shapes: dict[sa.Table, TableShape] = {}
        self._texts: dict[tuple[object, ...], str] = {}

    def shape(self, table: sa.Table) -> TableShape:
        """The table's shape. Raises `RegistrationError` for a table that is not keyed by app."""
        shape = self._shapes.get(table)
        if shape is None:
            shape = self._shapes[table] = TableShape(table, self.dialect)
        return shape

    def _text(self, make: Callable[..., str], shape: TableShape, *arguments: object) -> str:
        key = (make.__name__, shape.table, *arguments)
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = make(shape, *arguments)
        return text
