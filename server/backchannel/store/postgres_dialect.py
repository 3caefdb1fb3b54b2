"""SQLAlchemy's dialect for asyncpg, as the store uses it: on raw connections, without any state of a session."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgFloat, AsyncpgNumeric, PGDialect_asyncpg

__all__ = ["ENGINE_URL", "PostgresDialect", "parameter_type"]

ENGINE_URL: Final = "postgresql+backchannel://"
"""What an engine with this dialect is made by."""


def _by_value(kind: sa.types.NumericCommon[Any]) -> Callable[[Any], Any]:
    if not kind.asdecimal:
        return lambda value: None if value is None else float(value)
    scale = kind._effective_decimal_return_scale
    return lambda value: Decimal(f"{value:.{scale}f}") if isinstance(value, float) else value


class _Numeric(AsyncpgNumeric):
    # SQLAlchemy's looks at the type that the server names with a result, which is not there when a shape is made.
    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:
        return _by_value(self)


class _Float(AsyncpgFloat):
    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:
        return _by_value(self)


class PostgresDialect(PGDialect_asyncpg):
    """Converts JSON and numbers by itself, not by codecs that every new connection would have to be asked about."""

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    driver = "backchannel"
    supports_statement_cache = True
    supports_native_json_deserialization = False
    supports_native_json_serialization = False
    colspecs = {**PGDialect_asyncpg.colspecs, sa.Numeric: _Numeric, sa.Float: _Float}  # noqa: RUF012

    def on_connect(self) -> None:
        """Nothing is asked of a new connection."""
        return


registry.register("postgresql.backchannel", __name__, "PostgresDialect")

# What PostgreSQL takes a type without a length for: one character, one bit.
_UNBOUNDED: Final = {"CHAR": "BPCHAR", "CHARACTER": "BPCHAR", "BIT": "VARBIT"}


def parameter_type(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> str | None:
    """The type of an array's elements that hold a column's values; None where arrays of it cannot be spread into rows.

    Without a length, since a cast to `VARCHAR(3)` cuts off what the column itself refuses.
    """
    if isinstance(kind, sa.ARRAY):
        return None
    text = dialect.type_compiler_instance.process(kind)
    if text.startswith('"'):  # an enum's name
        return text
    name, _, rest = text.partition(" COLLATE ")[0].partition("(")
    name = name.strip()
    return _UNBOUNDED.get(name, name) + rest.partition(")")[2]
