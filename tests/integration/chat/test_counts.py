"""Counts, receipts and changes on both kinds of database, while several people act at once over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest


@pytest.fixture
def door() -> str:
    """What is counted does not depend on the way to the server."""
    return "takeover"


@pytest.fixture(params=["sqlite", "postgres"])
async def server(request: pytest.FixtureRequest, start_server: Callable[..., Any], door: str) -> AsyncIterator[Any]:
    """A server on each kind of database."""
    store = {} if request.param == "sqlite" else {"postgres": request.getfixturevalue("database_url")}
    async with start_server(**store) as running:
        yield running


async def test_counts_after_a_rush(server: Any) -> None:
    """Ten people send, answer, mention, delete and read at once, on two devices each; then everybody's counts are what
    their messages say when they are counted one by one, and a position from before brings each message once."""
    names = [f"u{n}" for n in range(5)]
    wires = {name: [await server.wire(name), await server.wire(name)] for name in names}
    first = wires["u0"][0]
    channel = (await first.call("channel.create", {"name": "Tea", "members": names[1:]}))["channel"]
    ask = {"channel": channel}
    (since,) = (await first.call("changes.list", {"positions": {channel: None}}))["channels"]

    async def rush(name: str, device: int) -> None:
        wire = wires[name][device]
        for n in range(6):
            fields: dict[str, Any] = {"text": f"{name} {n}"}
            if n % 3 == 1:
                fields["mentions"] = {"users": [names[n]], "channel": n == 4}
            sent = await wire.call("message.send", {**ask, **fields})
            if n % 3 == 2:
                await wire.call("message.send", {**ask, "text": "an answer", "parent": sent["seq"]})
                await wire.call("message.delete", {**ask, "seq": sent["seq"]})
            await wire.call("receipt.mark", {**ask, "read": max(1, sent["seq"] - 3 * device)})

    await asyncio.gather(*(rush(name, device) for name in names for device in (0, 1)))
    listed = (await first.call("message.list", {**ask, "limit": 200}))["messages"]
    receipts = {one["user"]: one for one in (await first.call("receipt.get", ask))["each"]}
    for name in names:
        counts = await wires[name][1].call("unread.get", {"channels": [channel]})
        (one,) = counts["channels"]
        read = one["read_seq"]
        assert receipts[name]["read"] == read
        left = [m for m in listed if m["seq"] > read and m["user"] != name and "deleted" not in m]
        assert one.get("unread", 0) == counts["unread"] == len(left)
        named = [
            m for m in left if name in m.get("mentions", {}).get("users", []) or m.get("mentions", {}).get("channel")
        ]
        assert one.get("mentions", 0) == len(named)
        same = await wires[name][0].call("unread.get", {"channels": [channel], "checksum": counts["checksum"]})
        assert same["same"]
    (now,) = (await first.call("changes.list", {"positions": {channel: since["position"]}, "limit": 5000}))["channels"]
    assert now["verdict"] == "complete"
    assert [m for m in now["messages"] if m.get("shown", True)] == listed
    assert {one["user"]: one["read"] for one in now["members"]} == {name: receipts[name]["read"] for name in names}
    last = await first.call("message.send", {**ask, "text": "the last word"})
    await asyncio.gather(
        *(wires[name][device].call("channel.mark_all_read", {}) for name in names for device in (0, 1))
    )
    for name in names:
        assert (await wires[name][0].call("unread.get", {}))["unread"] == 0
    read_by = await first.call("receipt.list", {**ask, "seq": last["seq"]})
    assert [one["user"] for one in read_by["receipts"]] == names[1:]


async def test_a_gap_of_one_channel(server: Any) -> None:
    """Positions that the log cannot go on from are gaps of their channels; the others are told."""
    alice, bob = await server.wire("alice"), await server.wire("bob")
    made = [(await alice.call("channel.create", {"name": "Tea", "members": ["bob"]}))["channel"] for _ in range(3)]
    answers = (await bob.call("changes.list", {"positions": dict.fromkeys(made)}))["channels"]
    positions = {one["channel"]: one["position"] for one in answers}
    for channel in made:
        await alice.call("message.send", {"channel": channel, "text": "hello"})
    positions[made[0]]["epoch"] = "another"
    positions[made[1]]["offset"] += 1000
    positions["chat:nowhere"] = positions[made[2]]
    answers = (await bob.call("changes.list", {"positions": positions}))["channels"]
    assert [one["verdict"] for one in answers] == ["gap", "gap", "complete", "none"]
    assert [one["seq"] for one in answers[2]["messages"]] == [1]
