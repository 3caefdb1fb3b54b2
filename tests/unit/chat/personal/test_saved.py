"""Saved messages: folders, notes, and the messages as they are now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from backchannel.chat import SavedChanged
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
Make = Callable[..., Awaitable[Any]]


async def test_saved_in_folders_with_notes(box: Sandbox, people: People, new_channel: Make, send: Make) -> None:
    """A message is kept once, in one folder with one note, both of which can change; the folders are counted."""
    channel = await new_channel("alice", "bob")
    first, second = await send("bob", channel, "one"), await send("bob", channel, "two")
    (alice,) = await people("alice")
    await alice.call("saved.add", {"channel": channel, "seq": first["seq"]})
    await box.advance(1)
    await alice.call("saved.add", {"channel": channel, "seq": second["seq"], "folder": "Work", "note": "do it"})
    for _ in range(2):
        await alice.call("saved.add", {"channel": channel, "seq": first["seq"], "folder": "Work"})
    page = await alice.call("saved.list", {"total": True})
    assert [(one["message"]["text"], one.get("note", "")) for one in page["saved"]] == [("two", "do it"), ("one", "")]
    assert page["folders"] == [{"folder": "Work", "count": 2}]
    assert page["total"] == 2
    assert (await alice.call("saved.list", {"folder": ""}))["saved"] == []
    for _ in range(2):
        await alice.call("saved.remove", {"channel": channel, "seq": first["seq"]})
    assert [one["seq"] for one in (await alice.call("saved.list", {}))["saved"]] == [second["seq"]]
    # Repeats told nobody anything.
    assert len(box.events("user:alice", SavedChanged)) == 4


async def test_shown_as_they_are_now(people: People, new_channel: Make, send: Make) -> None:
    """A deleted message is a tombstone; of a channel that the user left, nothing is shown but that it is kept."""
    channel = await new_channel("alice", "bob", public=False)
    messages = [await send("bob", channel, text) for text in ("stays", "goes")]
    alice, bob = await people("alice", "bob")
    for message in messages:
        await alice.call("saved.add", {"channel": channel, "seq": message["seq"]})
    await bob.call("message.delete", {"channel": channel, "seq": messages[1]["seq"]})
    shown = [one["message"] for one in (await alice.call("saved.list", {}))["saved"]]
    assert {message["text"] for message in shown} == {"stays", ""}
    await bob.call("saved.add", {"channel": channel, "seq": messages[0]["seq"]})
    await bob.call("channel.leave", {"channel": channel})
    (one,) = (await bob.call("saved.list", {}))["saved"]
    assert "message" not in one


async def test_pages_go_both_ways(people: People, new_channel: Make, send: Make) -> None:
    """Pages meet without a seam, forwards and back."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    for _ in range(7):
        message = await send("alice", channel)
        await alice.call("saved.add", {"channel": channel, "seq": message["seq"]})
    first = await alice.call("saved.list", {"limit": 3})
    second = await alice.call("saved.list", {"limit": 3, "cursor": first["next"]})
    third = await alice.call("saved.list", {"limit": 3, "cursor": second["next"]})
    seqs = [one["seq"] for page in (first, second, third) for one in page["saved"]]
    assert seqs == [7, 6, 5, 4, 3, 2, 1]
    assert "next" not in third
    back = await alice.call("saved.list", {"limit": 3, "cursor": second["previous"]})
    assert back["saved"] == first["saved"]


async def test_what_one_may_not_see_cannot_be_saved(
    people: People, new_channel: Make, send: Make, refused: Make
) -> None:
    """Neither another's private channel nor a message that is not there."""
    channel = await new_channel("alice", public=False)
    message = await send("alice", channel)
    alice, eve = await people("alice", "eve")
    await refused(eve.call("saved.add", {"channel": channel, "seq": message["seq"]}), "not_found")
    await refused(alice.call("saved.add", {"channel": channel, "seq": 99}), "not_found")
