"""Receipts: marks that only move on, what is told of them in small and in large channels, and who has read what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.chat import ReceiptChanged, ReceiptsSummed, UnreadChanged
from backchannel.chat.tables import channels, members
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
NewChannel = Callable[..., Awaitable[str]]
Send = Callable[..., Awaitable[dict[str, Any]]]
Refused_ = Callable[..., Awaitable[Any]]


def place(box: Sandbox, channel: str, user: str) -> tuple[int, int]:
    """What a member's row says was read, and got."""
    wanted = (members.c.channel == channel, members.c.user == user)
    (row,) = box.rows(sa.select(members.c.read_seq, members.c.delivered_seq).where(*wanted))
    return row.read_seq, row.delivered_seq


async def test_marks_only_move_on(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """What is read is also delivered; a mark that is older than what is known, or repeated, changes and tells nothing;
    one that is ahead of the channel counts as its newest message."""
    (bob,) = await people("bob")
    channel = await new_channel("alice", "bob")
    for _ in range(5):
        await send("alice", channel)
    answer = await bob.call("receipt.mark", {"channel": channel, "read": 3})
    assert answer == {"channel": channel, "unread": 2, "read_seq": 3, "last_seq": 5}
    assert place(box, channel, "bob") == (3, 3)
    for data in ({"read": 2}, {"read": 3}, {"delivered": 1}):
        assert (await bob.call("receipt.mark", {"channel": channel, **data}))["unread"] == 2
    await bob.call("receipt.mark", {"channel": channel, "delivered": 99})
    assert place(box, channel, "bob") == (3, 5)
    assert (await bob.call("receipt.mark", {"channel": channel, "read": 2**40})).get("unread", 0) == 0
    assert place(box, channel, "bob") == (5, 5)
    told = [(one.user, one.read, one.delivered) for one in box.events(channel, ReceiptChanged)]
    assert told == [("bob", 3, 3), ("bob", 3, 5), ("bob", 5, 5)]
    assert [(one.read_seq, one.unread) for one in box.events("user:bob", UnreadChanged)] == [(3, 2), (5, 0)]
    assert box.events("user:alice", UnreadChanged) == []


async def test_many_devices_mark_at_once(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """Marks of several devices, in any order, end at the furthest; the last event says what the row says."""
    devices = await people("bob", "bob", "bob")
    channel = await new_channel("alice", "bob")
    for _ in range(9):
        await send("alice", channel)
    seqs = [4, 9, 1, 6, 2, 8, 3, 7, 5]
    await asyncio.gather(
        *(devices[n % 3].call("receipt.mark", {"channel": channel, "read": seq}) for n, seq in enumerate(seqs))
    )
    assert place(box, channel, "bob") == (9, 9)
    told = [one.read for one in box.events(channel, ReceiptChanged)]
    assert told == sorted(set(told))
    assert told[-1] == 9


async def test_mark_unread_moves_back(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """A message and all behind it are unread again, on all devices and in receipts; what is unread stays so."""
    (bob,) = await people("bob")
    channel = await new_channel("alice", "bob")
    for _ in range(5):
        await send("alice", channel)
    await bob.call("receipt.mark", {"channel": channel, "read": 5})
    assert (await bob.call("channel.mark_unread", {"channel": channel, "seq": 4}))["unread"] == 2
    assert (await bob.call("channel.mark_unread", {"channel": channel, "seq": 5}))["unread"] == 2
    assert place(box, channel, "bob") == (3, 5)
    assert [one.unread for one in box.events("user:bob", UnreadChanged)] == [0, 2]
    assert box.events(channel, ReceiptChanged)[-1].read == 3


async def test_everything_is_read_at_once(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """`channel.mark_all_read` reads all channels that have anything unread, tells each, and a second time none."""
    (bob,) = await people("bob")
    made = [await new_channel("alice", "bob") for _ in range(4)]
    for channel in made[:3]:
        await send("alice", channel)
    assert await bob.call("channel.mark_all_read", {}) == {"channels": 3}
    assert (await bob.call("unread.get", {}))["unread"] == 0
    assert {one.channel for one in box.events("user:bob", UnreadChanged)} == set(made[:3])
    assert await bob.call("channel.mark_all_read", {}) == {"channels": 0}


async def test_who_may_mark(
    people: People, new_channel: NewChannel, send: Send, operate: Any, refused: Refused_
) -> None:
    """Who is no member has no receipts: in a public channel that is said, of a private one nothing is known."""
    alice, eve = await people("alice", "eve")
    public, private = await new_channel("alice"), await new_channel("alice", public=False)
    await send("alice", public)
    for name, data in (("receipt.mark", {"read": 1}), ("channel.mark_unread", {"seq": 1})):
        await refused(eve.call(name, {"channel": public, **data}), "forbidden", reason="not_member")
        await refused(eve.call(name, {"channel": private, **data}), "not_found")
    for name in ("receipt.get", "receipt.list"):
        data = {"seq": 1} if name == "receipt.list" else {}
        await refused(eve.call(name, {"channel": public, **data}), "forbidden")
        await refused(eve.call(name, {"channel": private, **data}), "not_found")
    await refused(alice.call("receipt.mark", {"channel": public}), "invalid")
    await refused(alice.call("receipt.list", {"channel": public, "seq": 7}), "not_found")
    await refused(operate("receipt.mark", {"channel": public, "read": 1}), "forbidden", reason="not_member")
    await refused(operate("channel.mark_all_read"), "invalid")
    await refused(alice.call("receipt.tell", {"channel": public}), "not_found")


async def test_who_has_read(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """Members that have read, or got, a message, without its author: paged both ways, with their numbers."""
    names = [f"u{n}" for n in range(7)]
    clients = dict(zip(names, await people(*names), strict=True))
    channel = await new_channel("alice", *names)
    for _ in range(3):
        await send("alice", channel)
    for n, name in enumerate(names):
        await clients[name].call("receipt.mark", {"channel": channel, "read": 1 + n % 3, "delivered": 3})
    ask = {"channel": channel, "seq": 2, "limit": 2}
    first = await clients["u0"].call("receipt.list", ask)
    assert [one["user"] for one in first["receipts"]] == ["u1", "u4"]
    assert (first["read"], first["delivered"], first.get("previous")) == (4, 7, None)
    second = await clients["u0"].call("receipt.list", {**ask, "cursor": first["next"]})
    assert [one["user"] for one in second["receipts"]] == ["u2", "u5"]
    assert "next" not in second
    back = await clients["u0"].call("receipt.list", {**ask, "cursor": second["previous"]})
    assert back["receipts"] == first["receipts"]
    assert back["next"] == first["next"]
    assert "previous" not in back
    got = await clients["u0"].call("receipt.list", {**ask, "kind": "delivered", "limit": 50})
    assert [one["user"] for one in got["receipts"]] == names
    assert (await clients["u0"].call("receipt.get", {"channel": channel}))["each"][0] == {
        "user": "u0",
        "read": 1,
        "delivered": 3,
    }


@pytest.fixture
async def large(box: Sandbox, people: People, new_channel: NewChannel) -> str:
    """A channel with more members than are told of one by one."""
    channel = await new_channel("alice", *[f"u{n}" for n in range(100)])
    (row,) = box.rows(sa.select(channels.c.member_count).where(channels.c.channel == channel))
    assert row.member_count == 101
    return channel


async def test_sums_in_large_channels(box: Sandbox, people: People, send: Send, large: str) -> None:
    """Nobody is told of one by one. The first mark is told at once; those soon after it together, once, by the job; and
    the last event says what a fresh query says."""
    clients = await people(*[f"u{n}" for n in range(10)])
    for _ in range(4):
        await send("alice", large)
    for n, client in enumerate(clients):
        await client.call("receipt.mark", {"channel": large, "read": 1 + n % 4})
    assert box.events(large, ReceiptChanged) == []
    (first,) = box.events(large, ReceiptsSummed)
    assert [(step.seq, step.members) for step in first.read] == [(1, 1)]
    await box.advance(11.0)
    _, last = box.events(large, ReceiptsSummed)
    assert [(step.seq, step.members) for step in last.read] == [(1, 10), (2, 7), (3, 4), (4, 2)]
    assert [(step.seq, step.members) for step in last.delivered] == [(1, 10), (2, 7), (3, 4), (4, 2)]
    fresh = (await clients[0].call("receipt.get", {"channel": large}))["sums"]
    assert fresh["read"] == [{"seq": step.seq, "members": step.members} for step in last.read]
    assert (fresh["members"], fresh["since"]) == (101, 0)
    # Nothing has changed since: nothing is told.
    await box.advance(60.0)
    assert len(box.events(large, ReceiptsSummed)) == 2
    # And the next mark is told at once again.
    await clients[0].call("receipt.mark", {"channel": large, "read": 4})
    assert len(box.events(large, ReceiptsSummed)) == 3


async def test_sums_are_of_the_newest_messages(box: Sandbox, people: People, send: Send, large: str) -> None:
    """Sums tell of the newest hundred messages; how many have read an older one `receipt.list` knows."""
    u0, u1 = await people("u0", "u1")
    for _ in range(110):
        await send("alice", large)
    await u0.call("receipt.mark", {"channel": large, "read": 5})
    await box.advance(11.0)
    await u1.call("receipt.mark", {"channel": large, "read": 110})
    last = box.events(large, ReceiptsSummed)[-1]
    assert (last.since, [(step.seq, step.members) for step in last.read]) == (10, [(110, 1)])
    assert (await u0.call("receipt.list", {"channel": large, "seq": 5}))["read"] == 2


async def test_a_channel_without_receipts(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, operate: Any, refused: Refused_
) -> None:
    """Where the rules switch receipts off, reading still counts down what is unread, and nobody else learns of it."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await operate("permission.change", {"channel": channel, "features": {"receipts": False}})
    await send("alice", channel)
    assert (await bob.call("receipt.mark", {"channel": channel, "read": 1})).get("unread", 0) == 0
    assert box.events(channel, ReceiptChanged) == []
    assert len(box.events("user:bob", UnreadChanged)) == 1
    await refused(alice.call("receipt.get", {"channel": channel}), "forbidden", reason="feature")
    await refused(alice.call("receipt.list", {"channel": channel, "seq": 1}), "forbidden", reason="feature")


async def test_receipts_do_not_tell_of_what_one_may_not_see(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, operate: Any, refused: Refused_
) -> None:
    """A shadowed message has receipts for its author and for operators alone."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob", "carol")
    box.store.writer.execute("UPDATE chat_members SET shadowed = 1 WHERE user = 'bob'")
    await send("bob", channel)
    ask = {"channel": channel, "seq": 1}
    await refused(alice.call("receipt.list", ask), "not_found")
    assert (await bob.call("receipt.list", ask))["read"] == 0
    assert (await operate("receipt.list", ask))["read"] == 0
