"""What chat's queries take when there is much: 1,000,000 messages, 20,000 members, 5,000 memberships of one user.

    .venv/bin/python -m benchmarks.chat_scale                    SQLite, in a temporary folder
    .venv/bin/python -m benchmarks.chat_scale --postgres         a PostgreSQL of its own
    .venv/bin/python -m benchmarks.chat_scale --messages 100000  less of it

Rows are written directly, as if everybody had talked for months; then each request is asked of a worker on that
database, without a socket in between, and measured. Behind the figures come the plans of the statements that count.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import sqlalchemy as sa

from backchannel.broker.memory import MemoryBroker
from backchannel.chat import app
from backchannel.chat.counts.unread import mentions, unread
from backchannel.chat.messages.tables import mentions as mention_rows
from backchannel.chat.tables import channels, members, messages
from backchannel.relay.memory import MemoryRelay
from backchannel.store.postgres import open_postgres
from backchannel.store.postgres_dialect import PostgresDialect
from backchannel.store.sqlite import SqliteStore, open_sqlite
from backchannel.testing.services import PostgresServer
from backchannel.worker.worker import Worker

BIG: Final = "chat:big"
MEMBERS: Final = 20_000
MEMBERSHIPS: Final = 5_000
EACH: Final = 20
"""Messages in each of the many channels."""
_PART: Final = 10_000
_WORDS: Final = ("tea", "coffee", "cake", "milk", "sugar", "lemon", "honey", "bread", "butter", "jam", "spoon", "cup")


class Asked(NamedTuple):
    """A request that is measured."""

    what: str
    name: str
    data: dict[str, Any]
    user: str = "reader"


async def fill(store: Any, count: int) -> None:
    """Write the rows."""
    about = {"name": "Room", "public": False, "creator": "u1", "type": "group"}
    names = [f"chat:c{n}" for n in range(MEMBERSHIPS - 1)]
    rows = [{"channel": BIG, "created": 1, "member_count": MEMBERS, **about}]
    rows += [{"channel": name, "created": 1, "member_count": 2, **about} for name in names]
    await _insert(store, channels, rows)
    member = {"role": "member", "joined": 1}
    in_big = [{"channel": BIG, "user": f"u{n}", "read_seq": count - n % 200, **member} for n in range(1, MEMBERS)]
    reader = [{"channel": BIG, "user": "reader", "read_seq": count // 10, **member}]
    reader += [{"channel": name, "user": "reader", "read_seq": n % EACH, **member} for n, name in enumerate(names)]
    other = [{"channel": name, "user": "u1", "read_seq": 0, **member} for name in names]
    await _insert(store, members, [{**row, "delivered_seq": row["read_seq"]} for row in (*in_big, *reader, *other)])
    for start in range(1, count + 1, _PART):
        await _insert(store, messages, [_message(BIG, seq) for seq in range(start, min(start + _PART, count + 1))])
    small = [_message(name, seq) for name in names for seq in range(1, EACH + 1)]
    for start in range(0, len(small), _PART):
        await _insert(store, messages, small[start : start + _PART])
    named = [{"user": "reader", "channel": BIG, "seq": seq} for seq in range(1, count, 1000)]
    await _insert(store, mention_rows, named)
    transaction = await store.begin([])
    await transaction.set_counters({f"chat.seq:{name}": EACH for name in names} | {f"chat.seq:{BIG}": count})
    await transaction.commit()


def _message(channel: str, seq: int) -> dict[str, Any]:
    answer = seq % 25 == 0
    words = [_WORDS[(seq * step) % len(_WORDS)] for step in (1, 3, 7, 11)]
    return {
        "channel": channel,
        "seq": seq,
        "id": f"{channel}{seq}",
        "user": "reader" if seq % 100 == 0 else f"u{seq % 500 + 1}",
        "text": f"{' '.join(words)} {'saffron' if seq % 50_000 == 7 else seq}",
        "time": seq,
        # Of each 25 one is an answer in a thread, and counts for nobody.
        "parent": seq - 1 if answer else None,
        "shown": not answer,
        "counted": not answer,
    }


async def _insert(store: Any, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    transaction = await store.begin([])
    await transaction.insert(table, rows)
    await transaction.commit()


def asked(count: int) -> Iterable[Asked]:
    """What is measured."""
    big = {"channel": BIG}
    yield Asked(f"channel list, the first 100 of {MEMBERSHIPS:,}", "channel.list", {"limit": 100})
    yield Asked("the same, only what is unread, with the total", "channel.list", {"unread": True, "total": True})
    yield Asked(f"unread counts of {MEMBERSHIPS:,} channels", "unread.get", {})
    yield Asked(f"unread count of one with {count * 9 // 10:,} unread", "unread.get", {"channels": [BIG]})
    yield Asked("the newest 50 messages", "message.list", big)
    yield Asked("50 messages around the middle", "message.list", {**big, "around": count // 2})
    yield Asked("search, a rare word", "message.search", {"q": "saffron", "channels": [BIG]})
    yield Asked("search, a word of every fourth message", "message.search", {"q": "honey"})
    yield Asked("receipt.mark in the large room", "receipt.mark", {**big, "read": count // 2})
    yield Asked("who has read a message, the first 50", "receipt.list", {**big, "seq": count - 50})
    yield Asked("receipts of the large room", "receipt.get", big)
    yield Asked("members, the first 100", "channel.members", big)
    yield Asked("a message to the large room", "message.send", {**big, "text": "hello"})


async def main() -> None:
    """Fill, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL instead of SQLite")
    parser.add_argument("--messages", type=int, default=1_000_000, help="in the large room")
    parser.add_argument("--times", type=int, default=15, help="how often each request is asked")
    options = parser.parse_args()
    with ExitStack() as stack:
        store: Any
        if options.postgres:
            url = stack.enter_context(PostgresServer()).create_database()
            store = await open_postgres(url, migrations=app.migrations)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            store = open_sqlite(Path(folder) / "scale.db", migrations=app.migrations)
        began = time.perf_counter()
        await fill(store, options.messages)
        if options.postgres:
            await _vacuum(url)
        print(f"{options.messages + MEMBERSHIPS * EACH:,} messages written in {time.perf_counter() - began:.0f} s\n")
        broker = MemoryBroker()
        worker = Worker(app, store, broker, MemoryRelay(asyncio.get_running_loop()))
        await worker.start()
        print("| request | median, ms | worst, ms |\n|---|--:|--:|")
        for one in asked(options.messages):
            took = [await _measure(worker, one) for _ in range(options.times)][1:]
            print(f"| {one.what} | {statistics.median(took):.1f} | {max(took):.1f} |", flush=True)
        for line in await _plan(store):
            print(line)
        await worker.stop()
        await broker.close()
        await store.close()


async def _measure(worker: Worker, one: Asked) -> float:
    began = time.perf_counter()
    await worker.publisher.call(one.name, one.data, user=one.user)
    return (time.perf_counter() - began) * 1000


async def _vacuum(url: str) -> None:
    """What PostgreSQL does by itself in time."""
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def _plan(store: Any) -> list[str]:
    """How the database finds what is unread in all channels of a user."""
    of_reader = (members.c.app == "main", members.c.user == "reader")
    statement = sa.select(members.c.channel, unread(members), mentions(members)).where(*of_reader)
    dialect = None if isinstance(store, SqliteStore) else PostgresDialect()
    if dialect is None:
        compiled = statement.compile(sa.create_engine("sqlite://"), compile_kwargs={"literal_binds": True})
        rows = store.writer.execute(f"EXPLAIN QUERY PLAN {compiled}").fetchall()
        return ["", *(f"    {row[3]}" for row in rows)]
    compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    transaction = await store.begin([])
    found = await transaction.execute(sa.text(f"EXPLAIN (ANALYZE, COSTS OFF) {compiled}"))
    lines = [f"    {row[0]}" for row in found]
    await transaction.rollback()
    return ["", *lines]


if __name__ == "__main__":
    asyncio.run(main())
