"""Blocks between users: what stops, both ways, without telling who has blocked whom."""

from __future__ import annotations

from typing import Any

import pytest

from backchannel.testing import Sandbox
from backchannel_protocol import Refused


async def test_no_direct_conversation(box: Sandbox, people: Any, refused: Any) -> None:
    """Neither of the two opens a conversation or sends in one; both are told the same. After it, both may again."""
    alice, bob = await people("alice", "bob")
    channel = (await alice.call("channel.direct", {"members": ["bob"]}))["channel"]
    await bob.call("message.send", {"channel": channel, "text": "hello"})
    await alice.call("user.block", {"user": "bob"})
    told = []
    for client in (alice, bob):
        error = await refused(
            client.call("message.send", {"channel": channel, "text": "hello?"}), "forbidden", reason="blocked"
        )
        told.append((error.message, error.details))
    assert told[0] == told[1]
    for client, other in ((alice, "bob"), (bob, "alice")):
        await refused(client.call("channel.direct", {"members": [other, "carol"]}), "forbidden", reason="blocked")
    await alice.call("user.unblock", {"user": "bob"})
    await bob.call("message.send", {"channel": channel, "text": "hello again"})


async def test_in_groups_both_still_speak(box: Sandbox, people: Any, new_channel: Any, send: Any) -> None:
    """A block is between two: in a group each still sends and reads; a mention of the one is not told to the other."""
    channel = await new_channel("carol", "alice", "bob")
    [alice] = await people("alice")
    await alice.call("user.block", {"user": "bob"})
    await send("bob", channel, "hi @alice", mentions={"users": ["alice", "carol"]})
    assert not [event for event in box.events("user:alice") if event.name == "mention.created"]
    assert [event for event in box.events("user:carol") if event.name == "mention.created"]


async def test_no_presence_between_the_two(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Who watches is cut off with the block; neither sees the other, whoever shares a channel with both does."""
    await new_channel("carol", "alice", "bob")
    alice, bob, carol = await people("alice", "bob", "carol")
    await box.settle()
    watching = bob.subscribe("people:alice")
    await watching.ready()
    await alice.call("user.block", {"user": "bob"})
    await box.settle()
    with pytest.raises(Refused):
        [event async for event in watching]
    for client, other in ((alice, "bob"), (bob, "alice")):
        assert (await client.call("presence.get", {"users": [other]}))["people"] == []
        with pytest.raises(Refused):
            await client.subscribe(f"people:{other}").ready()
    found = (await carol.call("presence.get", {"users": ["alice", "bob"]}))["people"]
    assert [person["user"] for person in found] == ["alice", "bob"]


async def test_the_blocked_is_not_told(box: Sandbox, people: Any) -> None:
    """A block is on the blocker's own channel, once, and on no other's."""
    alice, bob = await people("alice", "bob")
    del bob
    for _ in range(2):
        assert await alice.call("user.block", {"user": "bob"}) == {"user": "bob", "blocked": True}
    for _ in range(2):
        assert await alice.call("user.unblock", {"user": "bob"}) == {"user": "bob", "blocked": False}
    told = [event.data for event in box.events("user:alice") if event.name == "block.changed"]
    assert told == [{"user": "bob", "blocked": True}, {"user": "bob", "blocked": False}]
    assert not [event for event in box.events("user:bob") if event.name == "block.changed"]


async def test_nobody_blocks_themselves(box: Sandbox, people: Any, refused: Any) -> None:
    """That is refused."""
    [alice] = await people("alice")
    await refused(alice.call("user.block", {"user": "alice"}), "invalid", reason="self")


async def test_the_list_goes_both_ways(box: Sandbox, people: Any) -> None:
    """Pages follow each other forwards and backwards without a hole or a repetition, with the total if it is asked."""
    [alice] = await people("alice")
    names = [f"user{n:02}" for n in range(7)]
    for name in reversed(names):
        await alice.call("user.block", {"user": name})
    forwards: list[list[str]] = []
    backwards: list[list[str]] = []
    page = await alice.call("block.list", {"limit": 3, "total": True})
    assert page["total"] == 7
    assert "previous" not in page
    while True:
        forwards.append([each["user"] for each in page["users"]])
        if "next" not in page:
            break
        page = await alice.call("block.list", {"limit": 3, "cursor": page["next"]})
    assert [name for some in forwards for name in some] == names
    while "previous" in page:
        page = await alice.call("block.list", {"limit": 3, "cursor": page["previous"]})
        backwards.append([each["user"] for each in page["users"]])
    assert [name for some in reversed(backwards) for name in some] == names[:6]
