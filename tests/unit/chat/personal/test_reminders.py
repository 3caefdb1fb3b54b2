"""Reminders: told once, when it is time, to their user alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from backchannel.chat import ReminderChanged, ReminderDue
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
Make = Callable[..., Awaitable[Any]]


async def test_one_is_reminded_once(box: Sandbox, people: People, new_channel: Make, send: Make) -> None:
    """Of a message or of anything, when it is time, also if a worker dies meanwhile."""
    channel = await new_channel("alice", "bob")
    message = await send("bob", channel, "answer me")
    (alice,) = await people("alice")
    await alice.call("reminder.add", {"due": box.now + 20_000, "channel": channel, "seq": message["seq"]})
    await alice.call("reminder.add", {"due": box.now + 40_000, "text": "Feed the cat"})
    await box.advance(15)
    assert box.events("user:alice", ReminderDue) == []
    await box.advance(17)
    assert [(one.channel, one.seq) for one in box.events("user:alice", ReminderDue)] == [(channel, message["seq"])]
    box.worker.kill()
    await box.worker.start()
    await box.advance(40)
    assert [one.text for one in box.events("user:alice", ReminderDue)] == ["", "Feed the cat"]
    assert (await alice.call("reminder.list", {"told": False}))["reminders"] == []
    assert (await alice.call("reminder.list", {"told": True, "total": True}))["total"] == 2


async def test_snooze_change_and_remove(box: Sandbox, people: People, refused: Make) -> None:
    """With another time it comes again; removed, it does not come; each change is told to the user's devices."""
    (alice,) = await people("alice")
    kept = await alice.call("reminder.add", {"due": box.now + 10_000, "text": "Tea"})
    await box.advance(21)
    await alice.call("reminder.update", {"id": kept["id"], "due": box.now + 10_000, "text": "Tea again"})
    await box.advance(21)
    assert [one.text for one in box.events("user:alice", ReminderDue)] == ["Tea", "Tea again"]
    await alice.call("reminder.update", {"id": kept["id"], "due": box.now + 10_000})
    for _ in range(2):
        await alice.call("reminder.remove", {"id": kept["id"]})
    await box.advance(21)
    assert len(box.events("user:alice", ReminderDue)) == 2
    assert [one.reminder is None for one in box.events("user:alice", ReminderChanged)] == [False, False, False, True]
    await refused(alice.call("reminder.update", {"id": kept["id"], "text": "x"}), "not_found")


async def test_what_is_refused(box: Sandbox, people: People, new_channel: Make, send: Make, refused: Make) -> None:
    """No reminder of nothing, in the past, of half a message, or of one that the user may not see."""
    channel = await new_channel("alice", public=False)
    message = await send("alice", channel)
    alice, eve = await people("alice", "eve")
    due = box.now + 1000
    await refused(alice.call("reminder.add", {"due": due}), "invalid", reason="text")
    await refused(alice.call("reminder.add", {"due": box.now, "text": "x"}), "invalid", reason="due")
    await refused(alice.call("reminder.add", {"due": due, "channel": channel}), "invalid", reason="message")
    await refused(alice.call("reminder.add", {"due": due, "channel": channel, "seq": 99}), "not_found")
    await refused(eve.call("reminder.add", {"due": due, "channel": channel, "seq": message["seq"]}), "not_found")
    kept = await alice.call("reminder.add", {"due": due, "text": "x"})
    await refused(eve.call("reminder.update", {"id": kept["id"], "text": "y"}), "not_found")
    assert (await eve.call("reminder.list", {}))["reminders"] == []
