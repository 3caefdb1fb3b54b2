"""Changing: edits with their history, deletions for all and for oneself, what moderators bring back, what expires."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from backchannel.chat.messages.tables import mentions
from backchannel.chat.tables import messages
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
NewChannel = Callable[..., Awaitable[str]]
Send = Callable[..., Awaitable[dict[str, Any]]]
Expect = Callable[..., Awaitable[Any]]
Operate = Callable[..., Awaitable[Any]]


def told(box: Sandbox, channel: str, name: str) -> list[dict[str, Any]]:
    """The data of a channel's events of this name."""
    return [event.data for event in box.events(channel) if event.name == name]


async def test_an_edit_keeps_what_was_said(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """The event carries the whole message as it is now; what it said is listed, the latest first, both ways."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await send("bob", channel, "version 0", data={"n": 0})
    for n in range(1, 4):
        edited = await bob.call(
            "message.edit", {"channel": channel, "seq": 1, "text": f"version {n}", "data": {"n": n}}
        )
    assert (edited["text"], edited["data"], edited["edits"]) == ("version 3", {"n": 3}, 3)
    assert told(box, channel, "message.updated")[-1] == edited
    page = await alice.call("message.edits", {"channel": channel, "seq": 1, "limit": 2, "total": True})
    assert [(one["edit"], one["text"], one["user"]) for one in page["edits"]] == [
        (3, "version 2", "bob"),
        (2, "version 1", "bob"),
    ]
    assert page["total"] == 3
    last = await alice.call("message.edits", {"channel": channel, "seq": 1, "cursor": page["next"]})
    assert [(one["text"], one["data"]) for one in last["edits"]] == [("version 0", {"n": 0})]
    back = await alice.call("message.edits", {"channel": channel, "seq": 1, "cursor": last["previous"], "limit": 2})
    assert back["edits"] == page["edits"]
    events = len(box.events(channel))
    same = await bob.call("message.edit", {"channel": channel, "seq": 1, "text": "version 3"})
    assert same["edits"] == 3
    assert len(box.events(channel)) == events
    await refused(bob.call("message.edit", {"channel": channel, "seq": 1, "text": " "}), "invalid", reason="text")


async def test_who_may_edit_and_delete(
    people: People, new_channel: NewChannel, send: Send, refused: Expect, operate: Operate
) -> None:
    """One's own; a moderator's edits and deletions of others' are in the audit log."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel = await new_channel("alice", "bob", "carol")
    await send("bob", channel, "mine")
    for name, fields in (("message.edit", {"text": "x"}), ("message.delete", {})):
        await refused(carol.call(name, {"channel": channel, "seq": 1, **fields}), "forbidden", reason="role")
        await refused(bob.call(name, {"channel": channel, "seq": 9, **fields}), "not_found")
    await refused(bob.call("message.restore", {"channel": channel, "seq": 1}), "forbidden", reason="role")
    await alice.call("message.edit", {"channel": channel, "seq": 1, "text": "ours"})
    await alice.call("message.delete", {"channel": channel, "seq": 1, "reason": "rude"})
    await alice.call("message.restore", {"channel": channel, "seq": 1})
    acts = (await operate("audit.list", {"channel": channel}))["acts"]
    assert [(act["act"], act["actor"], act["target"]) for act in acts if act["act"].startswith("message.")] == [
        (f"message.{act}", "alice", "message:1") for act in ("restore", "delete", "edit")
    ]
    assert acts[1]["reason"] == "rude"


async def test_what_is_deleted_says_nothing_until_it_is_restored(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """A tombstone keeps the place; what it said and what hangs on it come back when a moderator restores it."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await send("bob", channel, "regretted", data={"n": 1})
    await alice.call("reaction.add", {"channel": channel, "seq": 1, "emoji": "🔥"})
    await alice.call("message.pin", {"channel": channel, "seq": 1})
    gone = await bob.call("message.delete", {"channel": channel, "seq": 1})
    assert gone == await bob.call("message.delete", {"channel": channel, "seq": 1})
    assert gone == (await alice.call("message.list", {"channel": channel}))["messages"][0]
    assert (gone["text"], gone["deleted_by"], gone.keys() & {"data", "reactions", "pinned"}) == ("", "bob", set())
    assert told(box, channel, "message.deleted") == [
        {"channel": channel, "seq": 1, "deleted": gone["deleted"], "deleted_by": "bob"}
    ]
    assert (await alice.call("pin.list", {"channel": channel}))["messages"] == []
    for name, fields in (
        ("message.edit", {"text": "x"}),
        ("reaction.add", {"emoji": "x"}),
        ("message.pin", {}),
    ):
        await refused(alice.call(name, {"channel": channel, "seq": 1, **fields}), "not_found")
    await refused(bob.call("message.send", {"channel": channel, "text": "x", "parent": 1}), "not_found")
    back = await alice.call("message.restore", {"channel": channel, "seq": 1})
    assert (back["text"], back["data"]) == ("regretted", {"n": 1})
    assert back["reactions"] == [{"emoji": "🔥", "count": 1, "own": True}]
    assert told(box, channel, "message.updated")[-1]["reactions"] == [{"emoji": "🔥", "count": 1}]
    [row] = box.rows(sa.select(messages))
    assert (row.deleted, bool(row.counted)) == (None, True)


async def test_delete_for_oneself(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """The one user does not see it any more, on any device; everybody else does."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    for n in range(3):
        await send("alice", channel, f"message {n}")
    hidden = await bob.call("message.hide", {"channel": channel, "seqs": [3, 1, 77]})
    assert hidden["seqs"] == [1, 3]
    assert await bob.call("message.hide", {"channel": channel, "seqs": [1, 3]}) == hidden
    assert told(box, "user:bob", "messages.hidden") == [{"channel": channel, "seqs": [1, 3]}]
    page = await bob.call("message.list", {"channel": channel, "total": True})
    assert ([one["seq"] for one in page["messages"]], page["total"]) == ([2], 1)
    assert len((await alice.call("message.list", {"channel": channel}))["messages"]) == 3
    await refused(bob.call("message.get", {"channel": channel, "seq": 1}), "not_found")
    await refused(bob.call("message.hide", {"channel": channel, "seqs": [99]}), "not_found")


async def test_what_expires_goes_by_itself(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """From its moment on it says nothing, and soon nothing of it is left; nobody brings it back."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await send("alice", channel, "stays")
    await send("alice", channel, "goes", expires_in=60, mentions={"users": ["bob"]})
    await send("bob", channel, "an answer", parent=1, expires_in=60)
    await bob.call("message.edit", {"channel": channel, "seq": 3, "text": "another"})
    await bob.call("reaction.add", {"channel": channel, "seq": 2, "emoji": "🔥"})
    await box.advance(59)
    assert (await bob.call("message.get", {"channel": channel, "seq": 2}))["text"] == "goes"
    await box.advance(1.5)
    gone = await bob.call("message.get", {"channel": channel, "seq": 2})
    assert (gone["text"], "deleted" in gone, "deleted_by" in gone) == ("", True, False)
    await refused(alice.call("message.restore", {"channel": channel, "seq": 2}), "conflict", reason="expired")
    await box.advance(10)
    assert told(box, channel, "messages.expired") == [{"channel": channel, "seqs": [2, 3]}]
    assert told(box, channel, "thread.updated")[-1]["replies"] == 0
    rows = box.rows(sa.select(messages).order_by(messages.c.seq))
    assert [(row.text, bool(row.counted), row.expires) for row in rows] == [
        ("stays", True, None),
        ("", False, None),
        ("", False, None),
    ]
    assert box.rows(sa.select(mentions)) == []
    await refused(alice.call("message.restore", {"channel": channel, "seq": 2}), "conflict", reason="expired")
    page = await alice.call("message.edits", {"channel": channel, "seq": 3})
    assert page["edits"] == []


async def test_edits_at_once(people: People, new_channel: NewChannel, send: Send) -> None:
    """Whoever edits at the same time: each edit is one step of the history, and the last one stands."""
    alice, alices_phone, bob = await people("alice", "alice", "bob")
    channel = await new_channel("bob", "alice")
    await send("alice", channel, "0")
    await asyncio.gather(
        *(
            client.call("message.edit", {"channel": channel, "seq": 1, "text": f"{name} {n}"})
            for n in range(5)
            for name, client in (("laptop", alice), ("phone", alices_phone), ("moderator", bob))
        )
    )
    now = await alice.call("message.get", {"channel": channel, "seq": 1})
    before = (await alice.call("message.edits", {"channel": channel, "seq": 1}))["edits"]
    assert [one["edit"] for one in before] == list(range(15, 0, -1))
    assert now["edits"] == 15
    assert len({now["text"], *(one["text"] for one in before)}) == 16
