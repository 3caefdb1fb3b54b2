"""Records: rows of chat's tables as JSON, which an export writes and an import reads. One line is one record.

The first line tells the format and its version, the last one how many records came before it, so that a file that was
cut off is known. A row has its columns by name, without `app`, without what is NULL, and without what means nothing in
another database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa

from .ledger import LEDGER, Entry, entry_of, name_of

__all__ = [
    "FORMAT",
    "VERSION",
    "BadExport",
    "Reads",
    "Record",
    "check_row",
    "completed",
    "export_space",
    "key_columns",
    "read_lines",
    "row_of",
    "space_size",
    "user_lines",
    "user_rows",
]

FORMAT: Final = "backchannel-chat"
VERSION: Final = 1
PAGE: Final = 500
"""Rows that are read at once."""
_PAGE_BYTES: Final = 4 * 1024 * 1024

_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}


class Reads(Protocol):
    """What rows are read by: a handler's `ctx.db`, or a snapshot of the store."""

    async def rows(self, statement: sa.Select[Any], /) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""


class Record(NamedTuple):
    """A row of a table."""

    table: str
    row: dict[str, Any]


class BadExport(Exception):
    """A file that is no export, or not a whole one; the message tells why."""


def key_columns(table: sa.Table) -> list[sa.Column[Any]]:
    """The primary key without `app`."""
    return [column for column in table.primary_key.columns if column.key != "app"]


