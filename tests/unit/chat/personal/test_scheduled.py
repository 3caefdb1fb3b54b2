"""Scheduled messages: once, when they are due, as if sent then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backchannel.chat import MessageCreated, ScheduledChanged
from backchannel.testing import Sandbox
from backchannel_protocol import Refused

People = Callable[..., Awaitable[list[Any]]]
Make = Callable[..., Awaitable[Any]]


def later(box: Sandbox, channel: str, seconds: float, text: str = "later") -> dict[str, Any]:
    """The request that has a message sent in so many seconds."""
    due = box.now + int(seconds * 1000)
    return {"channel": channel, "due": due, "message": {"channel": channel, "text": text}}


async def test_a_message_is_sent_when_it_is_due(box: Sandbox, people: People, new_channel: Make) -> None:
    """Not before, within ten seconds after, by its user; the list is empty then, and the devices know its seq."""
    channel = await new_channel("alice", "bob")
    (alice,) = await people("alice")
    kept = await alice.call("message.schedule", later(box, channel, 100))
    assert (await alice.call("scheduled.list", {"total": True}))["total"] == 1
    await box.advance(99)
    assert box.events(channel, MessageCreated) == []
    await box.advance(12)
    assert [(event.user, event.text) for event in box.events(channel, MessageCreated)] == [("alice", "later")]
    assert (await alice.call("scheduled.list", {}))["scheduled"] == []
    changes = box.events("user:alice", ScheduledChanged)
    assert [(one.id, one.scheduled is None, one.seq) for one in changes] == [
        (kept["id"], False, None),
        (kept["id"], True, 1),
    ]


async def test_many_are_sent_once_each(box: Sandbox, people: People, new_channel: Make) -> None:
    """However many are due at once, each is sent once, and none is forgotten."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    for number in range(150):
        await alice.call("message.schedule", later(box, channel, 60, str(number)))
    await box.advance(75)
    texts = [event.text for event in box.events(channel, MessageCreated)]
    assert sorted(texts, key=int) == [str(number) for number in range(150)]


async def test_a_worker_that_dies_sends_none_twice(box: Sandbox, people: People, new_channel: Make) -> None:
    """If the worker dies when a message is due, before or after the commit, another one sends it, once in all."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    for number in range(20):
        await alice.call("message.schedule", later(box, channel, 30 + number, str(number)))
    for _ in range(6):
        await box.advance(5 + box.random.random() * 5)
        box.worker.kill()
        await box.worker.start()
    await box.advance(60)
    texts = [event.text for event in box.events(channel, MessageCreated)]
    assert sorted(texts, key=int) == [str(number) for number in range(20)]


async def test_what_is_refused_when_it_is_due_is_kept_with_its_reason(
    box: Sandbox, people: People, new_channel: Make
) -> None:
    """Who may not send any more finds the message in the list, with why; changed, it is tried again."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    kept = await bob.call("message.schedule", later(box, channel, 20))
    await alice.call("channel.freeze", {"channel": channel, "frozen": True})
    await box.advance(40)
    (one,) = (await bob.call("scheduled.list", {}))["scheduled"]
    assert one["code"] == "forbidden"
    assert "frozen" in one["reason"]
    assert box.events("user:bob", ScheduledChanged)[-1].scheduled is not None
    await alice.call("channel.freeze", {"channel": channel, "frozen": False})
    await bob.call("scheduled.update", {"channel": channel, "id": kept["id"]})
    await box.advance(12)
    assert [event.text for event in box.events(channel, MessageCreated)] == ["later"]


async def test_changed_and_removed(box: Sandbox, people: People, new_channel: Make, refused: Make) -> None:
    """A changed one is sent as it is then; a removed one is not; what was sent cannot be removed any more."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    first, second = [await alice.call("message.schedule", later(box, channel, 30)) for _ in range(2)]
    message = {"channel": channel, "text": "changed"}
    await alice.call("scheduled.update", {"channel": channel, "id": first["id"], "message": message})
    await alice.call("scheduled.remove", {"channel": channel, "id": second["id"]})
    await box.advance(45)
    assert [event.text for event in box.events(channel, MessageCreated)] == ["changed"]
    for kept in (first, second):
        await refused(alice.call("scheduled.remove", {"channel": channel, "id": kept["id"]}), "not_found")


async def test_removed_or_sent_but_never_both(box: Sandbox, people: People, new_channel: Make) -> None:
    """Who removes a message in the moment in which it is due is told the truth: removed means not sent."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    kept = [await alice.call("message.schedule", later(box, channel, 9.999, str(number))) for number in range(30)]

    async def remove(number: int) -> str | None:
        await asyncio.sleep(9.99 + 0.01 * (number % 3))
        try:
            await alice.call("scheduled.remove", {"channel": channel, "id": kept[number]["id"]})
        except Refused as refused:
            return str(number) if refused.code == "not_found" else refused.code
        return None

    results = await asyncio.gather(*(remove(number) for number in range(30)))
    await box.advance(12)
    sent = [event.text for event in box.events(channel, MessageCreated)]
    assert sorted(sent) == sorted(text for text in results if text is not None)


async def test_whose_it_is(box: Sandbox, people: People, new_channel: Make, refused: Make) -> None:
    """Others neither see, change nor remove it: to them it is not there."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    kept = await alice.call("message.schedule", later(box, channel, 30))
    assert (await bob.call("scheduled.list", {}))["scheduled"] == []
    for name in ("scheduled.update", "scheduled.remove", "scheduled.send"):
        await refused(bob.call(name, {"channel": channel, "id": kept["id"]}), "not_found")


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"due": 1}, "invalid", "due"),
        ({"due": 2**42}, "invalid", "due"),
        ({"message": {"channel": "chat:other", "text": "hello"}}, "invalid", "channel"),
        ({"message": {"channel": None, "type": "poll"}}, "invalid", "type"),
        ({"message": {"channel": None, "text": " "}}, "invalid", "text"),
    ],
)
async def test_what_cannot_be_sent_is_refused_at_once(
    box: Sandbox, people: People, new_channel: Make, refused: Make, change: dict[str, Any], code: str, reason: str
) -> None:
    """A time that is over or too far, another channel, an empty message: told when it is scheduled."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    request = {**later(box, channel, 30), **change}
    request["message"]["channel"] = request["message"]["channel"] or channel
    await refused(alice.call("message.schedule", request), code, reason=reason)


async def test_outsiders_may_not(box: Sandbox, people: People, new_channel: Make, refused: Make) -> None:
    """Who may not send now may not schedule either."""
    channel = await new_channel("alice")
    (eve,) = await people("eve")
    await refused(eve.call("message.schedule", later(box, channel, 30)), "forbidden", reason="not_member")
