"""What SQLite is asked: how many statements, and by which index it answers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.app import Migrations
from backchannel.broker.broker import Envelope
from backchannel.store import sqlite_log_reader, tables
from backchannel.store.housekeeping import OLD_REPLIES
from backchannel.store.sqlite import SqliteStore, open_sqlite
from backchannel.store.sqlite_connection import connect_reader
from backchannel.store.sqlite_statements import CHANGED_HEADS, COUNTERS, HEADS, KEYS, LOG, LOGS, SqliteStatements
from backchannel.store.store import KeyRow

messages = sa.Table(
    "messages",
    sa.MetaData(),
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text),
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    """A store with a table of messages."""
    opened = open_sqlite(tmp_path / "store.db", migrations=[Migrations("chat", messages.metadata, None)])
    yield opened
    await opened.close()


async def test_a_batch_takes_one_statement_per_table(store: SqliteStore) -> None:
    """Fifty commands in five channels cost as many statements as one does."""
    asked: list[str] = []
    for size in (1, 50):
        asked.clear()
        store.writer.set_trace_callback(asked.append)
        transaction = await store.begin([])
        await transaction.keys([("p", f"{size}-{i}") for i in range(size)])
        await transaction.counters([f"n{i % 5}" for i in range(size)])
        rows = [{"channel": f"c:{i % 5}", "seq": size + i} for i in range(size)]
        await transaction.insert(messages, [{**row, "text": "t"} for row in rows])
        await transaction.update(messages, [(row, {"text": "u"}) for row in rows])
        await transaction.delete(messages, rows)
        await transaction.set_counters({f"n{i % 5}": i for i in range(size)})
        await transaction.append([Envelope(channel=f"c:{i % 5}", name="x.y", data=b"1") for i in range(size)])
        await transaction.save_keys([KeyRow("p", f"{size}-{i}", b"d", b"r", 1) for i in range(size)])
        await transaction.commit()
        store.writer.set_trace_callback(None)
        # BEGIN, keys, counters, insert, update, delete, counters, heads (written, read), events, keys, COMMIT
        assert len(asked) == 12, asked
        assert (asked[0], asked[-1]) == ("BEGIN IMMEDIATE", "COMMIT")


async def test_heads_of_one_tick_are_one_statement(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many heads are asked for in a loop tick, the database is asked once."""
    asked: list[str] = []

    def connect_and_trace(path: Path) -> sqlite3.Connection:
        connection = connect_reader(path)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(sqlite_log_reader, "connect_reader", connect_and_trace)
    reader = store.log_reader()
    await asyncio.gather(*(reader.head(f"c:{i}") for i in range(200)))
    assert len(asked) == 1
    await reader.head("c:1")
    await reader.read("c:1", 0, 10)
    assert len(asked) == 3
    await reader.close()


async def test_every_hot_statement_uses_an_index(store: SqliteStore) -> None:
    """No statement of the hot path looks at rows that it does not mean: each searches by a whole key or index."""
    statements = SqliteStatements(sa.create_engine("sqlite://").dialect)
    shape = statements.shape(messages)
    texts = [
        HEADS,
        CHANGED_HEADS,
        COUNTERS,
        LOG,
        LOGS,
        KEYS(1),
        KEYS(100),
        statements.get(shape, ("channel", "seq")),
        statements.get_many(shape, ("channel", "seq"), 1),
        statements.get_many(shape, ("channel", "seq"), 100),
        statements.update_one(shape, ("text",), ("channel", "seq")),
        statements.update(shape, ("text",), ("channel", "seq"), 2),
        statements.update(shape, ("text",), ("channel", "seq"), 100),
        statements.delete(shape, ("channel", "seq"), 1),
        statements.delete(shape, ("channel", "seq"), 100),
        statements.delete(shape, ("channel",), 3),
    ]
    for text in texts:
        named: dict[str, Any] = dict.fromkeys(("app", "channel", "after", "limit"), 1)
        named["after"] = '{"c:a": 1}' if text == LOGS else 1
        values: Any = named if text in (LOG, LOGS) else [1] * text.count("?")
        plan = [row[3] for row in store.writer.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        tables_read = [
            line for line in plan if any(n in line for n in ("messages", "keys", "counters", "heads", "events"))
        ]
        searches = [line for line in plan if line.startswith("SEARCH")]
        assert searches, (text, plan)
        assert not any(line.startswith("SCAN") for line in tables_read), (text, plan)
        # It finds the one row of `installation`; of any other table it would find all that an app has.
        assert not any(line.endswith("(app=?)") and "installation" not in line for line in searches), (text, plan)


odd = sa.Table(
    "odd",
    messages.metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("yes", sa.Boolean),
    sa.Column("number", sa.BigInteger),
)
heavy = sa.Table(
    "heavy",
    messages.metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary),
    sa.Column("weight", sa.Float),
)


async def test_rows_that_come_together_are_what_each_is(store: SqliteStore) -> None:
    """Read by one statement, in one value where that can hold them, rows are the same as read one by one."""
    ids = ["a", 'a "quote" \\ and\0more', "\u2028 \x1f \x7f", "\U0001f600", ""]
    transaction = await store.begin([])
    numbers = [0, -1, 2**63 - 1, -(2**63), None]
    rows: list[dict[str, Any]] = [
        {"id": i, "yes": y, "number": n} for i, y, n in zip(ids, [True, False, None, True, False], numbers, strict=True)
    ]
    await transaction.insert(odd, rows)
    await transaction.insert(heavy, [{"id": i, "body": i.encode(), "weight": 0.1} for i in ids])
    for table in (odd, heavy):
        together = await transaction.get_many(table, [{"id": i} for i in [*ids, "none"]])
        assert together == [await transaction.get(table, {"id": i}) for i in [*ids, "none"]]
        assert [row and row.id for row in together] == [*ids, None]
    await transaction.rollback()


async def test_writes_are_synced_and_checked(store: SqliteStore) -> None:
    """The write connection syncs each commit, in WAL mode, with foreign keys on."""
    for name, value in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
        assert store.writer.execute(f"PRAGMA {name}").fetchone() == (value,), name


async def test_housekeeping_finds_old_replies_by_their_time(store: SqliteStore) -> None:
    """Letting replies go does not scan all keys that were ever used."""
    text = OLD_REPLIES.replace("$", "?")
    plan = [row[3] for row in store.writer.execute(f"EXPLAIN QUERY PLAN {text}", ("main", 1))]
    assert any("keys_time (app=? AND time<?)" in line for line in plan), plan
    assert any(line.endswith("(app=? AND principal=? AND key=?)") for line in plan), plan


def test_every_key_begins_with_app() -> None:
    """Every table of Backchannel's own begins its key with `app`."""
    for table in tables.metadata.tables.values():
        assert next(iter(table.primary_key.columns)).name == "app", table.name
