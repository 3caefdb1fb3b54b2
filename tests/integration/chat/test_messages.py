"""Messages on both databases: commands of many at once, and the SQL that each writes in its own way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.broker.memory import MemoryBroker
from backchannel.chat import app
from backchannel.chat.messages.tables import reaction_counts, reactions, threads
from backchannel.chat.tables import messages
from backchannel.relay.memory import MemoryRelay
from backchannel.store.postgres import open_postgres
from backchannel.store.sqlite import open_sqlite
from backchannel.worker.worker import Worker
from backchannel_protocol import Refused

USERS = [f"user{n}" for n in range(6)]


class Chat:
    """A worker on a database, asked as users."""

    def __init__(self, store: Any, worker: Worker) -> None:
        self.store = store
        self.worker = worker

    async def call(self, user: str, name: str, data: dict[str, Any]) -> Any:
        """The answer, as its declared type."""
        return await self.worker.publisher.call(name, data, user=user)

    async def rows(self, statement: sa.Select[Any]) -> list[Any]:
        """What is stored."""
        transaction = await self.store.begin([])
        rows = list(await transaction.rows(statement))
        await transaction.rollback()
        return rows


@pytest.fixture(params=["sqlite", "postgres"])
async def chat(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Chat]:
    """On each kind of database."""
    store: Any
    if request.param == "sqlite":
        store = open_sqlite(tmp_path / "chat.db", migrations=app.migrations)
    else:
        store = await open_postgres(request.getfixturevalue("database_url"), migrations=app.migrations)
    broker = MemoryBroker()
    worker = Worker(app, store, broker, MemoryRelay(asyncio.get_running_loop()))
    await worker.start()
    yield Chat(store, worker)
    await worker.stop()
    await broker.close()
    await store.close()


async def test_counts_are_what_the_rows_say(chat: Chat) -> None:
    """Six users react, answer, delete and bring back at once: the numbers told of it are those of the rows."""
    channel = (await chat.call("user0", "channel.create", {"name": "Tea", "members": USERS[1:]})).channel
    where = {"channel": channel, "seq": 1}
    await chat.call("user0", "message.send", {"channel": channel, "text": "first"})

    async def act(n: int) -> None:
        user, emoji = USERS[n % 6], "👍" if n % 2 else "🎉"
        try:
            if n % 3 == 0:
                await chat.call(user, "message.send", {"channel": channel, "text": f"answer {n}", "parent": 1})
            elif n % 3 == 1:
                await chat.call(user, "reaction.add" if n % 4 else "reaction.remove", {**where, "emoji": emoji})
            elif n > 40:
                name = "message.delete" if n % 2 else "message.restore"
                await chat.call("user0", name, {"channel": channel, "seq": n // 4})
        except Refused as error:
            if error.code != "not_found":  # it was not sent yet
                raise

    await asyncio.gather(*(act(n) for n in range(120)))
    await asyncio.gather(*(act(n) for n in range(120)))
    counted = Counter(row.emoji for row in await chat.rows(sa.select(reactions)))
    assert counted == {row.emoji: row.number for row in await chat.rows(sa.select(reaction_counts))}
    answers = await chat.rows(
        sa.select(messages).where(messages.c.parent == 1, messages.c.deleted.is_(None)).order_by(messages.c.seq.desc())
    )
    [thread] = await chat.rows(sa.select(threads))
    assert (thread.replies, thread.last_seq) == (len(answers), answers[0].seq)
    told = await chat.call("user1", "message.get", where)
    assert told.thread.users == list(dict.fromkeys(row.user for row in answers))[:5]
    assert {one.emoji: one.count for one in told.reactions} == counted
    mine = {row.emoji for row in await chat.rows(sa.select(reactions).where(reactions.c.user == "user1"))}
    assert {one.emoji for one in told.reactions if one.own} == mine


async def test_lists(chat: Chat) -> None:
    """Messages, threads, pins, mentions, reactions and edits page both ways on either database."""
    channel = (await chat.call("user0", "channel.create", {"name": "Tea", "members": USERS[1:]})).channel
    names = {"users": ["user1"], "channel": True}
    for n in range(1, 7):
        await chat.call("user0", "message.send", {"channel": channel, "text": f"text {n}", "mentions": names})
    for n in (2, 4, 6):
        where = {"channel": channel, "seq": n}
        await chat.call("user1", "message.send", {"channel": channel, "text": "answer", "parent": n, "quote": 1})
        await chat.call("user1", "message.pin", where)
        await chat.call("user0", "thread.follow", where)
        await chat.call(f"user{n - 1}", "reaction.add", {"channel": channel, "seq": 1, "emoji": "👍"})
        await chat.call("user0", "message.edit", {"channel": channel, "seq": 1, "text": f"edited {n}"})
    await chat.call("user1", "message.hide", {"channel": channel, "seqs": [5]})

    async def pages(user: str, name: str, key: str, **fields: Any) -> list[Any]:
        first = await chat.call(user, name, {**fields, "limit": 2, "total": True})
        second = await chat.call(user, name, {**fields, "limit": 2, "cursor": first.next})
        again = await chat.call(user, name, {**fields, "limit": 2, "cursor": second.previous})
        assert getattr(again, key) == getattr(first, key)
        found = [*getattr(first, key), *getattr(second, key)]
        assert len(found) == min(first.total, 4)
        return found

    in_channel = {"channel": channel}
    assert [one.seq for one in await pages("user1", "mention.list", "messages")] == [6, 4, 3, 2]
    assert [one.seq for one in await pages("user2", "mention.list", "messages", **in_channel)] == [6, 5, 4, 3]
    assert [one.seq for one in await pages("user1", "pin.list", "messages", **in_channel)] == [6, 4, 2]
    for fields in (in_channel, {}):
        listed = await pages("user0", "thread.list", "threads", unread=True, **fields)
        assert [(one.message.seq, one.unread, one.following) for one in listed] == [
            (6, 1, True),
            (4, 1, True),
            (2, 1, True),
        ]
    who = await pages("user0", "reaction.list", "reactions", seq=1, **in_channel)
    assert [one.user for one in who] == ["user1", "user3", "user5"]
    was = await pages("user0", "message.edits", "edits", seq=1, **in_channel)
    assert [one.text for one in was] == ["edited 4", "edited 2", "text 1"]
    page = await chat.call("user1", "message.list", {**in_channel, "around": 4, "limit": 4, "total": True})
    assert [one.seq for one in page.messages] == [3, 4, 6]
    assert (page.previous, page.next, page.total) == (3, None, 5)
    [answer] = (await chat.call("user2", "message.list", {**in_channel, "parent": 4})).messages
    assert (answer.quote.text, answer.parent) == ("edited 6", 4)


async def test_what_is_due_goes(chat: Chat) -> None:
    """However many messages are due: so many in one transaction, and then the rest."""
    channel = (await chat.call("user0", "channel.create", {"name": "Tea"})).channel
    other = (await chat.call("user0", "channel.create", {"name": "Other"})).channel
    await chat.call("user0", "message.send", {"channel": other, "text": "stays", "expires_in": 3600})
    transaction = await chat.store.begin([])
    said = {"channel": channel, "user": "user0", "text": "goes", "time": 1, "expires": 2}
    await transaction.insert(messages, [{**said, "seq": n, "id": f"id{n}"} for n in range(1, 204)])
    await transaction.commit()
    assert (await chat.call("", "message.due", {})).channels == [channel]
    done = [await chat.call("", "message.expire", {"channel": channel}) for _ in range(3)]
    assert [(one.count, one.more) for one in done] == [(200, True), (3, False), (0, False)]
    assert (await chat.call("", "message.due", {})).channels == []
    assert [row.text for row in await chat.rows(sa.select(messages)) if row.text] == ["stays"]
