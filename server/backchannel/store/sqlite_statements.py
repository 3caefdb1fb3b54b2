"""The SQL that SQLite gets on the hot path.

Every step of a SQLite statement gives up Python's global lock and takes it back, and so may wait for whatever the
gateway's thread is doing: writing 50 rows one by one measured 7 µs a row alone and over 1 ms a row beside a busy
thread. Therefore rows are written by one multi-row statement, and the store's own rows are read as one JSON value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from .shapes import TableShape
from .texts import StatementTexts

__all__ = ["CHANGED_HEADS", "CHUNK", "COUNTERS", "HEADS", "KEYS", "LOG", "LOGS", "SqliteStatements", "chunks"]

T = TypeVar("T")

CHUNK: Final = 100
"""Rows in one statement: bounds the number of texts and of bound values."""

HEADS: Final = (
    'SELECT json_group_array(json_array(channel, epoch, "offset", first)) FROM heads '
    "WHERE app = ? AND channel IN (SELECT value FROM json_each(?))"
)
CHANGED_HEADS: Final = (
    'SELECT json_group_array(json_array(channel, epoch, "offset", first)) FROM heads WHERE app = ? AND changed >= ?'
)
COUNTERS: Final = (
    "SELECT json_group_array(json_array(name, value)) FROM counters "
    "WHERE app = ? AND name IN (SELECT value FROM json_each(?))"
)
LOG: Final = (
    'SELECT (SELECT json_array(epoch, "offset", first) FROM heads WHERE app = :app AND channel = :channel), '
    '(SELECT json_group_array(json_array("offset", name, data, user, key, subject, time, ends)) FROM '
    '(SELECT * FROM events WHERE app = :app AND channel = :channel AND "offset" > :after '
    'ORDER BY "offset" LIMIT :limit))'
)
"""A log's head and a stretch of its events, in one statement and so of one moment."""
LOGS: Final = (
    "SELECT (SELECT epoch FROM installation WHERE app = :app), "
    '(SELECT json_group_array(json_array(h.channel, h.epoch, h."offset", h.first)) FROM json_each(:after) AS w '
    "CROSS JOIN heads AS h ON h.app = :app AND h.channel = w.key), "
    '(SELECT json_group_array(json_array(e.channel, json_array(e."offset", e.name, e.data, e.user, e.key, '
    "e.subject, e.time, e.ends))) FROM json_each(:after) AS w CROSS JOIN events AS e "
    'ON e.app = :app AND e.channel = w.key AND e."offset" > w.value AND e."offset" <= w.value + :limit)'
)
"""Many logs' heads and stretches of their events, which are dense; `after` is a JSON object of offsets by channel."""


def KEYS(count: int) -> str:  # noqa: N802 - one of this file's texts
    """The kept keys for so many (principal, key) pairs.

    A join, since SQLite answers `(principal, key) IN (VALUES …)` by scanning the app's whole table.
    """
    return (
        f"SELECT w.column1, w.column2, digest, reply FROM (VALUES {_groups(count, 2)}) AS w CROSS JOIN keys "  # noqa: S608
        f"ON keys.app = ? AND keys.principal = w.column1 AND keys.key = w.column2"
    )


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, at most `CHUNK` at a time."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _groups(rows: int, columns: int) -> str:
    group = f"({', '.join('?' * columns)})"
    return ", ".join([group] * rows)


