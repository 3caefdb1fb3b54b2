"""Chat over a real socket, through every door, with a client that knows only the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings that name each kind of database."""
    return {} if request.param == "sqlite" else {"postgres": request.getfixturevalue("database_url")}


@pytest.fixture
def start_server(start_server: Callable[..., Any], store: dict[str, str]) -> Callable[..., Any]:
    """Starts servers on the test's database."""
    return lambda **settings: start_server(**store, **settings)


@pytest.fixture
async def running_server(start_server: Callable[..., Any]) -> AsyncIterator[Any]:
    """A server with default settings, once per door and database."""
    async with start_server() as server:
        yield server


async def test_two_people_chat(running_server: Any) -> None:
    """A message is acknowledged to its sender and arrives at every member, who each hear it once and in order."""
    alice, bob = await running_server.wire("alice"), await running_server.wire("bob")
    channel = (await alice.call("channel.create", {"name": "Tea"}))["channel"]
    await bob.call("channel.join", {"channel": channel})
    for wire in (alice, bob):
        assert (await wire.ask("subscribe", channel=channel))["verdict"] == "new"
    sent = [
        await wire.call("message.send", {"channel": channel, "text": f"message {n}"}, key=f"key-{n:06}")
        for n, wire in enumerate([alice, bob, alice])
    ]
    assert [message["seq"] for message in sent] == [1, 2, 3]
    for wire in (alice, bob):
        heard = [await wire.event("message.created", channel) for _ in sent]
        assert [event["data"] for event in heard] == sent
        offsets = [event["offset"] for event in heard]
        assert offsets == list(range(offsets[0], offsets[0] + 3))


async def test_the_sender_alone_is_told_the_key(running_server: Any) -> None:
    """An event carries the command's key to the sender's own connections, so that they know their message again."""
    alice, other, bob = [await running_server.wire(user) for user in ("alice", "alice", "bob")]
    for wire in (alice, other, bob):
        await wire.ask("subscribe", channel="chat:lobby")
    await alice.call("message.send", {"channel": "chat:lobby", "text": "mine"}, key="key-of-alice")
    assert (await alice.event("message.created"))["key"] == "key-of-alice"
    assert (await other.event("message.created"))["key"] == "key-of-alice"
    assert "key" not in await bob.event("message.created")


async def test_one_key_one_effect(running_server: Any) -> None:
    """A repeated command with the same key has one effect and the same reply; other data under it is a conflict."""
    alice = await running_server.wire("alice")
    request = {"channel": "chat:lobby", "text": "once"}
    replies = [await alice.ask("call", name="message.send", data=request, key="the-same-key") for _ in range(3)]
    assert [reply["data"] for reply in replies] == [replies[0]["data"]] * 3
    other = await alice.ask("call", name="message.send", data={**request, "text": "twice"}, key="the-same-key")
    assert (other["type"], other["code"]) == ("error", "conflict")
    page = await alice.call("message.list", {"channel": "chat:lobby"})
    assert [message["text"] for message in page["messages"]] == ["once"]


async def test_snapshot_and_stream_join_without_a_seam(running_server: Any) -> None:
    """Events at or below the positions of a query's reply are in its data; those above are not."""
    alice = await running_server.wire("alice")
    await alice.ask("subscribe", channel="chat:lobby")
    for n in range(5):
        await alice.call("message.send", {"channel": "chat:lobby", "text": str(n)})
    answer = await alice.ask("call", name="message.list", data={"channel": "chat:lobby"})
    last = (await alice.event("message.created"))["offset"]
    for _ in range(4):
        last = (await alice.event("message.created"))["offset"]
    assert answer["positions"] == {"chat:lobby": last}
    assert len(answer["data"]["messages"]) == 5


