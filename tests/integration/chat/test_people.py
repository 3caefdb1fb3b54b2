"""People over real sockets, on both kinds of database: what differs in SQL, and presence of real connections."""

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
def door() -> str:
    """One door is enough here."""
    return "takeover"


@pytest.fixture
async def server(start_server: Callable[..., Any], store: dict[str, str]) -> AsyncIterator[Any]:
    """A server on the test's database, with a short grace."""
    async with start_server(grace=0.2, **store) as running:
        yield running


async def test_people(server: Any) -> None:
    """Presence is told and asked for, blocks hide it, profiles and preferences take changes at once."""
    alice = await server.wire("alice")
    channel = (await alice.call("channel.create", {"name": "Tea", "members": ["bob"]}))["channel"]
    assert (await alice.ask("subscribe", channel="people:bob"))["type"] == "subscribed"
    assert (await alice.ask("subscribe", channel="people:stranger"))["type"] == "error"

    phones = [await server.wire("bob") for _ in range(3)]
    bob = phones[0]
    came = await alice.event("presence.changed", "people:bob")
    assert came["data"]["online"]
    await bob.call("status.set", {"text": "tea", "until": came["data"]["last_seen"] + 600_000})
    assert (await alice.event("presence.changed", "people:bob"))["data"]["text"] == "tea"
    [seen] = (await alice.call("presence.get", {"users": ["stranger", "bob"]}))["people"]
    assert (seen["user"], seen["online"], seen["text"]) == ("bob", True, "tea")

    assert (await alice.ask("subscribe", channel=channel))["type"] == "subscribed"
    typing = await bob.call("typing.start", {"channel": channel})
    assert (await alice.event("typing.started"))["data"] == {**typing, "user": "bob"}

    await asyncio.gather(*[each.call("profile.update", {"data": {f"key{n}": n}}) for n, each in enumerate(phones)])
    [profile] = (await alice.call("profile.get", {"users": ["bob"]}))["profiles"]
    assert len(profile["data"]) == 3
    await asyncio.gather(*[each.call("preferences.update", {"data": {f"key{n}": n}}) for n, each in enumerate(phones)])
    assert len((await bob.call("preferences.get", {}))["data"]) == 3
    for device in ("phone", "laptop"):
        await bob.call("device.register", {"device": device, "push_kind": "fcm", "push_token": "same"})
    devices = (await bob.call("device.list", {}))["devices"]
    assert [device.get("push_kind", "") for device in devices] == ["fcm", ""]

    direct = (await alice.call("channel.direct", {"members": ["bob"]}))["channel"]
    await bob.call("user.block", {"user": "alice"})
    assert (await bob.call("block.list", {"total": True}))["total"] == 1
    assert (await alice.call("presence.get", {"users": ["bob"]}))["people"] == []
    for wire in (alice, bob):
        answer = await wire.ask("call", name="message.send", data={"channel": direct, "text": "hello"})
        assert (answer["code"], answer["details"]["reason"]) == ("forbidden", "blocked")
    await bob.call("user.unblock", {"user": "alice"})

    assert (await alice.ask("subscribe", channel="people:bob"))["type"] == "subscribed"
    for phone in phones:
        await phone.socket.close()
    left = await alice.until(lambda frame: frame.get("name") == "presence.changed" and "online" not in frame["data"])
    assert left["data"]["last_seen"] >= came["data"]["last_seen"]
