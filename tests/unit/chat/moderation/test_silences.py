"""Silences and shadows: who may be held back by whom, what it stops, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from backchannel import chat
from backchannel.chat.access import FOREVER
from backchannel.chat.moderation.standing import Tidy
from backchannel.chat.moderation.tables import restraints, settling
from backchannel.chat.tables import members
from backchannel.testing import Sandbox

Ask = Callable[..., Awaitable[Any]]


async def test_a_silenced_member_is_not_heard(box: Sandbox, new_channel: Ask, people: Ask, refused: Ask) -> None:
    """They may read, but not send, answer, react, edit or type; the refusal says until when; their own events tell."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await bob.call("message.send", {"channel": channel, "text": "hello"})
    answer = await alice.call("silence.add", {"channel": channel, "user": "bob", "seconds": 60, "reason": "rude"})
    assert (answer["until"], answer["by"], answer["reason"]) == (box.now + 60_000, "alice", "rude")
    for name, data in (
        ("message.send", {"text": "hi"}),
        ("message.send", {"text": "hi", "parent": 1}),
        ("message.edit", {"seq": 1, "text": "hullo"}),
        ("reaction.add", {"seq": 1, "emoji": "+1"}),
        ("typing.start", {}),
    ):
        error = await refused(bob.call(name, {"channel": channel, **data}), "forbidden", reason="silenced")
        assert error.details["until"] == answer["until"]
    assert (await bob.call("message.list", {"channel": channel}))["messages"]
    assert box.events("user:bob", chat.RestraintSet)[-1] == chat.RestraintSet(
        channel, "bob", "silence", answer["until"], "rude"
    )


async def test_a_silence_ends_by_itself(box: Sandbox, new_channel: Ask, people: Ask, send: Ask, refused: Ask) -> None:
    """At its end, without anybody doing anything; then it is no more in the list, and cannot be lifted."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    await alice.call("silence.add", {"channel": channel, "user": "bob", "seconds": 60})
    await box.advance(59)
    await refused(send("bob", channel), "forbidden", reason="silenced")
    await box.advance(1)
    assert (await send("bob", channel))["seq"] == 1
    assert (await alice.call("restraint.list", {"channel": channel, "kind": "silence"}))["restraints"] == []
    await refused(alice.call("silence.remove", {"channel": channel, "user": "bob"}), "not_found")


async def test_a_silence_can_be_changed_and_lifted(
    box: Sandbox, new_channel: Ask, people: Ask, send: Ask, refused: Ask
) -> None:
    """Again: the new end holds. Lifted: at once, and the user's devices are told."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    await alice.call("silence.add", {"channel": channel, "user": "bob", "seconds": 1})
    await alice.call("silence.add", {"channel": channel, "user": "bob"})
    await box.advance(10)
    error = await refused(send("bob", channel), "forbidden", reason="silenced")
    assert error.details["until"] is None
    await alice.call("silence.remove", {"channel": channel, "user": "bob"})
    assert (await send("bob", channel))["seq"] == 1
    assert box.events("user:bob", chat.RestraintSet)[-1].until == 0


async def test_operators_silence_everywhere(
    box: Sandbox, new_channel: Ask, operate: Ask, send: Ask, refused: Ask
) -> None:
    """In all channels at once, of which the members' rows know; one channel's own silence goes on when it is lifted."""
    one, two = await new_channel("alice", "bob"), await new_channel("alice", "bob")
    await operate("silence.add", {"channel": one, "user": "bob", "seconds": 3600})
    await operate("silence.add", {"channel": "*", "user": "bob"})
    for channel in (one, two):
        await refused(send("bob", channel), "forbidden", reason="silenced", until=None)
    await operate("silence.remove", {"channel": "*", "user": "bob"})
    await send("bob", two)
    error = await refused(send("bob", one), "forbidden", reason="silenced")
    assert error.details["until"] == box.now + 3_600_000


async def test_what_holds_everywhere_holds_for_who_joins_later(
    new_channel: Ask, operate: Ask, send: Ask, people: Ask, refused: Ask
) -> None:
    """And for channels that are made later, and for rooms without members."""
    await operate("silence.add", {"channel": "*", "user": "bob"})
    (bob,) = await people("bob")
    group = await new_channel("alice")
    await bob.call("channel.join", {"channel": group})
    room = (await operate("channel.create", {"name": "Room", "type": "open"}))["channel"]
    for channel in (group, room):
        await refused(send("bob", channel), "forbidden", reason="silenced")
    await send("carol", room)
    await operate("silence.add", {"channel": room, "user": "carol", "seconds": 5})
    await refused(send("carol", room), "forbidden", reason="silenced")


async def test_a_membership_that_an_act_did_not_see_is_set_right(box: Sandbox, new_channel: Ask, operate: Ask) -> None:
    """A membership that begins beside an act that holds everywhere may be missed by it, for a minute at most."""
    channel = await new_channel("alice", "bob")
    await operate("silence.add", {"channel": "*", "user": "bob"})
    await operate("ban.add", {"channel": "*", "user": "bob"})
    # As a join on another connection to the database would have left it.
    box.store.writer.execute("UPDATE chat_members SET silenced = 0, banned = 0")
    await box.advance(60)
    (row,) = box.rows(sa.select(members).where(members.c.channel == channel, members.c.user == "bob"))
    assert row.silenced == row.banned == FOREVER
    assert not box.rows(sa.select(settling))


