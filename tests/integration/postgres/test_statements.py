"""What PostgreSQL is asked, and how often."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.app import Migrations
from backchannel.broker.broker import Envelope
from backchannel.chat import app as chat
from backchannel.store import postgres_statements
from backchannel.store.postgres import PostgresStore, open_postgres
from backchannel.store.postgres_dialect import PostgresDialect
from backchannel.store.postgres_statements import PostgresStatements
from backchannel.testing.services import PgBouncer, PostgresServer

OpenStore = Callable[..., Awaitable[PostgresStore]]


@pytest.mark.parametrize("pooled", [False, True])
async def test_a_message_takes_seven_round_trips(start_worker: Any, way: Any, pooled: bool) -> None:
    """`message.send` with a key, in a batch of its own; without prepared statements five more. What is stated in
    `postgres_transaction.py`."""
    bench = await start_worker(chat, f"{way.url}?pgbouncer={'true' if pooled else 'false'}")
    channel = (await bench.call("channel.create", {"name": "Tea"}))["channel"]

    async def send(number: int) -> int:
        before: int = way.round_trips
        message = {"channel": channel, "text": "hello"}
        await bench.call("message.send", message, key=f"key-number-{number}")
        return int(way.round_trips) - before

    for number in range(bench.store.writers + 2):  # each connection prepares its statements once
        await send(number)
    assert [await send(100 + number) for number in range(3)] == [12 if pooled else 7] * 3


async def test_a_batch_of_messages_takes_eight_round_trips(start_worker: Any, way: Any) -> None:
    """Whether it is ten or fifty messages, of as many members, to as many channels."""
    bench = await start_worker(chat, way.url)
    users = [f"user{number}" for number in range(50)]
    channels = [(await bench.call("channel.create", {"name": user}, user=user))["channel"] for user in users]

    async def send(count: int, run: int) -> int:
        before: int = way.round_trips
        sent = zip(channels[:count], users[:count], strict=True)
        await asyncio.gather(
            *(
                bench.call("message.send", {"channel": channel, "text": "hello"}, key=f"key-number-{run}", user=user)
                for channel, user in sent
            )
        )
        return int(way.round_trips) - before

    for run in range(bench.store.writers + 2):  # each connection prepares its statements once
        await send(50, run)
    assert [await send(count, 100 + count) for count in (10, 30, 50)] == [8] * 3


async def test_every_hot_statement_finds_its_rows_by_a_whole_index(open_store: OpenStore) -> None:
    """No statement of the hot path looks through a table, or through all of an app's rows."""
    messages = next(iter(chat.migrations)).metadata.tables["chat_messages"]
    store = await open_store(migrations=chat.migrations)
    statements = PostgresStatements(PostgresDialect())
    shape = statements.shape(messages)
    texts = [
        postgres_statements.KEYS,
        postgres_statements.HEADS,
        postgres_statements.CHANGED_HEADS,
        postgres_statements.LOG,
        postgres_statements.LOGS,
        postgres_statements.COUNTERS,
        statements.get(shape, ("channel", "seq")),
        statements.get_many(shape, ("channel", "seq")),
        statements.update_one(shape, ("text",), ("channel", "seq")),
        statements.update(shape, ("text",), ("channel", "seq")),
        statements.delete(shape, ("channel", "seq")),
        statements.delete_one(shape, ("channel", "seq")),
    ]
    transaction = await store.begin([])
    connection = transaction.reads.connection
    for fill in (
        "keys SELECT a, 'p' || n, 'key', '\\x00', '\\x00', n",
        "heads SELECT a, 'c:' || n, 'e', 1, 1, n",
        "events SELECT a, 'c:' || n, 1, 'x.y', '1', NULL, NULL, NULL, 1, NULL",
        "counters SELECT a, 'c:' || n, 1",
        "chat_messages SELECT a, 'c:' || n % 50, n, 'id', 'user', 'text', 1",
    ):
        await connection.execute(
            f"INSERT INTO {fill} FROM unnest('{{main,b}}'::text[]) AS a, generate_series(1, 8000) AS n"
        )
        await connection.execute(f"ANALYZE {fill.split()[0]}")
    # As prepared statements are planned in the long run, for values that are not known.
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    for number, text in enumerate(texts):
        await connection.execute(f"PREPARE p{number} AS {text}")
        count = len(set(re.findall(r"\$\d+", text)))
        rows = await connection.fetch(f"EXPLAIN EXECUTE p{number}({', '.join(['NULL'] * count)})")
        plan = [row[0].strip() for row in rows]
        assert not any("Seq Scan" in line and "installation" not in line for line in plan), (text, plan)
        conditions = [line for line in plan if line.startswith("Index Cond")]
        assert conditions, (text, plan)
        # `app` alone finds the one row of `installation`; of any other table it would find all that an app has.
        assert len([line for line in conditions if " AND " not in line]) <= text.count("installation"), (text, plan)
    await transaction.rollback()


