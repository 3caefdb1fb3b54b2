"""The SQL that PostgreSQL gets on the hot path.

Rows go as one array per column, whose elements `unnest` puts side by side again: so a statement has the same text for
any number of rows, and is prepared once per connection. (Measured: 100 rows by `unnest` in 1.8 ms with their commit;
row by row they take 49 ms.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from .postgres_dialect import parameter_type
from .shapes import TableShape
from .texts import StatementTexts

__all__ = [
    "APPEND",
    "CHANGED_HEADS",
    "COUNTERS",
    "HEADS",
    "KEYS",
    "LOG",
    "LOGS",
    "NEW_COUNTERS",
    "PostgresStatements",
    "append_parts",
    "columns_of",
    "save_keys",
    "set_counters",
]

# One look into the index for each, whatever the server believes of the table's size: LIMIT keeps it from a plain join.
KEYS: Final = (
    "SELECT w.principal, w.key, k.digest, k.reply FROM unnest($2::text[], $3::text[]) AS w(principal, key) "
    "CROSS JOIN LATERAL (SELECT digest, reply FROM keys WHERE app = $1 AND principal = w.principal AND key = w.key "
    "LIMIT 1) AS k"
)
# The last row names the epoch of channels that were never used, which is the store's.
HEADS: Final = (
    'SELECT channel, epoch, "offset", first FROM heads WHERE app = $1 AND channel = ANY($2::text[]) '
    "UNION ALL SELECT NULL, epoch, 0, 1 FROM installation WHERE app = $1"
)
CHANGED_HEADS: Final = 'SELECT channel, epoch, "offset", first FROM heads WHERE app = $1 AND changed >= $2'
LOG: Final = (
    'SELECT i.epoch, h.epoch, h."offset", h.first, '
    'e."offset", e.name, e.data, e."user", e.key, e.subject, e.time, e.ends '
    "FROM installation AS i LEFT JOIN heads AS h ON h.app = i.app AND h.channel = $2 LEFT JOIN LATERAL ("
    'SELECT * FROM events WHERE app = $1 AND channel = $2 AND "offset" > $3 ORDER BY "offset" LIMIT $4'
    ') AS e ON true WHERE i.app = $1 ORDER BY e."offset"'
)
"""A log's head, beside each of a stretch of its events, in one statement and so of one moment."""
LOGS: Final = (
    'SELECT w.channel, coalesce(h.epoch, i.epoch), coalesce(h."offset", 0), coalesce(h.first, 1), '
    'e."offset", e.name, e.data, e."user", e.key, e.subject, e.time, e.ends '
    "FROM installation AS i CROSS JOIN unnest($2::text[], $3::bigint[]) AS w(channel, after) "
    "LEFT JOIN LATERAL (SELECT * FROM heads WHERE app = $1 AND channel = w.channel LIMIT 1) AS h ON true "
    "LEFT JOIN LATERAL ("
    'SELECT * FROM events WHERE app = $1 AND channel = w.channel AND "offset" > w.after ORDER BY "offset" LIMIT $4'
    ') AS e ON true WHERE i.app = $1 ORDER BY w.channel, e."offset"'
)
"""As `LOG`, for many channels."""

COUNTERS: Final = "SELECT name, value FROM counters WHERE app = $1 AND name = ANY($2::text[]) ORDER BY name FOR UPDATE"
# The value of one that another transaction made meanwhile is left as it is, and locked.
NEW_COUNTERS: Final = (
    "INSERT INTO counters (app, name, value) SELECT $1, name, 0 FROM unnest($2::text[]) AS w(name) "
    "ON CONFLICT (app, name) DO UPDATE SET value = counters.value RETURNING name, value"
)


@cache
def set_counters(first: int) -> str:
    """Counters' new values. Bound from `first`: app, names, values."""
    return (
        "INSERT INTO counters (app, name, value) "  # noqa: S608 - made of numbers
        f"SELECT ${first}, name, value FROM unnest(${first + 1}::text[], ${first + 2}::bigint[]) AS w(name, value) "
        "ON CONFLICT (app, name) DO UPDATE SET value = excluded.value"
    )


