"""Typing: it ends by itself, leaves no trace, and costs no more per listener as a room grows."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa

from backchannel.chat import TypingStarted, TypingStopped
from backchannel.chat.people.tables import typing, typing_rooms
from backchannel.chat.tables import channels
from backchannel.testing import Sandbox


def grow(box: Sandbox, channel: str, members: int) -> None:
    """Make a room count so many members."""
    box.store.writer.execute("UPDATE chat_channels SET member_count = ? WHERE channel = ?", (members, channel))
    box.store.writer.commit()
    assert box.rows(sa.select(channels.c.member_count).where(channels.c.channel == channel))[0][0] == members


async def test_it_is_told_with_its_end(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Every typist of a small channel is told, with the instant at which it is over; nothing is logged or stored."""
    channel = await new_channel("alice", "bob")
    [bob] = await people("bob")
    answer = await bob.call("typing.start", {"channel": channel})
    await bob.call("typing.stop", {"channel": channel})
    assert box.events(channel, TypingStarted) == [TypingStarted(channel, "bob", answer["expires"])]
    assert answer["expires"] > box.now
    assert box.events(channel, TypingStopped) == [TypingStopped(channel, "bob")]
    assert not [event for event in box.events(channel) if event.name.startswith("typing") and event.offset]
    assert not box.rows(sa.select(typing))


async def test_who_may_not_speak_may_not_tell(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Typing is for those whose role may tell it."""
    channel = await new_channel("alice", public=True)
    [carol] = await people("carol")
    await refused(carol.call("typing.start", {"channel": channel}), "forbidden", reason="not_member")
    await refused(carol.call("typing.start", {"channel": "chat:nowhere"}), "not_found")


async def test_a_large_room_tells_some(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Of all who begin within a second two are told, and how many there are; all are counted when asked."""
    names = [f"user{n}" for n in range(12)]
    channel = await new_channel("alice", *names)
    grow(box, channel, 20_000)
    typists = await people(*names)
    for _ in range(3):
        await asyncio.gather(*[each.call("typing.start", {"channel": channel}) for each in typists])
        await box.advance(1)
    told = box.events(channel, TypingStarted)
    assert len(told) <= 2 * 4
    assert told[-1].count == 12
    now = await typists[0].call("typing.get", {"channel": channel})
    assert now["count"] == 12
    assert len(now["users"]) == 10

    await typists[0].call("typing.stop", {"channel": channel})
    assert (await typists[1].call("typing.get", {"channel": channel}))["count"] == 11
    await box.advance(7)
    assert await typists[1].call("typing.get", {"channel": channel}) == {"channel": channel, "count": 0, "users": []}


async def test_what_is_over_is_forgotten(box: Sandbox, people: Any, new_channel: Any) -> None:
    """The rows of a large room go by themselves."""
    channel = await new_channel("alice", "bob")
    grow(box, channel, 20_000)
    [bob] = await people("bob")
    await bob.call("typing.start", {"channel": channel})
    assert box.rows(sa.select(typing))
    await box.advance(130)
    assert not box.rows(sa.select(typing))
    assert not box.rows(sa.select(typing_rooms))


async def test_a_small_room_is_not_asked(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Where each typist is told the events are the answer, and the refusal says so."""
    channel = await new_channel("alice")
    [alice] = await people("alice")
    await refused(alice.call("typing.get", {"channel": channel}), "invalid", reason="small")


async def test_statements_do_not_grow_with_the_room(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Telling that one types reads and writes the same number of times among 5 who type and among 400."""
    channel = await new_channel("alice", "bob")
    grow(box, channel, 20_000)
    [bob] = await people("bob")
    await box.settle()
    counts = []
    for others in (5, 400):
        for n in range(others):
            box.store.writer.execute(
                "INSERT OR REPLACE INTO chat_typing (app, channel, user, expires) VALUES ('main', ?, ?, ?)",
                (channel, f"typist{n}", box.now + 60_000),
            )
        box.store.writer.commit()
        await box.advance(2)
        statements: list[str] = []
        box.store.writer.set_trace_callback(statements.append)
        await bob.call("typing.start", {"channel": channel})
        box.store.writer.set_trace_callback(None)
        counts.append(len(statements))
    assert counts[0] == counts[1], statements
    assert box.events(channel, TypingStarted)[-1].count == 401
