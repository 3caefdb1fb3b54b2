"""Slow mode: one message per so many seconds, told with the time to wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from backchannel.chat.moderation.standing import Tidy
from backchannel.chat.moderation.tables import paces
from backchannel.testing import Sandbox

Ask = Callable[..., Awaitable[Any]]


async def slow(operate: Ask, channel: str, seconds: int) -> None:
    """Switch slow mode on."""
    await operate("permission.change", {"channel": channel, "features": {"slow_mode": seconds}})


async def test_members_wait(box: Sandbox, new_channel: Ask, operate: Ask, people: Ask, send: Ask, refused: Ask) -> None:
    """A member's second message is refused with the seconds that are left; edits and moderators are free."""
    channel = await new_channel("alice", "bob")
    (bob,) = await people("bob")
    await slow(operate, channel, 10)
    await send("bob", channel)
    await box.advance(4)
    error = await refused(send("bob", channel), "rate_limited", reason="slow_mode", seconds=10)
    assert error.retry_after == 6
    await bob.call("message.edit", {"channel": channel, "seq": 1, "text": "better"})
    await box.advance(6)
    await send("bob", channel)
    for _ in range(2):
        await send("alice", channel)


async def test_a_refused_message_does_not_count(new_channel: Ask, operate: Ask, send: Ask, refused: Ask) -> None:
    """Only what was sent makes one wait."""
    channel = await new_channel("alice", "bob")
    await slow(operate, channel, 10)
    await operate("filter.set", {"scope": channel, "name": "n", "kind": "word", "action": "block", "entries": ["darn"]})
    await refused(send("bob", channel, "darn"), "forbidden", reason="filtered")
    await send("bob", channel, "hello")


async def test_who_is_no_member_waits_too(box: Sandbox, operate: Ask, send: Ask, refused: Ask) -> None:
    """In a room without members; what is kept for it goes when it is of no use any more."""
    room = (await operate("channel.create", {"name": "Room", "type": "open"}))["channel"]
    await slow(operate, room, 10)
    await send("bob", room)
    await refused(send("bob", room), "rate_limited", reason="slow_mode")
    await send("carol", room)
    await box.advance(10)
    await send("bob", room)
    box.store.writer.execute("UPDATE chat_paces SET time = time - 21600000")
    await box.worker.publisher.call(Tidy(), user="")
    assert not box.rows(sa.select(paces))