async def test_nobody_restrains_upwards(new_channel: Ask, people: Ask, operate: Ask, refused: Ask) -> None:
    """Members restrain nobody; moderators neither each other, nor an owner, nor themselves; an owner does moderators,
    operators all. Who is no member learns nothing."""
    alice, bob, dave, eve = await people("alice", "bob", "dave", "eve")
    for name in ("silence.add", "ban.add", "shadow.add"):
        channel = await new_channel("alice", "bob", "carol", "dave", public=False)
        for user in ("bob", "carol"):
            await alice.call("member.set_role", {"channel": channel, "user": user, "role": "moderator"})
        for client, user, code, reason in (
            (dave, "bob", "forbidden", "role"),
            (bob, "carol", "forbidden", "rank"),
            (bob, "alice", "forbidden", "rank"),
            (bob, "bob", "forbidden", "self"),
            (eve, "dave", "not_found", None),
        ):
            await refused(client.call(name, {"channel": channel, "user": user}), code, reason=reason)
        await refused(alice.call(name, {"channel": "*", "user": "bob"}), "forbidden", reason="operators")
        await bob.call(name, {"channel": channel, "user": "dave"})
        await alice.call(name, {"channel": channel, "user": "bob"})
        await operate(name, {"channel": channel, "user": "alice"})


async def test_a_shadowed_user_alone_sees_what_they_send(
    box: Sandbox, new_channel: Ask, people: Ask, send: Ask
) -> None:
    """Their message comes back to them as any would; nobody else hears, reads or counts it, nor is anyone told."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel = await new_channel("alice", "bob", "carol")
    await alice.call("shadow.add", {"channel": channel, "user": "bob"})
    assert not box.events("user:bob", chat.RestraintSet)
    heard = len(box.events(channel))
    assert (await send("bob", channel, "buy this"))["text"] == "buy this"
    assert len(box.events(channel)) == heard
    seen = [len((await one.call("message.list", {"channel": channel}))["messages"]) for one in (alice, bob, carol)]
    assert seen == [0, 1, 0]
    await alice.call("shadow.remove", {"channel": channel, "user": "bob"})
    await send("bob", channel, "sorry")
    assert len(box.events(channel)) == heard + 1
    assert [m["text"] for m in (await carol.call("message.list", {"channel": channel}))["messages"]] == ["sorry"]


async def test_many_moderators_at_once(box: Sandbox, new_channel: Ask, people: Ask) -> None:
    """Whoever was last: the member's row says what the restraint's row says."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob", "carol")
    await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "moderator"})
    asked = [
        client.call(name, {"channel": channel, "user": "carol", **({"seconds": n} if name == "silence.add" else {})})
        for n, client in enumerate((alice, bob) * 5, 1)
        for name in ("silence.add", "silence.remove")
    ]
    await asyncio.gather(*asked, return_exceptions=True)
    (member,) = box.rows(sa.select(members).where(members.c.channel == channel, members.c.user == "carol"))
    rows = box.rows(sa.select(restraints))
    assert member.silenced == (rows[0].until if rows else 0)


async def test_the_list_of_the_silenced(box: Sandbox, new_channel: Ask, people: Ask, refused: Ask) -> None:
    """By user, in pages both ways, with a total; for moderators alone."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    for n in range(5):
        await alice.call("silence.add", {"channel": channel, "user": f"user{n}", "reason": str(n)})
    ask = {"channel": channel, "kind": "silence", "limit": 2, "total": True}
    first = await alice.call("restraint.list", ask)
    second = await alice.call("restraint.list", {**ask, "cursor": first["next"]})
    third = await alice.call("restraint.list", {**ask, "cursor": second["next"]})
    back = await alice.call("restraint.list", {**ask, "cursor": third["previous"]})
    users = [[one["user"] for one in page["restraints"]] for page in (first, second, third, back)]
    assert users == [["user0", "user1"], ["user2", "user3"], ["user4"], ["user2", "user3"]]
    assert (first["total"], first.get("previous"), third.get("next")) == (5, None, None)
    await refused(bob.call("restraint.list", ask), "forbidden", reason="role")
    await refused(alice.call("restraint.list", {**ask, "channel": "*"}), "forbidden", reason="operators")
    await refused(alice.call("restraint.list", {**ask, "cursor": "WzEsWzFdXQ"}), "invalid")


async def test_what_has_ended_is_forgotten(box: Sandbox, new_channel: Ask, people: Ask) -> None:
    """Rows of restraints that are over go by themselves; those that hold stay."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    for user, seconds in (("bob", 1), ("carol", 60)):
        await alice.call("silence.add", {"channel": channel, "user": user, "seconds": seconds})
    await box.advance(1)
    assert await box.worker.publisher.call(Tidy(), user="") == 1
    assert [row.user for row in box.rows(sa.select(restraints))] == ["carol"]
