"""Retention: old messages go by themselves, in chunks, with all that hangs on them; counts stay right."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from backchannel import chat
from backchannel.chat.data.tables import retained
from backchannel.chat.messages.tables import edits, reactions
from backchannel.chat.tables import messages
from backchannel.testing import Sandbox

DAY = 86_400_000


def _age(box: Sandbox, channel: str, days: float) -> None:
    """Let days pass for a channel's messages, without all that a server does in a day."""
    with contextlib.closing(sqlite3.connect(box.store.path)) as database, database:
        database.execute("UPDATE chat_messages SET time = time - ? WHERE channel = ?", (int(days * DAY), channel))
        database.execute("UPDATE chat_retained SET due = 0")


def _texts(box: Sandbox, channel: str) -> list[str]:
    rows = box.rows(sa.select(messages.c.text).where(messages.c.channel == channel).order_by(messages.c.seq))
    return [row.text for row in rows]


async def test_old_messages_go(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """What is older than a channel's days goes with its edits and reactions; newer messages and other channels stay."""
    channel, other = await new_channel("alice", "bob"), await new_channel("alice", "bob")
    bob = await box.client("bob")
    for place in (channel, other):
        await send("alice", place, "old")
        await bob.call("reaction.add", {"channel": place, "seq": 1, "emoji": "👍"})
    alice = await box.client("alice")
    await alice.call("message.edit", {"channel": channel, "seq": 1, "text": "older"})
    await bob.close()
    await alice.close()
    await operate("retention.set", {"scope": channel, "days": 2})
    _age(box, channel, 1.5)
    _age(box, other, 30)
    await send("alice", channel, "new")
    await box.advance(61)
    assert _texts(box, channel) == ["older", "new"]
    _age(box, channel, 1)
    await box.advance(61)
    assert _texts(box, channel) == ["", "new"]
    assert _texts(box, other) == ["old"]
    assert box.rows(sa.select(edits)) == []
    assert [row.channel for row in box.rows(sa.select(reactions.c.channel))] == [other]
    (event,) = box.events(channel, chat.MessagesExpired)
    assert event.seqs == [1]
    _age(box, channel, 2)
    await box.advance(61)
    assert _texts(box, channel) == ["", ""]


async def test_counts_stay_right(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """What has gone is not unread any more; what is left is."""
    channel = await new_channel("alice", "bob")
    for number in range(5):
        await send("alice", channel, f"old {number}")
    await operate("retention.set", {"scope": "*", "days": 1})
    _age(box, channel, 2)
    for number in range(3):
        await send("alice", channel, f"new {number}")
    await box.advance(61)
    bob = await box.client("bob")
    (unread,) = (await bob.call("unread.get", {"channels": [channel]}))["channels"]
    assert (unread["unread"], unread["last_seq"]) == (3, 8)


async def test_one_event_per_chunk(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """Hundreds of messages go some at a time, each time with one event."""
    channel = await new_channel("alice", "bob")
    for number in range(450):
        await send("alice", channel, f"message {number}")
    await operate("retention.set", {"scope": "type:group", "days": 1})
    _age(box, channel, 2)
    await box.advance(61)
    assert set(_texts(box, channel)) == {""}
    assert [len(event.seqs) for event in box.events(channel, chat.MessagesExpired)] == [200, 200, 50]


async def test_the_nearest_rule_holds(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """A channel's rule comes before its type's, and that before the one for all; 0 keeps for ever, null ends a rule."""
    kept, typed = await new_channel("alice"), await new_channel("alice")
    loud = await new_channel("alice", type="broadcast")
    for channel in (kept, typed, loud):
        await send("alice", channel, "said")
    for scope, days in (("*", 1), ("type:group", 3), (kept, 0)):
        rules = (await operate("retention.set", {"scope": scope, "days": days}))["rules"]
    assert sorted((rule["scope"], rule["days"]) for rule in rules) == sorted([("*", 1), ("type:group", 3), (kept, 0)])
    for channel in (kept, typed, loud):
        _age(box, channel, 2)
    await box.advance(61)
    assert (_texts(box, kept), _texts(box, typed), _texts(box, loud)) == (["said"], ["said"], [""])
    for channel in (kept, typed):
        _age(box, channel, 2)
    await box.advance(61)
    assert (_texts(box, kept), _texts(box, typed)) == (["said"], [""])
    await operate("retention.set", {"scope": kept, "days": None})
    await box.advance(61)
    assert _texts(box, kept) == [""]
    for scope in ("*", "type:group"):
        rules = (await operate("retention.set", {"scope": scope, "days": None}))["rules"]
    assert rules == []
    _age(box, kept, 0)
    await box.advance(61)
    assert box.rows(sa.select(retained)) == []


async def test_a_hold_keeps_all(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """On hold nothing ages out and nothing expires; when the hold ends, both go on."""
    channel = await new_channel("alice")
    await send("alice", channel, "old")
    await send("alice", channel, "soon gone", expires_in=60)
    await operate("hold.set", {"channel": channel, "held": True})
    await operate("hold.set", {"channel": channel, "held": True})
    await operate("retention.set", {"scope": channel, "days": 1})
    _age(box, channel, 3)
    await box.advance(130)
    assert _texts(box, channel) == ["old", "soon gone"]
    await operate("hold.set", {"channel": channel, "held": False})
    _age(box, channel, 0)
    await box.advance(61)
    assert _texts(box, channel) == ["", ""]
    acts = await operate("audit.list", {"channel": channel, "act": "hold.set"})
    assert [act["after"]["held"] for act in acts["acts"]] == [False, True]


async def test_who_may(box: Sandbox, operate: Any, refused: Callable[..., Awaitable[Any]]) -> None:
    """Rules and holds are the operators'."""
    alice = await box.client("alice")
    for name, data in (
        ("retention.set", {"scope": "*", "days": 1}),
        ("retention.list", {}),
        ("hold.list", {}),
    ):
        await refused(alice.call(name, data), "forbidden", reason="operators")
    await refused(operate("retention.set", {"scope": "everything", "days": 1}), "invalid")
    assert (await operate("retention.list"))["rules"] == []


async def test_it_goes_on_after_a_crash(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """A worker that dies midway leaves the rest to the next one; no message is told twice as gone."""
    channel = await new_channel("alice")
    for number in range(300):
        await send("alice", channel, f"message {number}")
    await operate("retention.set", {"scope": channel, "days": 1})
    _age(box, channel, 2)
    box.worker.kill_at("committed")
    await box.advance(61)
    box.worker.kill()
    await box.worker.start()
    await box.advance(61)
    assert set(_texts(box, channel)) == {""}
    told = [seq for event in box.events(channel, chat.MessagesExpired) for seq in event.seqs]
    assert told == list(range(1, 301))