def row_of(entry: Entry, row: sa.Row[Any], *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A row as a record has it."""
    return {
        name: value
        for name, value in row._mapping.items()
        if value is not None and name != "app" and name not in entry.local and name not in without
    }


async def _pages(
    reads: Reads, app: str, entry: Entry, where: Sequence[sa.ColumnElement[bool]], after: Sequence[Any], limit: int
) -> Sequence[sa.Row[Any]]:
    """The rows behind a key, in the key's order."""
    table = entry.table
    statement = sa.select(table).where(table.c.app == app, *where)
    key = key_columns(table)
    if key:
        if after:
            statement = statement.where(sa.tuple_(*key) > sa.tuple_(*after))
        statement = statement.order_by(*key)
    return await reads.rows(statement.limit(limit))


async def export_space(reads: Reads, app: str, now: int) -> AsyncIterator[bytes]:
    """The lines of a whole space's export, in constant memory.

    Args:
        reads: a snapshot, for an export of one moment.
        app: the tenant.
        now: Unix milliseconds, for the first line.
    """
    yield _line({"format": FORMAT, "version": VERSION, "exported": now})
    count = 0
    for entry in LEDGER:
        if not entry.space:
            continue
        after: list[Any] = []
        while True:
            rows = await _pages(reads, app, entry, (), after, PAGE)
            for row in rows:
                yield _line({"table": name_of(entry), "row": row_of(entry, row)})
            count += len(rows)
            if len(rows) < PAGE:
                break
            after = [getattr(rows[-1], column.key) for column in key_columns(entry.table)]
    yield _line({"end": count})


async def user_rows(
    reads: Reads, app: str, user: str, place: tuple[int, list[int | str]], limit: int, most_bytes: int
) -> tuple[list[Record], tuple[int, list[int | str]] | None]:
    """A page of what is kept of a user.

    Args:
        reads: the database.
        app: the tenant.
        user: whose.
        place: (number of the table, key of the last row of it), `(0, [])` for the beginning.
        limit: how many records at most.
        most_bytes: how large they may be together; one is given in any case.

    Returns:
        The records, and the place behind them; None at the end.
    """
    records: list[Record] = []
    size = 0
    number, after = place
    while number < len(LEDGER):
        entry = LEDGER[number]
        if entry.mine:
            mine = sa.or_(*(entry.table.c[column] == user for column in entry.mine))
            wanted = limit - len(records)
            rows = await _pages(reads, app, entry, [mine], after, wanted)
            for row in rows:
                record = Record(name_of(entry), row_of(entry, row, without=entry.secret))
                size += len(msgspec.json.encode(record.row))
                if records and size > most_bytes:
                    return records, (number, after)
                records.append(record)
                after = [getattr(row, column.key) for column in key_columns(entry.table)]
            if len(rows) == wanted:
                return records, (number, after)
        number, after = number + 1, []
    return records, None


async def user_lines(reads: Reads, app: str, user: str) -> AsyncIterator[bytes]:
    """All that is kept of a user, as lines."""
    place: tuple[int, list[int | str]] | None = (0, [])
    while place is not None:
        records, place = await user_rows(reads, app, user, place, PAGE, _PAGE_BYTES)
        for record in records:
            yield _line({"table": record.table, "row": record.row})


async def space_size(reads: Reads, app: str) -> int:
    """How many lines `export_space` gives."""
    count = 2
    for entry in LEDGER:
        if entry.space:
            number = sa.select(sa.func.count()).select_from(entry.table).where(entry.table.c.app == app)
            count += (await reads.rows(number))[0][0]
    return count


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"


# Reading


def read_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of an export's lines.

    Raises:
        BadExport: it is no export, one of a newer version, one that was cut off, or a line is no record.
    """
    count = 0
    ended = False
    began = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadExport(f"Line {number} is no JSON; is the file damaged, or cut off?") from None
        if not began:
            _check_head(value)
            began = True
        elif ended:
            raise BadExport(f"Line {number} stands behind the end of the export.")
        elif isinstance(value, dict) and isinstance(value.get("end"), int):
            if value["end"] != count:
                raise BadExport(f"The export says that it has {value['end']} records, and there are {count}.")
            ended = True
        elif (record := _record(value)) is not None:
            count += 1
            yield record
        else:
            raise BadExport(f'Line {number} is no record: {{"table": …, "row": {{…}}}}.')
    if not began:
        raise BadExport("The file is empty.")
    if not ended:
        raise BadExport(
            f"The export was cut off: its last line is missing. The {count} records before were read; export it again."
        )


def _record(value: Any) -> Record | None:
    if not isinstance(value, dict):
        return None
    table, row = value.get("table"), value.get("row")
    return Record(table, row) if isinstance(table, str) and isinstance(row, dict) else None


def _check_head(value: Any) -> None:
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BadExport(f'This is no export of chat: its first line is not {{"format": "{FORMAT}", …}}.')
    if value.get("version") != VERSION:
        raise BadExport(
            f"The export has version {value.get('version')}, and this program reads {VERSION}; use what wrote it."
        )


def check_row(table: str, row: dict[str, Any]) -> tuple[Entry | None, str]:
    """The entry of a record's table, and what is wrong with the record, or nothing."""
    entry = entry_of(table)
    if entry is None or not entry.space:
        return None, f"There is no table {table!r} to be imported."
    columns = entry.table.c
    for name, value in row.items():
        if name not in columns or name == "app":
            return entry, f"{table} has no column {name!r}."
        if value is not None and (wrong := _wrong(columns[name], value)):
            return entry, f"{table}.{name}: {wrong}"
    for column in columns:
        lacks = row.get(column.key) is None and column.key != "app"
        if lacks and not column.nullable and (column.primary_key or _default(column) is None):
            return entry, f"{table} lacks {column.key!r}."
    return entry, ""


def _wrong(column: sa.Column[Any], value: Any) -> str:
    if isinstance(column.type, sa.Boolean):
        return "" if isinstance(value, bool) else "it is neither true nor false."
    if isinstance(column.type, sa.Integer):
        whole = isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST
        return "" if whole else "it is no whole number of 64 bits."
    if not isinstance(value, str):
        return "it is no text."
    return "a text with NUL cannot be stored." if "\0" in value else ""


def _default(column: sa.Column[Any]) -> Any:
    """What a column has where nothing is said."""
    default: Any = column.server_default
    if default is None:
        return 0 if column.key == "events_from" else None
    text = str(default.arg)
    if isinstance(column.type, sa.Boolean):
        return _BOOLEANS[text]
    return int(text) if isinstance(column.type, sa.Integer) else text


def completed(entry: Entry, row: dict[str, Any]) -> dict[str, Any]:
    """A checked record's row with all columns, as it is inserted."""
    full: dict[str, Any] = {}
    for column in entry.table.c:
        if column.key == "app":
            continue
        value = None if column.key in entry.local else row.get(column.key)
        full[column.key] = _default(column) if value is None else value
    return full