@cache
def save_keys(first: int) -> str:
    """Idempotency keys. Bound from `first`: app, principals, keys, digests, replies, times."""
    return (
        "INSERT INTO keys (app, principal, key, digest, reply, time) "  # noqa: S608 - made of numbers
        f"SELECT ${first}, w.* FROM unnest(${first + 1}::text[], ${first + 2}::text[], ${first + 3}::bytea[], "
        f"${first + 4}::bytea[], ${first + 5}::bigint[]) AS w"
    )


@cache
def append_parts(first: int) -> tuple[str, str]:
    """Heads with their new offsets, and the events that get them: two parts of one statement, named `h` and `e`.

    Each event says how far it is from its channel's last one. Bound from `first`: app, instant; channels, counts; then
    per event: channel, distance, name, data, user, key, subject, time, ends.
    """
    n = [f"${first + index}" for index in range(13)]
    heads = (
        'INSERT INTO heads AS h (app, channel, epoch, "offset", first, changed) '  # noqa: S608 - made of numbers
        f"SELECT {n[0]}, w.channel, i.epoch, w.count, 1, {n[1]} "
        f"FROM unnest({n[2]}::text[], {n[3]}::bigint[]) AS w(channel, count), installation AS i WHERE i.app = {n[0]} "
        'ON CONFLICT (app, channel) DO UPDATE SET "offset" = h."offset" + excluded."offset", '
        "changed = greatest(h.changed, excluded.changed) "
        'RETURNING h.channel, h.epoch, h."offset"'
    )
    events = (
        'INSERT INTO events (app, channel, "offset", name, data, "user", key, subject, time, ends) '  # noqa: S608
        f'SELECT {n[0]}, w.channel, h."offset" - w.back, w.name, w.data, w."user", w.key, w.subject, w.time, w.ends '
        f"FROM unnest({n[4]}::text[], {n[5]}::bigint[], {n[6]}::text[], {n[7]}::text[], {n[8]}::text[], "
        f"{n[9]}::text[], {n[10]}::text[], {n[11]}::bigint[], {n[12]}::text[]) "
        'AS w(channel, back, name, data, "user", key, subject, time, ends) JOIN h ON h.channel = w.channel'
    )
    return heads, events


APPEND: Final = 'SELECT channel, epoch, "offset" FROM h'


def columns_of(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows turned into one list per column."""
    return [list(column) for column in zip(*rows, strict=True)]


class PostgresStatements(StatementTexts):
    """Texts by table. `app` is the first bound value; then each column's values, as an array where rows are many."""

    def get(self, shape: TableShape, names: tuple[str, ...]) -> str:
        """One row by its whole key."""
        return self._text(_get, shape, names)

    def get_many(self, shape: TableShape, names: tuple[str, ...]) -> str:
        """The rows of many whole keys, each behind its key's number, from 1. Bound: app, keys."""
        return self._text(_get_many, shape, self._types(shape, names))

    def spreads(self, shape: TableShape, names: tuple[str, ...]) -> bool:
        """Whether rows of these columns can go as arrays: an array of arrays cannot be taken apart by rows."""
        return all(parameter_type(shape.columns[name].kind, self.dialect) is not None for name in names)

    def insert(self, shape: TableShape, names: tuple[str, ...], first: int = 1) -> str:
        """Rows, bound from the parameter `first`."""
        return self._text(_insert, shape, self._types(shape, names), first)

    def insert_one(self, shape: TableShape, names: tuple[str, ...]) -> str:
        """One row."""
        return self._text(_insert_one, shape, names)

    def update_one(self, shape: TableShape, names: tuple[str, ...], keys: tuple[str, ...]) -> str:
        """The rows of one key. Bound: app, values, key."""
        return self._text(_update_one, shape, names, keys)

    def update(self, shape: TableShape, names: tuple[str, ...], keys: tuple[str, ...]) -> str:
        """The rows of many keys. Bound: app, values, keys."""
        return self._text(_update, shape, self._types(shape, names), self._types(shape, keys))

    def delete(self, shape: TableShape, keys: tuple[str, ...]) -> str:
        """The rows of many keys."""
        return self._text(_delete, shape, self._types(shape, keys))

    def delete_one(self, shape: TableShape, keys: tuple[str, ...]) -> str:
        """The rows of one key."""
        return self._text(_delete_one, shape, keys)

    def _types(self, shape: TableShape, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """The columns' quoted names with the types of their values."""
        columns = [shape.columns[name] for name in names]
        return tuple((column.quoted, parameter_type(column.kind, self.dialect) or "") for column in columns)


def _quoted(shape: TableShape, names: Sequence[str]) -> list[str]:
    return [shape.columns[name].quoted for name in names]


def _matches(shape: TableShape, names: Sequence[str], first: int = 1) -> str:
    return " AND ".join(f"{column} = ${number}" for number, column in enumerate(_quoted(shape, names), first))


def _unnest(types: Sequence[tuple[str, str]], first: int) -> str:
    arrays = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(types, first))
    names = ", ".join(f"c{number}" for number in range(1, len(types) + 1))
    return f"unnest({arrays}) AS w({names})"


def _get(shape: TableShape, names: tuple[str, ...]) -> str:
    columns = ", ".join(_quoted(shape, tuple(shape.columns)))
    return f"SELECT {columns} FROM {shape.quoted} WHERE {_matches(shape, ('app', *names))}"  # noqa: S608


def _get_many(shape: TableShape, types: tuple[tuple[str, str], ...]) -> str:
    columns = ", ".join(_quoted(shape, tuple(shape.columns)))
    arrays = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(types, 2))
    keys = ", ".join(f"c{number}" for number in range(1, len(types) + 1))
    matches = " AND ".join(f"t.{column} = w.c{number}" for number, (column, _) in enumerate(types, 1))
    # LIMIT as in `KEYS`.
    return (
        f"SELECT w.number, t.* FROM unnest({arrays}) WITH ORDINALITY AS w({keys}, number) CROSS JOIN LATERAL "  # noqa: S608
        f"(SELECT {columns} FROM {shape.quoted} AS t WHERE t.{shape.columns['app'].quoted} = $1 AND {matches} LIMIT 1) "
        "AS t"
    )


