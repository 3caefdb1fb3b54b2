"""Drafts: on all devices what was begun on one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backchannel.chat import DraftChanged
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
Make = Callable[..., Awaitable[Any]]


async def test_a_draft_is_told_to_all_devices(box: Sandbox, people: People, new_channel: Make) -> None:
    """What is saved on one device is told to the user, and to nobody else; saved empty, it is gone."""
    channel = await new_channel("alice", "bob")
    phone, laptop = await people("alice", "alice")
    async with laptop.subscribe("user:alice") as heard:
        await phone.call("draft.save", {"channel": channel, "text": "Dear", "data": {"quote": 7}})
        event = await anext(heard)
        assert event.name == "draft.changed"
        assert event.data["text"] == "Dear"
    assert box.events("user:bob", DraftChanged) == []
    listed = await laptop.call("draft.list", {"total": True})
    assert [(draft["channel"], draft["text"], draft["data"]) for draft in listed["drafts"]] == [
        (channel, "Dear", {"quote": 7})
    ]
    await phone.call("draft.save", {"channel": channel})
    assert (await laptop.call("draft.list", {}))["drafts"] == []
    assert [event.text for event in box.events("user:alice", DraftChanged)] == ["Dear", ""]


async def test_a_channel_and_each_thread_have_their_own(people: People, new_channel: Make) -> None:
    """One draft per channel and thread, the latest first; a list of one channel holds no other's."""
    tea, milk = await new_channel("alice"), await new_channel("alice")
    (alice,) = await people("alice")
    for channel, parent in ((tea, None), (tea, 3), (milk, None), (tea, 4)):
        await alice.call("draft.save", {"channel": channel, "parent": parent, "text": f"{parent}"})
    page = await alice.call("draft.list", {"channel": tea, "limit": 2, "total": True})
    assert page["total"] == 3
    rest = await alice.call("draft.list", {"channel": tea, "limit": 2, "cursor": page["next"]})
    parents = [draft.get("parent") for draft in page["drafts"] + rest["drafts"]]
    assert sorted(parents, key=str) == [3, 4, None]
    back = await alice.call("draft.list", {"channel": tea, "limit": 2, "cursor": rest["previous"]})
    assert back["drafts"] == page["drafts"]


async def test_saving_the_same_again_changes_nothing(box: Sandbox, people: People, new_channel: Make) -> None:
    """A repeated save, and a repeated removal, tell nobody anything."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    for text in ("Dear", "Dear", "", ""):
        await alice.call("draft.save", {"channel": channel, "text": text})
    assert len(box.events("user:alice", DraftChanged)) == 2


async def test_what_is_refused(people: People, new_channel: Make, refused: Make) -> None:
    """No draft where one may not read, and no object without bounds; one's own draft can always go."""
    channel = await new_channel("alice", "bob", public=False)
    bob, eve = await people("bob", "eve")
    await refused(eve.call("draft.save", {"channel": channel, "text": "Hm"}), "not_found")
    await refused(
        bob.call("draft.save", {"channel": channel, "data": {"a": "x" * 6000}}), "too_large", reason="data_size"
    )
    await bob.call("draft.save", {"channel": channel, "text": "Hm"})
    await bob.call("channel.leave", {"channel": channel})
    await bob.call("draft.save", {"channel": channel})
    assert (await bob.call("draft.list", {}))["drafts"] == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("draft.save", {"text": "Dear"}),
        ("saved.add", {"seq": 1}),
        ("poll.vote", {"seq": 1, "options": [1]}),
        ("reminder.add", {"text": "x"}),
        ("message.schedule", {"message": {"text": "x"}}),
    ],
)
async def test_an_api_key_keeps_nothing_for_itself(
    box: Sandbox, new_channel: Make, operate: Make, refused: Make, name: str, data: dict[str, Any]
) -> None:
    """The server-side API does all of this on behalf of users only."""
    channel = await new_channel("alice")
    poll = {"channel": channel, "question": "?", "options": ["a", "b"]}
    await operate("poll.create", poll)
    due = {"due": box.now + 1000} if name in ("reminder.add", "message.schedule") else {}
    where = {} if name == "reminder.add" else {"channel": channel}
    if "message" in data:
        data = {"message": {**data["message"], "channel": channel}}
    await refused(operate(name, {**where, **due, **data}), "forbidden", reason="user")
    await operate(name, {**where, **due, **data}, user="alice")
