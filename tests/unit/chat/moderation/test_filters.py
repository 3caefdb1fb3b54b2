"""Word lists over messages: where they hold, from when on, what becomes of a message, who may change them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel import Refused, chat
from backchannel.chat.moderation import filters as module
from backchannel.chat.tables import channels, messages
from backchannel.testing import Sandbox

Ask = Callable[..., Awaitable[Any]]
WORDS = {"name": "words", "kind": "word", "action": "block", "entries": ["darn"]}


async def test_a_blocked_message_is_refused(
    box: Sandbox, new_channel: Ask, people: Ask, send: Ask, refused: Ask
) -> None:
    """With what was found and by which list, or in the list's own words; the same for an edit. Nothing is stored."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    await send("alice", channel, "fine")
    await alice.call("filter.set", {"scope": channel, **WORDS})
    error = await refused(send("bob", channel, "oh Darn"), "forbidden", reason="filtered", filter="words")
    assert error.details["found"] == ["Darn"]
    await refused(
        alice.call("message.edit", {"channel": channel, "seq": 1, "text": "darn"}), "forbidden", reason="filtered"
    )
    await alice.call("filter.set", {"scope": channel, **WORDS, "message": "Mind your tongue."})
    assert (await refused(send("bob", channel, "darn"), "forbidden")).message == "Mind your tongue."
    assert (await send("bob", channel, "fine, too"))["seq"] == 2
    assert len(box.rows(sa.select(messages))) == 2


async def test_a_masked_message_is_sent_masked(box: Sandbox, new_channel: Ask, people: Ask, send: Ask) -> None:
    """Everybody, its sender too, sees the masked text; it is never stored otherwise."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    await alice.call("filter.set", {"scope": channel, **WORDS, "action": "mask"})
    assert (await send("bob", channel, "oh darn it"))["text"] == "oh **** it"
    assert [row.text for row in box.rows(sa.select(messages))] == ["oh **** it"]


async def test_a_flagged_message_is_sent_and_reported(box: Sandbox, new_channel: Ask, people: Ask, send: Ask) -> None:
    """Its sender notices nothing; reviewers have a case, by nobody, with the list's name."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    await alice.call("filter.set", {"scope": channel, **WORDS, "action": "flag"})
    message = await send("bob", channel, "darn")
    (case,) = (await alice.call("report.list", {"channel": channel}))["cases"]
    assert (case["kind"], case["seq"], case["user"], case["content"]["text"]) == ("message", 1, "bob", "darn")
    detail = await alice.call("report.get", {"channel": channel, "id": case["id"]})
    assert [(one["user"], one["reason"], one["text"]) for one in detail["reports"]] == [("", "filter", "words")]
    assert box.events(channel, chat.MessageCreated)[-1].seq == message["seq"]


async def test_three_scopes_hold_together(new_channel: Ask, operate: Ask, send: Ask, refused: Ask) -> None:
    """Everywhere, in a type, in a channel; for channels that were there, and for those that come later."""
    one, other = await new_channel("alice", "bob"), await new_channel("alice", "bob", type="broadcast")
    for scope, word in (("*", "everywhere"), ("type:group", "group"), (one, "here")):
        await operate("filter.set", {"scope": scope, **WORDS, "entries": [word]})
    late, late_other = await new_channel("alice"), await new_channel("alice", type="broadcast")
    blocked = {
        word: [channel for channel in (one, other, late, late_other) if await is_blocked(send, channel, word)]
        for word in ("everywhere", "group", "here", "fine")
    }
    assert blocked == {
        "everywhere": [one, other, late, late_other],
        "group": [one, late],
        "here": [one],
        "fine": [],
    }
    for scope in ("*", "type:group", one):
        await operate("filter.delete", {"scope": scope, "name": "words"})
    for channel in (one, other, late, late_other):
        for word in ("everywhere", "group", "here"):
            await send("alice", channel, word)


async def is_blocked(send: Ask, channel: str, text: str) -> bool:
    """Whether a message is refused for what it says."""
    try:
        await send("alice", channel, text)
    except Refused as error:
        return bool(error.details["reason"] == "filtered")
    return False


