"""What hangs on messages: reactions, threads, pins, mentions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from backchannel.chat.messages.tables import mentions, reaction_counts, reactions
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
NewChannel = Callable[..., Awaitable[str]]
Send = Callable[..., Awaitable[dict[str, Any]]]
Expect = Callable[..., Awaitable[Any]]
Operate = Callable[..., Awaitable[Any]]


def told(box: Sandbox, channel: str, name: str) -> list[dict[str, Any]]:
    """The data of a channel's events of this name."""
    return [event.data for event in box.events(channel) if event.name == name]


async def both_ways(client: Any, name: str, request: dict[str, Any], key: str, limit: int = 2) -> list[Any]:
    """All entries of a list, read page by page; the way back brings the same pages."""
    page = await client.call(name, {**request, "limit": limit, "total": True})
    pages = [page[key]]
    while "next" in page:
        page = await client.call(name, {**request, "limit": limit, "cursor": page["next"]})
        pages.append(page[key])
    for before in reversed(pages[:-1]):
        page = await client.call(name, {**request, "limit": limit, "cursor": page["previous"]})
        assert page[key] == before
    assert "previous" not in page
    entries = [entry for entries in pages for entry in entries]
    whole = await client.call(name, {**request, "limit": 200, "total": True})
    assert (whole[key], whole["total"]) == (entries, len(entries))
    return entries


async def test_reactions_of_many_at_once(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """Whoever reacts and takes back at the same time: the events' last numbers, the counts and the rows are one."""
    names = [f"user{n}" for n in range(6)]
    clients = await people(*names, *names)
    channel = await new_channel(*names)
    await send("user0", channel)

    async def react(n: int) -> None:
        emoji = "👍" if n % 3 else "🎉"
        name = "reaction.remove" if n % 5 == 4 else "reaction.add"
        await clients[n % 12].call(name, {"channel": channel, "seq": 1, "emoji": emoji})

    await asyncio.gather(*(react(n) for n in range(120)))
    rows = Counter(row.emoji for row in box.rows(sa.select(reactions)))
    assert rows == {row.emoji: row.number for row in box.rows(sa.select(reaction_counts))}
    assert rows == {event["emoji"]: event["count"] for event in told(box, channel, "reaction.changed")}
    own = {row.emoji for row in box.rows(sa.select(reactions)) if row.user == "user3"}
    seen = (await clients[3].call("message.get", {"channel": channel, "seq": 1}))["reactions"]
    assert {one["emoji"]: one["count"] for one in seen} == rows
    assert {one["emoji"] for one in seen if one.get("own")} == own
    users = [event["user"] for event in told(box, channel, "reaction.changed") if event["reacted"]]
    assert set(users) <= set(names)


async def test_reacting(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect, operate: Operate
) -> None:
    """Twice is once; emoji keep the order in which they came; who reacted is listed; there is a limit."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await send("alice", channel)
    where = {"channel": channel, "seq": 1}
    for client, emoji in ((alice, "b"), (bob, "a"), (alice, "a"), (alice, "a")):
        await box.advance(1)
        state = await client.call("reaction.add", {**where, "emoji": emoji})
    assert state == {**where, "emoji": "a", "count": 2, "own": True}
    assert (await bob.call("reaction.remove", {**where, "emoji": "b"}))["count"] == 1
    found = await bob.call("message.get", where)
    assert found["reactions"] == [{"emoji": "b", "count": 1}, {"emoji": "a", "count": 2, "own": True}]
    who = await both_ways(alice, "reaction.list", where, "reactions")
    assert [(one["user"], one["emoji"]) for one in who] == [("alice", "b"), ("bob", "a"), ("alice", "a")]
    who = await both_ways(alice, "reaction.list", {**where, "emoji": "a"}, "reactions", limit=1)
    assert [one["user"] for one in who] == ["bob", "alice"]
    assert (await alice.call("reaction.remove", {**where, "emoji": "b"}))["count"] == 0
    assert len(told(box, channel, "reaction.changed")) == 4
    for n in range(49):
        await alice.call("reaction.add", {**where, "emoji": f"emoji{n}"})
    await refused(bob.call("reaction.add", {**where, "emoji": "more"}), "conflict", reason="emoji")
    assert (await bob.call("reaction.add", {**where, "emoji": "emoji7"}))["count"] == 2
    await refused(operate("reaction.add", {**where, "emoji": "a"}), "invalid", reason="user")
    await refused(bob.call("reaction.add", {**where, "seq": 2, "emoji": "a"}), "not_found")
    (eve,) = await people("eve")
    await refused(eve.call("reaction.add", {**where, "emoji": "a"}), "forbidden", reason="not_member")


async def test_a_thread_is_told_in_numbers(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """Answers stand in the thread, not in the channel unless sent to both; each event tells the numbers as they are."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob", "carol")
    await send("alice", channel, "question")
    await send("bob", channel, "answer", parent=1)
    await send("carol", channel, "answer for all", parent=1, shown=True)
    await send("bob", channel, "more", parent=1)
    info = {"replies": 3, "last_seq": 4, "users": ["bob", "carol"]}
    [event] = told(box, channel, "thread.updated")[-1:]
    assert {key: event[key] for key in info} == info
    listed = (await alice.call("message.list", {"channel": channel}))["messages"]
    assert [one["seq"] for one in listed] == [1, 3]
    assert listed[0]["thread"] == {key: event[key] for key in ("replies", "last_seq", "last_time", "users")}
    inside = await alice.call("message.list", {"channel": channel, "parent": 1, "total": True})
    assert ([one["text"] for one in inside["messages"]], inside["total"]) == (["answer", "answer for all", "more"], 3)
    error = await refused(
        alice.call("message.send", {"channel": channel, "text": "x", "parent": 2}), "invalid", reason="parent"
    )
    assert error.details["parent"] == 1
    await bob.call("message.delete", {"channel": channel, "seq": 4})
    [event] = told(box, channel, "thread.updated")[-1:]
    assert (event["replies"], event["last_seq"], event["users"]) == (2, 3, ["carol", "bob"])
    await alice.call("message.restore", {"channel": channel, "seq": 4})
    [event] = told(box, channel, "thread.updated")[-1:]
    assert {key: event[key] for key in info} == info
    await alice.call("message.delete", {"channel": channel, "seq": 1})
    assert (await bob.call("message.get", {"channel": channel, "seq": 1}))["thread"]["replies"] == 3