class SqliteStatements(StatementTexts):
    """Texts by table. `app` is the first bound value of each row or condition."""

    def get(self, shape: TableShape, names: tuple[str, ...]) -> str:
        """One row by its whole key. Bound: app, key."""
        return self._text(_get, shape, names)

    def get_many(self, shape: TableShape, names: tuple[str, ...], count: int) -> str:
        """The rows of so many whole keys, each behind its key's number. Bound: for each number, key; then app.

        In one row, as JSON, where the shape `fits_json`.
        """
        return self._text(_get_many, shape, names, count)

    def insert(self, shape: TableShape, names: tuple[str, ...], count: int) -> str:
        """So many rows. Bound, for each: app, values."""
        return self._text(_insert, shape, names, count)

    def update_one(self, shape: TableShape, names: tuple[str, ...], keys: tuple[str, ...]) -> str:
        """The rows of one key. Bound: values, app, key."""
        return self._text(_update_one, shape, names, keys)

    def update(self, shape: TableShape, names: tuple[str, ...], keys: tuple[str, ...], count: int) -> str:
        """The rows of so many keys. Bound: for each values, key; then app."""
        return self._text(_update, shape, names, keys, count)

    def delete(self, shape: TableShape, keys: tuple[str, ...], count: int) -> str:
        """The rows of so many keys. Bound: app; for each key."""
        return self._text(_delete, shape, keys, count)


def _quoted(shape: TableShape, names: Sequence[str]) -> list[str]:
    return [shape.columns[name].quoted for name in names]


def _matches(shape: TableShape, names: Sequence[str]) -> str:
    return " AND ".join(f"{column} = ?" for column in _quoted(shape, names))


def _get(shape: TableShape, names: tuple[str, ...]) -> str:
    columns = ", ".join(_quoted(shape, tuple(shape.columns)))
    return f"SELECT {columns} FROM {shape.quoted} WHERE {_matches(shape, ('app', *names))}"  # noqa: S608


def _get_many(shape: TableShape, names: tuple[str, ...], count: int) -> str:
    columns = ", ".join(f"t.{column}" for column in _quoted(shape, tuple(shape.columns)))
    matches = " AND ".join(f"t.{column} = w.column{i}" for i, column in enumerate(_quoted(shape, names), 2))
    numbered = f"w.column1, {columns}"
    if shape.fits_json:
        numbered = f"json_group_array(json_array({numbered}))"
    return (
        f"SELECT {numbered} FROM (VALUES {_groups(count, len(names) + 1)}) AS w "  # noqa: S608
        f"CROSS JOIN {shape.quoted} AS t ON t.{shape.columns['app'].quoted} = ? AND {matches}"
    )


def _insert(shape: TableShape, names: tuple[str, ...], count: int) -> str:
    columns = ", ".join(_quoted(shape, ("app", *names)))
    return f"INSERT INTO {shape.quoted} ({columns}) VALUES {_groups(count, len(names) + 1)}"  # noqa: S608


def _update_one(shape: TableShape, names: tuple[str, ...], keys: tuple[str, ...]) -> str:
    changes = ", ".join(f"{column} = ?" for column in _quoted(shape, names))
    return f"UPDATE {shape.quoted} SET {changes} WHERE {_matches(shape, ('app', *keys))}"  # noqa: S608


def _update(shape: TableShape, names: tuple[str, ...], keys: tuple[str, ...], count: int) -> str:
    changes = ", ".join(f"{column} = w.column{i}" for i, column in enumerate(_quoted(shape, names), 1))
    matches = " AND ".join(
        f"{shape.quoted}.{column} = w.column{i}" for i, column in enumerate(_quoted(shape, keys), len(names) + 1)
    )
    return (
        f"UPDATE {shape.quoted} SET {changes} FROM (VALUES {_groups(count, len(names) + len(keys))}) AS w "  # noqa: S608
        f"WHERE {shape.quoted}.{shape.columns['app'].quoted} = ? AND {matches}"
    )


def _delete(shape: TableShape, keys: tuple[str, ...], count: int) -> str:
    if len(keys) == 1:
        matches = f"{_quoted(shape, keys)[0]} IN ({', '.join('?' * count)})"
    else:
        # Selected from VALUES, not VALUES itself, for which SQLite would not use an index.
        wanted = ", ".join(f"column{i}" for i in range(1, len(keys) + 1))
        groups = _groups(count, len(keys))
        matches = f"({', '.join(_quoted(shape, keys))}) IN (SELECT {wanted} FROM (VALUES {groups}))"  # noqa: S608
    return f"DELETE FROM {shape.quoted} WHERE {_matches(shape, ('app',))} AND {matches}"  # noqa: S608