async def test_a_change_counts_at_once_and_in_every_process(
    box: Sandbox, new_channel: Ask, operate: Ask, send: Ask, refused: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process keeps is named by its content, so that it reads anew exactly when that has changed."""
    channel = await new_channel("alice")
    statements: list[str] = []
    await operate("filter.set", {"scope": "*", **WORDS})
    # As another process, which has compiled nothing yet.
    module._kept.clear()
    await refused(send("alice", channel, "darn"), "forbidden", reason="filtered")
    box.store.writer.set_trace_callback(statements.append)
    await refused(send("alice", channel, "darn"), "forbidden", reason="filtered")
    assert not [statement for statement in statements if "chat_filters" in statement]
    box.store.writer.set_trace_callback(None)
    other_process = module._kept.copy()
    await operate("filter.set", {"scope": "*", **WORDS, "entries": ["drat"]})
    monkeypatch.setattr(module, "_kept", other_process)
    await refused(send("alice", channel, "drat"), "forbidden", reason="filtered")
    await send("alice", channel, "darn")


async def test_lists_fall_out_of_memory_and_hold_all_the_same(
    new_channel: Ask, operate: Ask, send: Ask, refused: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few compiled lists a process keeps."""
    monkeypatch.setattr(module, "_MAX_KEPT", 1)
    channel = await new_channel("alice")
    for scope, word in (("*", "everywhere"), ("type:group", "group"), (channel, "here")):
        await operate("filter.set", {"scope": scope, **WORDS, "entries": [word]})
    for word in ("everywhere", "group", "here") * 2:
        await refused(send("alice", channel, word), "forbidden", reason="filtered")


async def test_texts_in_data_are_looked_at(new_channel: Ask, people: Ask, refused: Ask) -> None:
    """Wherever they stand in it; so are those of an app's own types of messages."""
    (alice,) = await people("alice")
    channel = await new_channel("alice")
    await alice.call("filter.set", {"scope": channel, **WORDS})
    await refused(
        alice.call("message.send", {"channel": channel, "text": "hi", "data": {"title": ["darn"]}}), "forbidden"
    )


async def test_who_may_change_lists(new_channel: Ask, people: Ask, refused: Ask) -> None:
    """Moderators those of their channel; operators all others."""
    alice, bob, eve = await people("alice", "bob", "eve")
    channel = await new_channel("alice", "bob", public=False)
    for name, data in (
        ("filter.set", WORDS),
        ("filter.delete", {"name": "words"}),
        ("filter.list", {}),
    ):
        await refused(bob.call(name, {"scope": channel, **data}), "forbidden", reason="role")
        await refused(eve.call(name, {"scope": channel, **data}), "not_found")
        for scope in ("*", "type:group"):
            await refused(alice.call(name, {"scope": scope, **data}), "forbidden", reason="operators")
    await refused(bob.call("filter.try", {"channel": channel, "text": "x"}), "forbidden", reason="role")


async def test_lists_are_listed_tried_and_ended(new_channel: Ask, people: Ask, operate: Ask, refused: Ask) -> None:
    """As they were set; a text can be tried without sending it; an unknown name is told with those there are."""
    (alice,) = await people("alice")
    channel = await new_channel("alice")
    await alice.call("filter.set", {"scope": channel, **WORDS, "action": "mask"})
    await alice.call("filter.set", {"scope": channel, **WORDS, "name": "links", "kind": "domain", "entries": ["*"]})
    listed = (await alice.call("filter.list", {"scope": channel}))["filters"]
    assert [(one["name"], one["kind"], one["action"], one["entries"]) for one in listed] == [
        ("links", "domain", "block", ["*"]),
        ("words", "word", "mask", ["darn"]),
    ]
    tried = await alice.call("filter.try", {"channel": channel, "text": "oh darn"})
    assert tried == {"verdict": "mask", "text": "oh ****", "found": ["darn"], "filters": ["words"]}
    error = await refused(alice.call("filter.delete", {"scope": channel, "name": "nothing"}), "not_found")
    assert "links, words" in error.message
    await refused(operate("filter.set", {"scope": "type:nothing", **WORDS}), "invalid")


async def test_the_size_of_lists_is_bounded(new_channel: Ask, people: Ask, operate: Ask, refused: Ask) -> None:
    """Lists of a scope, their entries, and what regular expressions compile to: for channels less than for all."""
    (alice,) = await people("alice")
    channel = await new_channel("alice")
    regexes = {"name": "r", "kind": "regex", "action": "flag", "entries": [f"[a-z]{{300}}{n}" for n in range(8)]}
    error = await refused(alice.call("filter.set", {"scope": channel, **regexes}), "too_large")
    assert "instructions" in error.message
    await operate("filter.set", {"scope": "*", **regexes})
    many = [f"w{n}" for n in range(2000)]
    for n in range(2):
        await alice.call("filter.set", {"scope": channel, **WORDS, "name": f"n{n}", "entries": many})
    await refused(alice.call("filter.set", {"scope": channel, **WORDS, "name": "n3", "entries": many}), "too_large")
    for n in range(18):
        await alice.call("filter.set", {"scope": channel, **WORDS, "name": f"m{n}"})
    await refused(alice.call("filter.set", {"scope": channel, **WORDS, "name": "m18"}), "too_large")


async def test_an_operator_says_what_they_like(new_channel: Ask, operate: Ask) -> None:
    """Messages of an API key that acts for itself are not held against lists."""
    channel = await new_channel("alice")
    await operate("filter.set", {"scope": "*", **WORDS})
    assert (await operate("message.send", {"channel": channel, "text": "darn"}))["text"] == "darn"


async def test_without_lists_the_column_is_empty(box: Sandbox, new_channel: Ask, operate: Ask) -> None:
    """So that a message need not look further."""
    channel = await new_channel("alice")
    for scope in ("*", "type:group", channel):
        await operate("filter.set", {"scope": scope, **WORDS})
        assert len(box.rows(sa.select(channels.c.filters))[0].filters) == 72
        await operate("filter.delete", {"scope": scope, "name": "words"})
        assert box.rows(sa.select(channels.c.filters))[0].filters == ""