async def test_threads_are_followed_and_listed(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """Who asks and who answers follows; anybody may; each has their own unread answers."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel = await new_channel("alice", "bob", "carol")
    other = await new_channel("alice", "bob")
    for n in range(3):
        await send("alice", channel, f"question {n}")
    for n in (2, 1, 3, 1):
        await send("bob", channel, f"about {n}", parent=n)
    await send("alice", other, "elsewhere")
    await box.advance(1)
    await send("bob", other, "about it", parent=1)
    listed = await both_ways(alice, "thread.list", {"channel": channel}, "threads")
    assert [(one["message"]["seq"], one["unread"], one["following"]) for one in listed] == [
        (1, 2, True),
        (3, 1, True),
        (2, 1, True),
    ]
    mine = await both_ways(alice, "thread.list", {}, "threads", limit=1)
    assert {(one["message"]["channel"], one["message"]["seq"]) for one in mine} == {
        (other, 1),
        (channel, 1),
        (channel, 2),
        (channel, 3),
    }
    assert mine[0]["message"]["channel"] == other
    assert all("unread" not in one for one in await both_ways(bob, "thread.list", {}, "threads"))
    assert await both_ways(carol, "thread.list", {}, "threads") == []
    where = {"channel": channel, "seq": 2}
    await carol.call("thread.follow", where)
    assert (await carol.call("thread.follow", where))["following"]
    assert told(box, "user:carol", "thread.followed") == [{**where, "following": True}]
    assert [one["message"]["seq"] for one in await both_ways(carol, "thread.list", {"unread": True}, "threads")] == [2]
    await carol.call("thread.mark", {**where, "read": 4})
    assert await both_ways(carol, "thread.list", {"unread": True}, "threads") == []
    assert (await carol.call("thread.get", where)) == {
        "message": await carol.call("message.get", where),
        "following": True,
        "read_seq": 4,
    }
    await bob.call("thread.follow", {**where, "following": False})
    assert [
        one["message"]["seq"]
        for one in await both_ways(bob, "thread.list", {"channel": channel, "following": True}, "threads")
    ] == [1, 3]
    (eve,) = await people("eve")
    await refused(eve.call("thread.list", {"channel": channel}), "forbidden", reason="not_member")
    await refused(eve.call("thread.follow", where), "forbidden", reason="not_member")


async def test_pins(box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect) -> None:
    """Twice is once; the last pinned comes first; there is a limit; guests may not."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    for n in range(4):
        await send("alice", channel, f"message {n}")
    for seq in (2, 4, 1):
        await box.advance(1)
        state = await bob.call("message.pin", {"channel": channel, "seq": seq})
        assert state == await bob.call("message.pin", {"channel": channel, "seq": seq})
    assert state["pins"] == 3
    assert [one["seq"] for one in await both_ways(alice, "pin.list", {"channel": channel}, "messages")] == [1, 4, 2]
    assert (await alice.call("message.get", {"channel": channel, "seq": 4}))["pinned"]
    await alice.call("message.unpin", {"channel": channel, "seq": 4})
    assert (await alice.call("message.unpin", {"channel": channel, "seq": 4}))["pins"] == 2
    assert [event["pins"] for event in told(box, channel, "message.pinned")] == [1, 2, 3]
    assert [event["pins"] for event in told(box, channel, "message.unpinned")] == [2]
    await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "guest"})
    await refused(bob.call("message.pin", {"channel": channel, "seq": 3}), "forbidden", reason="role")


