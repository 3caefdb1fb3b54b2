"""Unread counts: what counts, what does not any more, in all and per channel and thread, with their checksum."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from zlib import crc32

from backchannel.chat import ThreadRead
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
NewChannel = Callable[..., Awaitable[str]]
Send = Callable[..., Awaitable[dict[str, Any]]]
Refused_ = Callable[..., Awaitable[Any]]


async def counts(client: Any, channel: str) -> tuple[int, int]:
    """Unread and mentions of one channel, asked anew."""
    (one,) = (await client.call("unread.get", {"channels": [channel]}))["channels"]
    return one.get("unread", 0), one.get("mentions", 0)


async def test_what_counts(people: People, new_channel: NewChannel, send: Send) -> None:
    """Messages of others count; one's own, silent ones, the system's, and answers in a thread alone do not."""
    (bob,) = await people("bob")
    channel = await new_channel("alice", "bob")
    assert await counts(bob, channel) == (0, 0)
    for fields in ({}, {"silent": True}, {"type": "system"}, {"parent": 1}, {"parent": 1, "shown": True}):
        await send("alice", channel, **fields)
    await send("bob", channel)
    assert await counts(bob, channel) == (2, 0)
    assert (await bob.call("channel.get", {"channel": channel}))["info"]["mine"]["unread"] == 2


async def test_counts_follow_deletes(people: People, new_channel: NewChannel, send: Send) -> None:
    """What is deleted, for all or for oneself, is not unread any more, nor a mention; restored, it is again."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel = await new_channel("alice", "bob", "carol")
    for _ in range(3):
        await send("alice", channel, mentions={"users": ["bob"]})
    assert await counts(bob, channel) == (3, 3)
    await alice.call("message.delete", {"channel": channel, "seq": 1})
    assert await counts(bob, channel) == (2, 2)
    await bob.call("message.hide", {"channel": channel, "seqs": [2]})
    assert await counts(bob, channel) == (1, 1)
    assert await counts(carol, channel) == (2, 0)
    await alice.call("message.restore", {"channel": channel, "seq": 1})
    assert await counts(bob, channel) == (2, 2)
    await bob.call("receipt.mark", {"channel": channel, "read": 3})
    await alice.call("message.delete", {"channel": channel, "seq": 3})
    assert await counts(bob, channel) == (0, 0)


async def test_mentions(people: People, new_channel: NewChannel, send: Send) -> None:
    """A mention counts once, however a message names one: by name, role, or with all; in a thread, too."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel = await new_channel("alice", "bob", "carol")
    await send("alice", channel, mentions={"users": ["bob"], "roles": ["member"], "channel": True})
    await send("alice", channel, mentions={"roles": ["owner"]})
    await send("alice", channel, mentions={"users": ["bob"]}, parent=1)
    assert await counts(bob, channel) == (2, 2)
    assert await counts(carol, channel) == (2, 1)
    assert await counts(alice, channel) == (0, 0)


async def test_what_was_said_before_one_joined(people: People, new_channel: NewChannel, send: Send) -> None:
    """Who joins has nothing unread; what is said afterwards is."""
    (bob,) = await people("bob")
    channel = await new_channel("alice")
    await send("alice", channel)
    await bob.call("channel.join", {"channel": channel})
    assert await counts(bob, channel) == (0, 0)
    await send("alice", channel)
    assert await counts(bob, channel) == (1, 0)


async def test_totals_and_checksum(people: People, new_channel: NewChannel, send: Send) -> None:
    """Totals are sums over all channels; a client that counts alike, by the documented sum, is told just that."""
    (bob,) = await people("bob")
    made = [await new_channel("alice", "bob") for _ in range(4)]
    for n, channel in enumerate(made[:3], 1):
        for _ in range(n):
            await send("alice", channel, mentions={"users": ["bob"]} if n == 3 else None)
    await bob.call("channel.wish", {"channel": made[1], "muted": True})
    found = await bob.call("unread.get", {})
    assert (found["unread"], found["mentions"], found["threads"], found["muted"]) == (6, 3, 0, 2)
    assert {one["channel"]: one["unread"] for one in found["channels"]} == dict(zip(made, (1, 2, 3), strict=False))
    texts = [f"{made[0]} 1 0", f"{made[1]} 2 0", f"{made[2]} 3 3"]
    assert found["checksum"] == sum(crc32(text.encode()) for text in texts) % 2**32
    same = await bob.call("unread.get", {"checksum": found["checksum"]})
    assert (same["same"], "channels" in same) == (True, False)
    await send("alice", made[3])
    other = await bob.call("unread.get", {"checksum": found["checksum"]})
    assert len(other["channels"]) == 4


async def test_only_what_one_may_see_counts(
    people: People, new_channel: NewChannel, send: Send, operate: Any, refused: Refused_
) -> None:
    """Channels that were left or deleted, and others' channels, are in no total, nor answered by name."""
    alice, bob = await people("alice", "bob")
    left, gone, others = (
        await new_channel("alice", "bob"),
        await new_channel("alice", "bob"),
        await new_channel("alice"),
    )
    for channel in (left, gone, others):
        await send("alice", channel)
    await bob.call("channel.leave", {"channel": left})
    await alice.call("channel.delete", {"channel": gone})
    found = await bob.call("unread.get", {"channels": [left, gone, others]})
    assert (found["unread"], found.get("channels")) == (0, None)
    assert (await bob.call("unread.get", {}))["unread"] == 0
    assert (await operate("unread.get"))["unread"] == 0
    await refused(bob.call("unread.channels", {}), "not_found")


async def test_threads(box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Refused_) -> None:
    """Answers of others in threads that one follows count by themselves; read on one device, all are told."""
    bob, eve = await people("bob", "eve")
    channel = await new_channel("alice", "bob")
    await send("alice", channel)
    await send("bob", channel, parent=1)
    for _ in range(3):
        await send("alice", channel, parent=1)
    found = await bob.call("unread.get", {})
    assert (found["unread"], found["threads"]) == (1, 3)
    assert found["in_threads"] == [{"channel": channel, "seq": 1, "unread": 3, "read_seq": 2}]
    texts = [f"{channel} 1 0", f"{channel} 1 3 thread"]
    assert found["checksum"] == sum(crc32(text.encode()) for text in texts) % 2**32
    ask = {"channel": channel, "seq": 1}
    assert await bob.call("thread.mark", {**ask, "read": 4}) == {**ask, "unread": 1, "read_seq": 4}
    assert (await bob.call("thread.mark", {**ask, "read": 3}))["read_seq"] == 4
    assert (await bob.call("thread.mark", {**ask, "read": 3, "unread": True}))["unread"] == 2
    assert (await bob.call("thread.mark", {**ask, "read": 2**40}))["read_seq"] == 5
    told = [(one.unread, one.read_seq) for one in box.events("user:bob", ThreadRead)]
    assert told == [(1, 4), (2, 3), (0, 5)]
    assert (await bob.call("unread.get", {}))["threads"] == 0
    await refused(bob.call("thread.mark", {"channel": channel, "seq": 2, "read": 2}), "not_found")
    await refused(eve.call("thread.mark", {**ask, "read": 2}), "forbidden")