async def test_pages_go_both_ways(running_server: Any) -> None:
    """`message.list` pages backwards from the newest and forwards from a seq, and says whether there is more."""
    alice = await running_server.wire("alice")
    for n in range(1, 8):
        await alice.call("message.send", {"channel": "chat:lobby", "text": str(n)})

    async def seqs(**data: int) -> tuple[list[int], bool]:
        page = await alice.call("message.list", {"channel": "chat:lobby", **data})
        return [message["seq"] for message in page["messages"]], page["more"]

    assert await seqs(limit=3) == ([5, 6, 7], True)
    assert await seqs(before=5, limit=3) == ([2, 3, 4], True)
    assert await seqs(before=2, limit=3) == ([1], False)
    assert await seqs(after=0, limit=3) == ([1, 2, 3], True)
    assert await seqs(after=5, limit=3) == ([6, 7], False)


async def test_outsiders_neither_hear_nor_speak(running_server: Any) -> None:
    """Who is no member may not listen, read or send; what is private does not even exist for them."""
    alice, eve = await running_server.wire("alice"), await running_server.wire("eve")
    public = (await alice.call("channel.create", {"name": "Open"}))["channel"]
    private = (await alice.call("channel.create", {"name": "Secret", "public": False}))["channel"]

    async def code(type_: str, **fields: Any) -> str:
        answer = await eve.ask(type_, **fields)
        assert answer["type"] == "error", answer
        return str(answer["code"])

    assert await code("subscribe", channel=public) == "forbidden"
    assert await code("subscribe", channel=private) == "forbidden"
    assert await code("subscribe", channel="user:alice") == "forbidden"
    assert await code("call", name="message.send", data={"channel": public, "text": "hi"}) == "forbidden"
    assert await code("call", name="message.list", data={"channel": public}) == "forbidden"
    assert await code("call", name="message.send", data={"channel": private, "text": "hi"}) == "not_found"
    assert await code("call", name="channel.join", data={"channel": private}) == "not_found"
    assert await code("call", name="channel.members", data={"channel": private}) == "not_found"
    listed = await eve.call("channel.list", {})
    assert private not in [channel["channel"] for channel in listed["channels"]]


async def test_leaving_ends_the_right_to_listen(running_server: Any) -> None:
    """Who leaves hears of it, is unsubscribed behind that event, and hears nothing that comes after."""
    alice, bob = await running_server.wire("alice"), await running_server.wire("bob")
    for wire in (alice, bob):
        await wire.ask("subscribe", channel="chat:lobby")
    await bob.call("channel.leave", {"channel": "chat:lobby"})
    await alice.call("message.send", {"channel": "chat:lobby", "text": "now that he is gone"})
    ended = await bob.until(lambda f: f["type"] == "unsubscribed")
    assert (ended["channel"], ended["code"]) == ("chat:lobby", "forbidden")
    assert (await bob.event("member.left"))["data"]["user"] == "bob"
    assert (await bob.event("channel.removed"))["data"] == {"channel": "chat:lobby"}
    await alice.event("message.created")
    assert not [frame for frame in bob.kept() if frame.get("name") == "message.created"]


async def test_typing_is_told_and_not_kept(running_server: Any) -> None:
    """Typing reaches the others without an offset and leaves no trace in the log."""
    alice, bob = await running_server.wire("alice"), await running_server.wire("bob")
    await bob.ask("subscribe", channel="chat:lobby")
    await alice.call("typing.start", {"channel": "chat:lobby"})
    event = await bob.event("typing.started")
    assert event["data"].pop("expires") > 0
    assert event["data"] == {"channel": "chat:lobby", "user": "alice"}
    assert "offset" not in event
    history = (await bob.ask("history", channel="chat:lobby", limit=100))["data"]
    assert {entry["name"] for entry in history["events"]} == {"member.joined"}


async def test_who_is_here(running_server: Any) -> None:
    """Presence tells who listens, and its changes, merged over a user's connections."""
    alice, bob = await running_server.wire("alice"), await running_server.wire("bob")
    await alice.ask("subscribe", channel="chat:lobby")
    await bob.ask("subscribe", channel="chat:lobby")
    await alice.until(lambda f: f["type"] == "presence" and [m["user"] for m in f.get("joined", [])] == ["bob"])
    here = await alice.ask("presence", channel="chat:lobby")
    assert {member["user"] for member in here["members"]} == {"alice", "bob"}
    assert here["count"] == 2


