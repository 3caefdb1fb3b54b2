"""Moderation on both kinds of database, while channels are made, joined and spoken in at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import httpx2
import pytest

from backchannel.store.postgres import postgres_api_keys
from backchannel.store.sqlite import sqlite_api_keys

Operate = Callable[[str, dict[str, Any]], Awaitable[Any]]
WORDS = {"name": "words", "kind": "word", "action": "block"}


@pytest.fixture
def door() -> str:
    """What is moderated does not depend on the way to the server."""
    return "takeover"


@pytest.fixture(params=["sqlite", "postgres"])
async def server(request: pytest.FixtureRequest, start_server: Callable[..., Any], door: str) -> AsyncIterator[Any]:
    """A server on each kind of database."""
    store = {} if request.param == "sqlite" else {"postgres": request.getfixturevalue("database_url")}
    async with start_server(**store) as running:
        yield running


@pytest.fixture
async def operate(server: Any) -> AsyncIterator[Operate]:
    """The server-side API, with an API key that acts for itself."""
    settings = server.server.settings
    keys = await postgres_api_keys(settings.postgres) if settings.postgres else sqlite_api_keys(settings.database)
    try:
        secret = (await keys.create("test"))[1]
    finally:
        await keys.close()
    async with httpx2.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {secret}"}) as client:

        async def ask(name: str, data: dict[str, Any]) -> Any:
            answer = await client.post(f"/v1/{name}", json=data)
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield ask


async def code(wire: Any, name: str, data: dict[str, Any]) -> str:
    """The reason for which a request is refused, or `ok`."""
    answer = await wire.ask("call", name=name, data=data)
    return "ok" if answer["type"] == "reply" else str((answer.get("details") or {}).get("reason", answer["code"]))


async def one_by_one(wire: Any, *asked: tuple[str, dict[str, Any]]) -> list[str]:
    """What becomes of requests that one connection asks one after the other."""
    return [await code(wire, name, data) for name, data in asked]


async def test_no_channel_escapes_a_list(server: Any, operate: Operate) -> None:
    """Channels that are made while lists of many channels change begin with what holds in the end."""
    wires = [await server.wire(f"u{n}") for n in range(4)]
    channels: list[str] = []

    async def make(wire: Any) -> None:
        channels.extend([(await wire.call("channel.create", {"name": "Tea"}))["channel"] for _ in range(8)])

    async def change(scope: str) -> None:
        for n in range(6):
            await operate("filter.set", {"scope": scope, **WORDS, "entries": [f"{scope[:4]}x{n}".replace("*", "all")]})

    await asyncio.gather(change("*"), change("type:group"), *map(make, wires))
    own = {"scope": channels[0], **WORDS, "entries": ["own"]}
    await asyncio.gather(operate("filter.set", own), operate("filter.delete", {"scope": "*", "name": "words"}))
    owned = (await wires[0].call("channel.list", {"limit": 200}))["channels"]
    mine = [one["channel"] for one in owned if one["creator"] == "u0"]
    assert len(mine) == 8
    for channel in mine:
        words = {
            "typex5": "block",
            "typex4": "pass",
            "allx5": "pass",
            "own": "block" if channel == channels[0] else "pass",
        }
        for word, verdict in words.items():
            tried = await wires[0].call("filter.try", {"channel": channel, "text": word})
            assert tried["verdict"] == verdict, (channel, word)


async def test_acts_at_once(server: Any, operate: Operate) -> None:
    """Whoever acts last has said what holds; the audit log has every act once, in one order; what
    holds everywhere and what holds in a channel end by themselves."""
    alice, bob, carol = [await server.wire(user) for user in ("alice", "bob", "carol")]
    channel = (await alice.call("channel.create", {"name": "Tea", "members": ["bob", "carol"]}))["channel"]
    await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "moderator"})
    there = {"channel": channel, "user": "carol"}
    turns = [(name, there) for name in ("silence.add", "silence.remove") * 3]
    await asyncio.gather(*(one_by_one(wire, *turns) for wire in (alice, bob)))
    listed = (await alice.call("restraint.list", {"channel": channel, "kind": "silence"}))["restraints"]
    heard = await code(carol, "message.send", {"channel": channel, "text": "hello"})
    assert heard == ("silenced" if listed else "ok")
    acts = (await alice.call("audit.list", {"channel": channel, "limit": 200}))["acts"]
    assert [act["seq"] for act in acts] == list(range(len(acts), 0, -1))
    others = [(await alice.call("channel.create", {"name": f"T{n}"}))["channel"] for n in range(6)]
    await operate("silence.add", {"channel": "*", "user": "carol", "seconds": 3600})
    await operate("silence.add", {"channel": channel, "user": "carol"})
    await operate("silence.remove", {"channel": "*", "user": "carol"})
    await one_by_one(carol, *(("channel.join", {"channel": other}) for other in others))
    said = [await code(carol, "message.send", {"channel": one, "text": "hello"}) for one in [channel, *others]]
    assert said == ["silenced"] + ["ok"] * len(others)
    await operate("ban.add", {"channel": "*", "user": "carol", "seconds": 3600})
    assert await carol.closed() == 4501
    carol = await server.wire("carol")
    assert {await code(carol, "message.send", {"channel": one, "text": "hi"}) for one in others} == {"banned"}
    await operate("ban.remove", {"channel": "*", "user": "carol"})
    assert {await code(carol, "message.send", {"channel": one, "text": "hi"}) for one in others} == {"ok"}


async def test_queues_and_logs_in_pages(server: Any, operate: Operate) -> None:
    """Reports by several at once make one case each; queue and audit log go both ways with totals."""
    wires = [await server.wire(f"u{n}") for n in range(5)]
    alice = wires[0]
    channel = (await alice.call("channel.create", {"name": "Tea", "members": [f"u{n}" for n in range(1, 5)]}))[
        "channel"
    ]
    await wires[1].call("message.send", {"channel": channel, "text": "buy this"})
    about: list[dict[str, Any]] = [{"seq": 1}, {"user": "eve"}, {}]
    turns = [("report.make", {"channel": channel, **one}) for one in about]
    await asyncio.gather(*(one_by_one(wire, *turns) for wire in wires[2:]))
    first = await alice.call("report.list", {"channel": channel, "limit": 2, "total": True})
    second = await alice.call("report.list", {"channel": channel, "limit": 2, "cursor": first["next"]})
    back = await alice.call("report.list", {"channel": channel, "limit": 2, "cursor": second["previous"]})
    cases = first["cases"] + second["cases"]
    assert (first["total"], back["cases"]) == (3, first["cases"])
    assert sorted((case["kind"], case["reports"]) for case in cases) == [("channel", 3), ("message", 3), ("user", 3)]
    for case in cases:
        await alice.call("report.resolve", {"channel": channel, "id": case["id"], "verdict": "upheld", "note": "seen"})
    assert len((await operate("report.list", {"state": "resolved"}))["cases"]) == 3
    log = await operate("audit.list", {"limit": 2, "actor": "u0", "total": True})
    older = await operate("audit.list", {"limit": 2, "actor": "u0", "cursor": log["next"]})
    newer = await operate("audit.list", {"limit": 2, "actor": "u0", "cursor": older["previous"]})
    assert (log["total"], [act["seq"] for act in older["acts"]], newer["acts"]) == (3, [1], log["acts"])


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
async def test_a_channel_that_is_made_waits_for_a_change_in_flight(server: Any, database_url: str) -> None:
    """It begins with the lists as they are after the change, though that was not committed when it began."""
    alice = await server.wire("alice")
    digest = "a" * 24
    change, watch = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        async with change.transaction():
            await change.execute("UPDATE chat_filter_heads SET digests = $1", f'{{"*": "{digest}"}}')
            asked = await alice.send("call", name="channel.create", data={"name": "Tea"})
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            async with asyncio.timeout(10):
                while not await watch.fetchval(waiting):
                    pass
        channel = (await alice.answer(asked))["data"]["channel"]
        filters = await watch.fetchval("SELECT filters FROM chat_channels WHERE channel = $1", channel)
        assert filters == digest + "-" * 48
    finally:
        await change.close()
        await watch.close()