async def test_mentions(box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect) -> None:
    """Named members are told at once, others are not told what they may not read; names for many are rows of their own;
    who is blocked, silent or the same does not count."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel = await new_channel("alice", "bob", "carol")
    named = {"users": ["bob", "alice", "stranger"], "roles": ["moderator"], "channel": True}
    sent = await send("alice", channel, "look", mentions=named)
    assert sent["mentions"] == named

    def rows() -> set[tuple[str, int]]:
        return {(row.user, row.seq) for row in box.rows(sa.select(mentions))}

    assert rows() == {("bob", 1), ("*", 1), ("role:moderator", 1)}
    [event] = told(box, "user:bob", "mention.created")
    assert (event["channel"], event["seq"], event["user"], event["text"]) == (channel, 1, "alice", "look")
    assert told(box, "user:carol", "mention.created") == told(box, "user:stranger", "mention.created") == []
    await send("alice", channel, "quietly", mentions={"users": ["bob"]}, silent=True)
    await carol.call("user.block", {"user": "alice"})
    await send("alice", channel, "you two", mentions={"users": ["bob", "carol"]})
    assert {row for row in rows() if row[1] > 1} == {("bob", 3)}
    assert told(box, "user:carol", "mention.created") == []
    await alice.call(
        "message.edit",
        {"channel": channel, "seq": 3, "text": "you", "mentions": {"users": ["bob"], "roles": ["guest"]}},
    )
    assert {row for row in rows() if row[1] > 1} == {("bob", 3), ("role:guest", 3)}
    assert len(told(box, "user:bob", "mention.created")) == 2
    listed = await both_ways(bob, "mention.list", {}, "messages", limit=1)
    assert [one["seq"] for one in listed] == [3, 1]
    assert [one["seq"] for one in await both_ways(carol, "mention.list", {"channel": channel}, "messages")] == [1]
    assert await both_ways(alice, "mention.list", {}, "messages") == []
    await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "guest"})
    for asked in ({"here": True}, {"channel": True}, {"roles": ["member"]}):
        await refused(
            bob.call("message.send", {"channel": channel, "text": "x", "mentions": asked}), "forbidden", reason="role"
        )


async def test_here_names_who_is_present(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """As the message is sent; an edit cannot say it anew."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel = await new_channel("alice", "bob", "carol")
    async with alice.subscribe(channel), bob.subscribe(channel):
        await box.settle()
        await send("alice", channel, "anybody?", mentions={"here": True})
    assert {row.user for row in box.rows(sa.select(mentions))} == {"bob"}
    await alice.call("message.edit", {"channel": channel, "seq": 1, "text": "anybody at all?"})
    assert {row.user for row in box.rows(sa.select(mentions))} == {"bob"}
    await send("carol", channel, "plain")
    await refused(
        carol.call("message.edit", {"channel": channel, "seq": 2, "mentions": {"here": True}}), "invalid", reason="here"
    )