async def test_a_resume_brings_what_was_missed(running_server: Any) -> None:
    """Who comes back with a position gets a verdict and every missed event, once."""
    alice, bob = await running_server.wire("alice"), await running_server.wire("bob")
    subscribed = await bob.ask("subscribe", channel="chat:lobby")
    await bob.socket.close()
    for n in range(3):
        await alice.call("message.send", {"channel": "chat:lobby", "text": f"missed {n}"})
    position = {"epoch": subscribed["epoch"], "offset": subscribed["offset"]}
    bob = await running_server.wire("bob", resume={"chat:lobby": position})
    resumed = await bob.until(lambda f: f["type"] == "subscribed" and f["channel"] == "chat:lobby")
    assert (resumed["verdict"], resumed["offset"]) == ("recovered", position["offset"] + 3)
    missed = [await bob.event("message.created") for _ in range(3)]
    assert [event["data"]["text"] for event in missed] == ["missed 0", "missed 1", "missed 2"]
    await alice.call("message.send", {"channel": "chat:lobby", "text": "live"})
    assert (await bob.event("message.created"))["data"]["text"] == "live"


async def test_a_restart_loses_nothing(start_server: Callable[..., Any]) -> None:
    """After a restart on the same data every acknowledged message is there, and positions go on."""
    async with start_server() as server:
        alice = await server.wire("alice")
        subscribed = await alice.ask("subscribe", channel="chat:lobby")
        sent = [await alice.call("message.send", {"channel": "chat:lobby", "text": str(n)}) for n in range(3)]
    position = {"epoch": subscribed["epoch"], "offset": subscribed["offset"]}
    async with start_server() as server:
        alice = await server.wire("alice", resume={"chat:lobby": position})
        resumed = await alice.until(lambda f: f["type"] == "subscribed" and f["channel"] == "chat:lobby")
        assert resumed["verdict"] == "recovered"
        assert [(await alice.event("message.created"))["data"] for _ in sent] == sent


async def test_many_senders_keep_one_order(running_server: Any) -> None:
    """Whoever sends at the same time: seq and offset are dense, and every listener sees the same order."""
    wires = [await running_server.wire(user) for user in ("alice", "bob", "carol", "dave")]
    for wire in wires:
        await wire.ask("subscribe", channel="chat:lobby")
    ids = [
        await wire.send("call", name="message.send", data={"channel": "chat:lobby", "text": f"{index}-{n}"})
        for n in range(20)
        for index, wire in enumerate(wires)
    ]
    orders = await asyncio.gather(*[_hear(wire, len(ids)) for wire in wires])
    assert [seq for seq, _ in orders[0]] == list(range(1, len(ids) + 1))
    assert all(order == orders[0] for order in orders)
    for index in range(len(wires)):
        mine = [text for _, text in orders[0] if text.startswith(f"{index}-")]
        assert mine == [f"{index}-{n}" for n in range(20)]


async def _hear(wire: Any, count: int) -> list[tuple[int, str]]:
    events = [await wire.event("message.created") for _ in range(count)]
    return [(event["data"]["seq"], event["data"]["text"]) for event in events]


async def test_the_dashboard_channel_moves(running_server: Any) -> None:
    """`metrics:host` brings a sample a second, with consecutive offsets."""
    alice = await running_server.wire("alice")
    await alice.ask("subscribe", channel="metrics:host")
    first, second = await alice.event("metrics.sampled"), await alice.event("metrics.sampled")
    assert second["offset"] == first["offset"] + 1
    assert second["data"]["time"] > first["data"]["time"]
    assert 0 <= second["data"]["cpu"] <= 100
    assert second["data"]["connections"] >= 1