async def test_names_sort_by_code_points_in_every_database(postgres_server: PostgresServer) -> None:
    """Housekeeping finds the channels of a namespace, and only those, also where the database's language sorts `:` and
    `-` as if they were not there."""
    postgres_server.execute(
        "CREATE DATABASE spoken TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
    )
    store = await open_postgres(postgres_server.url_of("spoken"))
    channels = ["c:a", "c:Z", "c-d:a", "cd:a", "C:a", "b:z"]
    transaction = await store.begin([])
    await transaction.append([Envelope(channel=c, name="x.y", data=b"1", time=1) for c in channels for _ in range(2)])
    await transaction.commit()
    await store.housekeeping({"c": (1, 1e9)}, 1)
    reader = store.log_reader()
    left = {channel: len((await reader.read(channel, 0, 10))[1]) for channel in channels}
    await reader.close()
    await store.close()
    assert left == {"c:a": 1, "c:Z": 1, "c-d:a": 2, "cd:a": 2, "C:a": 2, "b:z": 2}


async def test_a_pooler_is_found_out(database_url: str) -> None:
    """Without a word in the URL; a word in it wins."""
    with PgBouncer(database_url) as bouncer:
        for url, pooled in (
            (database_url, False),
            (bouncer.url, True),
            (f"{bouncer.url}?pgbouncer=false", False),
            (f"{database_url}?pgbouncer=true", True),
        ):
            store = await open_postgres(f"{url}", migrations=()) if "false" not in url else None
            if store is not None:
                assert await store._target.pooled() is pooled
                await store.close()


async def test_types_of_postgresql_come_back_as_they_went(open_store: OpenStore) -> None:
    """Arrays, numbers, enums, JSON and instants with a zone: by set-wise inserts, by `get`, and by selects."""
    from datetime import UTC, datetime
    from decimal import Decimal
    from uuid import UUID

    from sqlalchemy.dialects import postgresql

    table = sa.Table(
        "kinds",
        sa.MetaData(),
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("ratio", sa.Float),
        sa.Column("mood", sa.Enum("good", "bad", name="mood")),
        sa.Column("code", sa.CHAR(3)),
        sa.Column("extra", postgresql.JSONB),
        sa.Column("at", sa.DateTime(timezone=True)),
        sa.Column("words", sa.ARRAY(sa.Text)),
    )
    store = await open_store(migrations=[Migrations("kinds", table.metadata, None)])
    rows: list[dict[str, Any]] = [
        {
            "id": UUID(int=number),
            "price": Decimal("1.50"),
            "ratio": 0.25,
            "mood": "good",
            "code": "abc",
            "extra": {"n": [number, None]},
            "at": datetime(2026, 1, 2, tzinfo=UTC),
        }
        for number in range(3)
    ]
    for names, given in (("set", rows), ("one", [{**row, "id": UUID(int=9), "words": ["a", "b"]} for row in rows[:1]])):
        transaction = await store.begin([])
        await transaction.insert(table, given)
        await transaction.update(table, [({"id": row["id"]}, {"ratio": 0.5, "extra": [1]}) for row in given])
        selected = await transaction.rows(sa.select(table).order_by(table.c.id))
        got = [await transaction.get(table, {"id": row["id"]}) for row in given]
        by_column = (await transaction.rows(sa.select(table.c.extra, sa.func.count().label("n")).group_by("extra")))[0]
        await transaction.delete(table, [{"id": row["id"]} for row in given])
        assert await transaction.rows(sa.select(table)) == []
        await transaction.rollback()
        expected = [{"app": "main", "words": None, **row, "ratio": 0.5, "extra": [1]} for row in given]
        assert [dict(row._mapping) for row in selected] == expected, names
        assert got == selected, names
        assert (by_column._mapping[table.c.extra], by_column.n) == ([1], len(given)), names
