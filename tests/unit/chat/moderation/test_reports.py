"""Reports: taken from users, counted once each, reviewed by one at a time, resolved with what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backchannel import chat
from backchannel.testing import Sandbox

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def channel(new_channel: Ask, send: Ask) -> str:
    """Alice's, with bob, carol and dave, in which bob has said something."""
    name: str = await new_channel("alice", "bob", "carol", "dave")
    await send("bob", name, "buy this")
    return name


async def queue(client: Any, channel: str, **more: Any) -> list[dict[str, Any]]:
    """The cases in a channel's queue."""
    return (await client.call("report.list", {"channel": channel, **more}))["cases"]  # type: ignore[no-any-return]


async def test_many_report_one_message(box: Sandbox, channel: str, people: Ask) -> None:
    """One case, with who reported it why, and what it said, also if that is edited later; once more changes nothing."""
    alice, bob, carol, dave = await people("alice", "bob", "carol", "dave")
    ask = {"channel": channel, "seq": 1, "reason": "spam", "text": "look"}
    await asyncio.gather(*(client.call("report.make", ask) for client in (carol, dave, carol)))
    await bob.call("message.edit", {"channel": channel, "seq": 1, "text": "innocent"})
    (case,) = await queue(alice, channel)
    assert (case["kind"], case["seq"], case["user"], case["reports"]) == ("message", 1, "bob", 2)
    assert case["content"]["text"] == "buy this"
    detail = await alice.call("report.get", {"channel": channel, "id": case["id"]})
    assert sorted((one["user"], one["reason"], one["text"]) for one in detail["reports"]) == [
        ("carol", "spam", "look"),
        ("dave", "spam", "look"),
    ]
    events = box.events("review:" + channel[5:], chat.ReportChanged)
    assert [event.reports for event in events] == [1, 2]
    assert not [event for event in box.events("review:" + channel[5:]) if event.user]


async def test_users_and_channels_are_reported(
    box: Sandbox, channel: str, people: Ask, operate: Ask, refused: Ask
) -> None:
    """In a channel to its moderators; about no channel to operators, who see all queues at once."""
    alice, carol = await people("alice", "carol")
    await carol.call("report.make", {"channel": channel, "user": "bob"})
    await box.advance(1)
    await carol.call("report.make", {"channel": channel})
    await box.advance(1)
    await carol.call("report.make", {"channel": "*", "user": "eve"})
    assert [case["kind"] for case in await queue(alice, channel)] == ["user", "channel"]
    everything = await operate("report.list", {"total": True})
    assert [(case["channel"], case["kind"]) for case in everything["cases"]] == [
        (channel, "user"),
        (channel, "channel"),
        ("*", "user"),
    ]
    assert everything["total"] == 3
    for where in (None, "*"):
        await refused(alice.call("report.list", {"channel": where}), "forbidden", reason="operators")


async def test_what_cannot_be_reported(channel: str, people: Ask, refused: Ask) -> None:
    """What one cannot see, oneself, two things at once, nothing at all."""
    alice, bob, eve = await people("alice", "bob", "eve")
    await refused(alice.call("report.make", {"channel": channel, "seq": 2}), "not_found")
    await refused(eve.call("report.make", {"channel": channel, "seq": 1}), "forbidden", reason="not_member")
    await refused(bob.call("report.make", {"channel": channel, "user": "bob"}), "invalid", reason="self")
    await refused(alice.call("report.make", {"channel": channel, "seq": 1, "user": "bob"}), "invalid")
    await refused(alice.call("report.make", {"channel": "*"}), "invalid")


async def test_only_reviewers_review(box: Sandbox, channel: str, people: Ask, refused: Ask) -> None:
    """The others neither read the queue, nor claim, resolve or listen; nor is a case had under another channel."""
    alice, carol = await people("alice", "carol")
    await carol.call("report.make", {"channel": channel, "seq": 1})
    (case,) = await queue(alice, channel)
    named = {"channel": channel, "id": case["id"]}
    for name, more in (
        ("report.list", {}),
        ("report.get", named),
        ("report.claim", named),
        ("report.resolve", {**named, "verdict": "dismissed"}),
        ("audit.list", {}),
    ):
        await refused(carol.call(name, {"channel": channel, **more}), "forbidden", reason="role")
    wire = await box.wire("carol")
    assert (await wire.ask("subscribe", channel="review:" + channel[5:]))["code"] == "forbidden"
    other = (await carol.call("channel.create", {"name": "Mine"}))["channel"]
    await refused(carol.call("report.get", {**named, "channel": other}), "not_found")
    wire = await box.wire("alice")
    assert (await wire.ask("subscribe", channel="review:" + channel[5:]))["verdict"] == "new"


