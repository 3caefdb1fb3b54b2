"""A room of 20,000 members takes the statements that one of 200 takes, in everything that its members do."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from backchannel.broker.memory import MemoryBroker
from backchannel.chat import app
from backchannel.chat.tables import channels, members, messages
from backchannel.relay.memory import MemoryRelay
from backchannel.store import sqlite_connection, sqlite_snapshot
from backchannel.store.postgres import open_postgres
from backchannel.store.sqlite import open_sqlite
from backchannel.store.store import Store
from backchannel.worker.worker import Worker

ROOMS: Final = {"chat:some": 200, "chat:many": 20_000}
MESSAGES: Final = 300

_CONNECTION: Final = asyncpg.connection.Connection


class Room:
    """A worker on a database with both rooms, and the statements that it has asked."""

    def __init__(self, store: Store, worker: Worker, statements: list[str]) -> None:
        self.store = store
        self.worker = worker
        self.statements = statements

    async def call(self, name: str, data: dict[str, Any], user: str) -> Any:
        """Ask, as a user."""
        return await self.worker.publisher.call(name, data, user=user)


async def _fill(store: Store) -> None:
    """Rooms as if everybody had joined and half of them had read half of what was said."""
    transaction = await store.begin([])
    for channel, size in ROOMS.items():
        about = {"channel": channel, "name": "Room", "public": True, "creator": "u0", "created": 1, "type": "group"}
        await transaction.insert(channels, [{**about, "member_count": size}])
        rows = [
            {
                "channel": channel,
                "user": f"u{n}",
                "role": "member" if n else "owner",
                "joined": 1,
                "read_seq": MESSAGES // 2 if n % 2 else 0,
                "delivered_seq": MESSAGES // 2,
            }
            for n in range(size)
        ]
        await transaction.insert(members, rows)
        said = [
            {"channel": channel, "seq": seq, "id": f"{channel}{seq}", "user": "u0", "text": "hello", "time": seq}
            for seq in range(1, MESSAGES + 1)
        ]
        await transaction.insert(messages, said)
    await transaction.set_counters({f"chat.seq:{channel}": MESSAGES for channel in ROOMS})
    await transaction.commit()


@pytest.fixture(params=["sqlite", "postgres"])
async def room(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    """Both rooms, on each kind of database."""
    statements: list[str] = []
    store: Any
    if request.param == "sqlite":

        def connect(path: Path) -> sqlite3.Connection:
            connection = sqlite_connection.connect_reader(path)
            connection.set_trace_callback(statements.append)
            return connection

        monkeypatch.setattr(sqlite_snapshot, "connect_reader", connect)
        store = open_sqlite(tmp_path / "large.db", migrations=app.migrations)
        await _fill(store)
        store.writer.set_trace_callback(statements.append)
    else:
        store = await open_postgres(request.getfixturevalue("database_url"), migrations=app.migrations)
        await _fill(store)
        fetch = _CONNECTION.fetch

        async def counted(self: Any, query: str, *args: Any, **more: Any) -> Any:
            statements.append(query)
            return await fetch(self, query, *args, **more)

        monkeypatch.setattr(_CONNECTION, "fetch", counted)
    broker = MemoryBroker()
    worker = Worker(app, store, broker, MemoryRelay(asyncio.get_running_loop()))
    await worker.start()
    yield Room(store, worker, statements)
    await worker.stop()
    await broker.close()
    await store.close()


async def test_nothing_that_members_do_grows_with_the_room(room: Room) -> None:
    """Joining, sending, typing, reading, receipts, members, counts and changes: statement by statement the same."""

    async def everything(channel: str) -> dict[str, int]:
        size = ROOMS[channel]
        ask = {"channel": channel}
        counted: dict[str, int] = {}

        async def count(name: str, data: dict[str, Any], user: str, again: str = "") -> Any:
            room.statements.clear()
            answer = await room.call(name, data, user)
            counted[name + again] = len(room.statements)
            return answer

        joined = await count("channel.join", ask, "newcomer")
        assert joined.members == size + 1
        sent = await count("message.send", {**ask, "text": "hi"}, "newcomer")
        assert sent.seq == MESSAGES + 1
        await count("typing.start", ask, "u1")
        first = await count("receipt.mark", {**ask, "read": MESSAGES}, "u3")
        assert first.unread == 1
        await count("receipt.mark", {**ask, "read": MESSAGES}, "u5", " soon after")
        receipts = await count("receipt.get", ask, "u1")
        assert receipts.each is None
        assert [(step.seq, step.members) for step in receipts.sums.read] == [(MESSAGES, 3)]
        read = await count("receipt.list", {**ask, "seq": MESSAGES // 2, "limit": 100}, "u1")
        assert (read.read, read.delivered, len(read.receipts)) == (size // 2 + 1, size, 100)
        page = await count("channel.members", {**ask, "limit": 100, "total": True}, "u1")
        assert (len(page.members), page.total) == (100, size + 1)
        counts = await count("unread.get", {"channels": [channel]}, "u2")
        assert counts.unread == MESSAGES + 1
        await count("channel.get", ask, "u2")
        await count("message.list", {**ask, "limit": 50}, "u2")
        (since,) = (await room.call("changes.list", {"positions": {channel: None}}, "u2")).channels
        position = {"epoch": since.position.epoch, "offset": since.position.offset - 1}
        await count("changes.list", {"positions": {channel: position}}, "u2")
        await count("channel.leave", ask, "newcomer")
        return counted

    # Connections prepare their statements, and the worker learns what to read ahead.
    few = await everything("chat:some")
    many = await everything("chat:many")
    assert {name: (few[name], count) for name, count in many.items() if count > few[name]} == {}
    assert max(many.values()) <= 30, many
