"""Channels of chat where several workers write at once, and what their lists ask of PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from backchannel.chat import app as chat
from backchannel_protocol import Refused

PAIRS = 8


async def test_two_workers_make_the_same_channels_once(start_worker: Any) -> None:
    """Direct channels that two users open at once, over different workers; members who come and go; counts: what is
    there in the end is what one worker would have made of it."""
    first, second = await start_worker(chat), await start_worker(chat)

    async def direct(worker: Any, user: str, other: str) -> str:
        return str((await worker.call("channel.direct", {"members": [other]}, user=user))["channel"])

    for n in range(PAIRS):
        one, two = await asyncio.gather(direct(first, f"a{n}", f"b{n}"), direct(second, f"b{n}", f"a{n}"))
        assert one == two
        page = await first.call("channel.members", {"channel": one, "total": True}, user=f"a{n}")
        assert page["total"] == 2

    channel = (await first.call("channel.create", {"name": "Tea"}))["channel"]
    data = {"channel": channel}
    await asyncio.gather(
        *(worker.call("channel.join", data, user=f"u{n}") for n in range(10) for worker in (first, second)),
        *(worker.call("channel.count", {**data, "name": "x"}) for worker in (first, second) for _ in range(10)),
    )
    await asyncio.gather(*((first, second)[n % 2].call("channel.leave", data, user=f"u{n}") for n in range(5)))
    details = await second.call("channel.get", data)
    assert (details["info"]["members"], details["counters"]) == (6, {"x": 20})


@pytest.fixture
async def connect(database_url: str) -> AsyncIterator[Callable[[], Awaitable[asyncpg.Connection]]]:
    """Makes connections to the test's database."""
    async with contextlib.AsyncExitStack() as stack:

        async def make() -> asyncpg.Connection:
            connection = await asyncpg.connect(database_url)
            stack.push_async_callback(connection.close)
            return connection

        yield make


async def test_a_type_changes_while_its_channels_are_made(start_worker: Any, connect: Any) -> None:
    """Whichever of the two commits first, the other waits for it, and the channel says what the type says."""
    bench = await start_worker(chat)
    first = (await bench.call("channel.create", {"name": "Tea"}))["channel"]
    other, watch = await connect(), await connect()

    async def blocked() -> None:
        while not await watch.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass  # each look waits for the database, and nothing else tells of it

    async def beside(statement: str, asked: Any) -> Any:
        """Ask while another transaction has run a statement and not ended; it ends once somebody waits for it."""
        async with other.transaction():
            await other.execute(statement)
            task = asyncio.ensure_future(asked)
            waits = asyncio.ensure_future(blocked())
            await asyncio.wait([task, waits], return_when=asyncio.FIRST_COMPLETED)
            waits.cancel()
            await asyncio.wait([waits])
        return await task

    changing = """UPDATE chat_types SET rules = '{"features":{"max_length":11}}' WHERE type = 'group'"""
    made = await beside(changing, bench.call("channel.create", {"name": "Tea"}))
    assert await _max_length(bench, made["channel"]) == 11
    making = f"""
        SELECT 1 FROM chat_types WHERE type = 'group' FOR SHARE;
        INSERT INTO chat_channels (app, channel, name, public, creator, created)
            SELECT app, 'chat:new', name, public, creator, created FROM chat_channels WHERE channel = '{first}';
        INSERT INTO chat_members (app, channel, "user", role, joined)
            SELECT app, 'chat:new', "user", role, joined FROM chat_members WHERE channel = '{first}'"""
    change = {"type": "group", "features": {"max_length": 12}}
    await beside(making, bench.call("permission.change_type", change, api_key="K1"))
    for channel in (first, made["channel"], "chat:new"):
        assert await _max_length(bench, channel) == 12


async def _max_length(bench: Any, channel: str) -> int:
    return int((await bench.call("permission.get", {"channel": channel}))["features"]["max_length"])


async def test_lists(start_worker: Any) -> None:
    """Every list with all of its filters, on rows of each kind."""
    bench = await start_worker(chat)
    made = [
        (await bench.call("channel.create", {"name": name, "members": ["bob"]}))["channel"]
        for name in ("Tea", "100% coffee", "Teapots")
    ]
    for channel in made[:2]:
        await bench.call("message.send", {"channel": channel, "text": f"in {channel}"})
    await bench.call("channel.wish", {"channel": made[2], "pinned": True, "muted": True}, user="bob")
    await bench.call("channel.wish", {"channel": made[0], "hidden": True}, user="bob")
    await bench.call("message.send", {"channel": made[0], "text": "back"})

    async def names(query: str = "channel.list", **asked: Any) -> list[str]:
        page = await bench.call(query, {"total": True, **asked}, user="bob")
        assert page["total"] >= len(page["channels"])
        return [channel["name"] for channel in page["channels"]]

    assert await names() == ["Teapots", "Tea", "100% coffee"]
    page = await bench.call("channel.list", {}, user="bob")
    assert [(one["mine"].get("unread", 0), one.get("last", {}).get("text")) for one in page["channels"]] == [
        (0, None),
        (2, "back"),
        (1, f"in {made[1]}"),
    ]
    assert await names(unread=True, name="%", types=["group"], roles=["member"], archived=False) == ["100% coffee"]
    assert await names(muted=True, pinned=True, hidden=None, sort="name") == ["Teapots"]
    assert await names("channel.find", name="tea", joined=True, types=["group"]) == ["Tea", "Teapots"]
    first = await bench.call("channel.list", {"limit": 1}, user="bob")
    second = await bench.call("channel.list", {"limit": 1, "cursor": first["next"]}, user="bob")
    assert [one["name"] for one in second["channels"]] == ["Tea"]
    back = await bench.call("channel.list", {"limit": 1, "cursor": second["previous"]}, user="bob")
    assert back["channels"] == first["channels"]
    members = await bench.call("channel.members", {"channel": made[0], "roles": ["member"], "prefix": "b"})
    assert [one["user"] for one in members["members"]] == ["bob"]
    link = await bench.call("link.create", {"channel": made[0]})
    assert (await bench.call("link.look", {"code": link["code"]}, user="eve"))["joined"] is False
    await bench.call("member.invite", {"channel": made[0], "users": ["eve"]})
    assert len((await bench.call("invitation.list", {}, user="eve"))["invitations"]) == 1
    await bench.call("channel.leave", {"channel": made[0]})
    assert (await bench.call("channel.get", {"channel": made[0]}, user="bob"))["info"]["mine"]["role"] == "owner"
    with pytest.raises(Refused, match="not_found"):
        await bench.call("channel.join", {"channel": made[0], "link": "guessed"}, user="eve")