async def test_one_reviewer_at_a_time(box: Sandbox, channel: str, people: Ask, refused: Ask) -> None:
    """A claim keeps others off for half an hour; it can be given back, taken over, and renewed."""
    alice, bob = await people("alice", "bob")
    await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "moderator"})
    (carol,) = await people("carol")
    await carol.call("report.make", {"channel": channel})
    (case,) = await queue(alice, channel)
    named = {"channel": channel, "id": case["id"]}
    answers = await asyncio.gather(
        *(client.call("report.claim", named) for client in (alice, bob)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Refused", "dict"]
    winner, loser = (alice, bob) if isinstance(answers[0], dict) else (bob, alice)
    await refused(loser.call("report.claim", named), "conflict", reason="claimed")
    await refused(loser.call("report.claim", {**named, "release": True}), "conflict", reason="claimed")
    assert await queue(alice, channel) == []
    assert len(await queue(alice, channel, state="claimed")) == 1
    await winner.call("report.claim", {**named, "release": True})
    await loser.call("report.claim", named)
    await winner.call("report.claim", {**named, "take_over": True})
    box.store.writer.execute("UPDATE chat_cases SET claimed = claimed - 1800000")
    await loser.call("report.claim", named)


async def test_a_case_is_resolved_with_what_follows(
    box: Sandbox, new_channel: Ask, people: Ask, send: Ask, refused: Ask
) -> None:
    """In one: the case is closed, the act done with the reviewer's rights, and both are in the audit log."""
    alice, carol = await people("alice", "carol")
    for act in ("none", "delete", "silence", "ban", "shadow"):
        channel = await new_channel("alice", "bob", "carol")
        await send("bob", channel, "buy this")
        await carol.call("report.make", {"channel": channel, "seq": 1})
        (case,) = await queue(alice, channel)
        ask = {"channel": channel, "id": case["id"], "verdict": "upheld", "act": act, "note": "spam"}
        resolved = await alice.call("report.resolve", ask)
        assert (resolved["state"], resolved["resolved_by"], resolved["verdict"]) == ("resolved", "alice", "upheld")
        await refused(alice.call("report.resolve", ask), "conflict", reason="resolved")
        did = {"none": [], "delete": ["message.delete"]}.get(act, [f"{act}.add"])
        acts = (await alice.call("audit.list", {"channel": channel}))["acts"]
        assert [one["act"] for one in acts] == [*did, "report.resolve"]
        assert {one["reason"] for one in acts} == {"spam"}
        messages = (await carol.call("message.list", {"channel": channel}))["messages"]
        assert ["deleted" in message for message in messages] == [act == "delete"]
        if act in ("silence", "ban"):
            await refused(send("bob", channel), "forbidden")
        assert box.events("review:" + channel[5:], chat.ReportChanged)[-1].verdict == "upheld"


async def test_resolving_is_all_or_nothing(box: Sandbox, channel: str, people: Ask, refused: Ask) -> None:
    """If what is to follow is refused, the case stays open, and nothing is written down."""
    alice, carol = await people("alice", "carol")
    for user in ("bob", "carol"):
        await alice.call("member.set_role", {"channel": channel, "user": user, "role": "moderator"})
    before = len((await alice.call("audit.list", {"channel": channel}))["acts"])
    await carol.call("report.make", {"channel": channel, "user": "bob"})
    await box.advance(1)
    await carol.call("report.make", {"channel": channel})
    user_case, channel_case = await queue(alice, channel)
    ask = {"channel": channel, "id": user_case["id"], "verdict": "upheld"}
    await refused(carol.call("report.resolve", {**ask, "act": "ban"}), "forbidden", reason="rank")
    await refused(carol.call("report.resolve", {**ask, "act": "delete"}), "invalid")
    await refused(carol.call("report.resolve", {**ask, "id": channel_case["id"], "act": "ban"}), "invalid")
    await refused(carol.call("report.resolve", {**ask, "verdict": "dismissed", "act": "ban"}), "invalid")
    assert len(await queue(alice, channel)) == 2
    assert len((await alice.call("audit.list", {"channel": channel}))["acts"]) == before


async def test_a_new_report_opens_a_case_again(box: Sandbox, channel: str, people: Ask) -> None:
    """By somebody else, or by the same for something new; with one case all along."""
    alice, carol, dave = await people("alice", "carol", "dave")
    await carol.call("report.make", {"channel": channel, "user": "bob"})
    (case,) = await queue(alice, channel)
    for client in (dave, carol):
        await alice.call("report.resolve", {"channel": channel, "id": case["id"], "verdict": "dismissed"})
        assert await queue(alice, channel) == []
        await box.advance(1)
        await client.call("report.make", {"channel": channel, "user": "bob"})
        (again,) = await queue(alice, channel)
        assert (again["id"], again["reports"]) == (case["id"], 2)


async def test_the_queue_goes_in_pages(box: Sandbox, channel: str, people: Ask) -> None:
    """The longest open first, both ways."""
    alice, carol = await people("alice", "carol")
    for n in range(5):
        await carol.call("report.make", {"channel": channel, "user": f"user{n}"})
        await box.advance(1)
    ask = {"channel": channel, "limit": 2}
    pages = [await alice.call("report.list", ask)]
    while cursor := pages[-1].get("next"):
        pages.append(await alice.call("report.list", {**ask, "cursor": cursor}))
    assert [[case["user"][-1] for case in page["cases"]] for page in pages] == [["0", "1"], ["2", "3"], ["4"]]
    back = await alice.call("report.list", {**ask, "cursor": pages[-1]["previous"]})
    assert back["cases"] == pages[1]["cases"]