def _insert(shape: TableShape, types: tuple[tuple[str, str], ...], first: int) -> str:
    columns = ", ".join([shape.columns["app"].quoted, *(name for name, _ in types)])
    return f"INSERT INTO {shape.quoted} ({columns}) SELECT ${first}, w.* FROM {_unnest(types, first + 1)}"  # noqa: S608


def _insert_one(shape: TableShape, names: tuple[str, ...]) -> str:
    columns = ", ".join(_quoted(shape, ("app", *names)))
    values = ", ".join(f"${number}" for number in range(1, len(names) + 2))
    return f"INSERT INTO {shape.quoted} ({columns}) VALUES ({values})"  # noqa: S608


def _update_one(shape: TableShape, names: tuple[str, ...], keys: tuple[str, ...]) -> str:
    changes = ", ".join(f"{column} = ${number}" for number, column in enumerate(_quoted(shape, names), 2))
    matches = " AND ".join([_matches(shape, ("app",)), _matches(shape, keys, len(names) + 2)])
    return f"UPDATE {shape.quoted} SET {changes} WHERE {matches}"  # noqa: S608


def _update(shape: TableShape, names: tuple[tuple[str, str], ...], keys: tuple[tuple[str, str], ...]) -> str:
    changes = ", ".join(f"{column} = w.c{number}" for number, (column, _) in enumerate(names, 1))
    matches = " AND ".join(f"t.{column} = w.c{number}" for number, (column, _) in enumerate(keys, len(names) + 1))
    return (
        f"UPDATE {shape.quoted} AS t SET {changes} FROM {_unnest((*names, *keys), 2)} "  # noqa: S608
        f"WHERE t.{shape.columns['app'].quoted} = $1 AND {matches}"
    )


def _delete(shape: TableShape, keys: tuple[tuple[str, str], ...]) -> str:
    matches = " AND ".join(f"t.{column} = w.c{number}" for number, (column, _) in enumerate(keys, 1))
    return (
        f"DELETE FROM {shape.quoted} AS t USING {_unnest(keys, 2)} "  # noqa: S608
        f"WHERE t.{shape.columns['app'].quoted} = $1 AND {matches}"
    )


def _delete_one(shape: TableShape, keys: tuple[str, ...]) -> str:
    return f"DELETE FROM {shape.quoted} WHERE {_matches(shape, ('app', *keys))}"  # noqa: S608
