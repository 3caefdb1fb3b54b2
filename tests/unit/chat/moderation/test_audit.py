"""The audit log: every act of a moderator, who, what, to whom, why; for those who may review."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from backchannel import chat
from backchannel.testing import Sandbox

Ask = Callable[..., Awaitable[Any]]
WORDS = {"name": "words", "kind": "word", "action": "block", "entries": ["darn"]}


async def test_every_act_is_written_down(box: Sandbox, new_channel: Ask, people: Ask, send: Ask) -> None:
    """Newest first, with why, and what was so before and after; reviewers hear of it."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    await send("bob", channel, "rubbish")
    for name, data in (
        ("silence.add", {"user": "bob", "seconds": 60, "reason": "rude"}),
        ("silence.remove", {"user": "bob", "reason": "sorry"}),
        ("shadow.add", {"user": "bob"}),
        ("shadow.remove", {"user": "bob"}),
        ("message.delete", {"seq": 1, "reason": "rubbish"}),
        ("message.restore", {"seq": 1}),
        ("ban.add", {"user": "bob"}),
        ("ban.remove", {"user": "bob"}),
    ):
        await alice.call(name, {"channel": channel, **data})
    await alice.call("filter.set", {"scope": channel, **WORDS})
    await alice.call("filter.set", {"scope": channel, **WORDS, "entries": ["drat"]})
    await alice.call("filter.delete", {"scope": channel, "name": "words"})
    page = await alice.call("audit.list", {"channel": channel, "total": True})
    assert [(one["seq"], one["act"], one["target"]) for one in reversed(page["acts"])] == [
        (1, "silence.add", "bob"),
        (2, "silence.remove", "bob"),
        (3, "shadow.add", "bob"),
        (4, "shadow.remove", "bob"),
        (5, "message.delete", "message:1"),
        (6, "message.restore", "message:1"),
        (7, "ban.add", "bob"),
        (8, "ban.remove", "bob"),
        (9, "filter.set", "filter:words"),
        (10, "filter.set", "filter:words"),
        (11, "filter.delete", "filter:words"),
    ]
    assert page["total"] == 11
    by_seq = {one["seq"]: one for one in page["acts"]}
    assert {one["actor"] for one in page["acts"]} == {"alice"}
    assert (by_seq[1]["reason"], by_seq[1]["after"]) == ("rude", {"until": box.now + 60_000})
    assert by_seq[2]["before"]["reason"] == "rude"
    assert by_seq[5]["before"]["text"] == "rubbish"
    assert (by_seq[10]["before"]["removed"], by_seq[10]["after"]["added"]) == (["darn"], ["drat"])
    told = box.events("review:" + channel[5:], chat.ActRecorded)
    assert [event.seq for event in told] == list(range(1, 12))


async def test_what_users_do_themselves_is_no_act(new_channel: Ask, people: Ask, send: Ask) -> None:
    """Deleting one's own message is nobody's business."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await send("bob", channel)
    await bob.call("message.delete", {"channel": channel, "seq": 1})
    assert (await alice.call("audit.list", {"channel": channel}))["acts"] == []


async def test_operators_read_everything(
    box: Sandbox, new_channel: Ask, people: Ask, operate: Ask, refused: Ask
) -> None:
    """All channels and what holds everywhere, by actor, target and act, in pages both ways."""
    (alice,) = await people("alice")
    one, two = await new_channel("alice", "bob"), await new_channel("alice", "bob")
    for channel in (one, two):
        await alice.call("silence.add", {"channel": channel, "user": "bob"})
        await box.advance(1)
    await operate("silence.add", {"channel": "*", "user": "carol"})

    async def acts(**data: Any) -> list[tuple[str, str, str]]:
        page = await operate("audit.list", data)
        return [(act["channel"], act["actor"], act["target"]) for act in page["acts"]]

    assert await acts() == [("*", "key:K1", "carol"), (two, "alice", "bob"), (one, "alice", "bob")]
    assert await acts(actor="alice") == [(two, "alice", "bob"), (one, "alice", "bob")]
    assert await acts(target="carol") == [("*", "key:K1", "carol")]
    assert await acts(channel="*") == [("*", "key:K1", "carol")]
    assert await acts(channel=one, act="ban.add") == []
    first = await operate("audit.list", {"limit": 2})
    second = await operate("audit.list", {"limit": 2, "cursor": first["next"]})
    back = await operate("audit.list", {"limit": 2, "cursor": second["previous"]})
    assert [act["channel"] for act in second["acts"]] == [one]
    assert back["acts"] == first["acts"]
    for channel in (None, "*"):
        await refused(alice.call("audit.list", {"channel": channel}), "forbidden", reason="operators")


async def test_what_is_done_to_channels_and_members_is_written_down(
    new_channel: Ask, people: Ask, operate: Ask
) -> None:
    """Freezing, closing, roles, removal, permissions, deletion; what changes nothing is no act."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob", "carol")
    for name, data in (
        ("channel.freeze", {"frozen": True}),
        ("channel.freeze", {"frozen": True}),
        ("channel.freeze", {"frozen": False}),
        ("channel.archive", {"archived": True}),
        ("channel.archive", {"archived": False}),
        ("member.set_role", {"user": "bob", "role": "moderator"}),
        ("member.set_role", {"user": "bob", "role": "moderator"}),
        ("member.remove", {"users": ["carol", "eve"]}),
        ("permission.change", {"features": {"slow_mode": 5}}),
        ("channel.transfer", {"user": "bob"}),
    ):
        await alice.call(name, {"channel": channel, **data})
    await operate("permission.change_type", {"type": "group", "features": {"polls": False}})
    await operate("channel.delete", {"channel": channel})
    acts = (await operate("audit.list", {"channel": channel}))["acts"]
    assert [(one["act"], one["target"], one["actor"]) for one in reversed(acts)] == [
        ("channel.freeze", "channel", "alice"),
        ("channel.freeze", "channel", "alice"),
        ("channel.archive", "channel", "alice"),
        ("channel.archive", "channel", "alice"),
        ("member.set_role", "bob", "alice"),
        ("member.remove", "carol", "alice"),
        ("permission.change", "channel", "alice"),
        ("member.set_role", "alice", "alice"),
        ("member.set_role", "bob", "alice"),
        ("channel.delete", "channel", "key:K1"),
    ]
    assert (acts[-1]["before"], acts[-1]["after"]) == ({"frozen": False}, {"frozen": True})
    (of_type,) = (await operate("audit.list", {"channel": "*"}))["acts"]
    assert (of_type["act"], of_type["target"]) == ("permission.change_type", "type:group")
    assert of_type["after"] == {"features": {"polls": False}}
