"""Bans: out of a channel or out of all, kept out, and back in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from backchannel import chat
from backchannel.chat.tables import bans, channels, members
from backchannel.testing import Sandbox

Ask = Callable[..., Awaitable[Any]]


def count_of(box: Sandbox, channel: str) -> tuple[int, int]:
    """Members by the channel's row, and by theirs."""
    (row,) = box.rows(sa.select(channels.c.member_count).where(channels.c.channel == channel))
    return row.member_count, len(box.rows(sa.select(members).where(members.c.channel == channel)))


async def test_a_banned_member_is_out_and_stays_out(
    box: Sandbox, new_channel: Ask, people: Ask, send: Ask, refused: Ask
) -> None:
    """The right to listen ends in the log, the membership is gone, and no way leads back in while the ban holds."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    wire = await box.wire("bob")
    await wire.ask("subscribe", channel=channel)
    answer = await alice.call("ban.add", {"channel": channel, "user": "bob", "seconds": 60, "reason": "spam"})
    ended = await wire.until(lambda frame: frame["type"] == "unsubscribed")
    assert (ended["channel"], ended["code"]) == (channel, "forbidden")
    assert count_of(box, channel) == (1, 1)
    for asked in (
        send("bob", channel),
        bob.call("channel.join", {"channel": channel}),
        bob.call("message.list", {"channel": channel}),
    ):
        error = await refused(asked, "forbidden", reason="banned")
        assert error.details["until"] == answer["until"]
    assert (await wire.ask("subscribe", channel=channel))["code"] == "forbidden"
    told = box.events(channel, chat.RestraintSet)[-1]
    assert (told.user, told.kind, told.reason) == ("bob", "ban", "")
    assert box.events("user:bob", chat.RestraintSet)[-1].reason == "spam"
    await refused(alice.call("member.add", {"channel": channel, "users": ["bob"]}), "conflict", reason="banned")
    await box.advance(60)
    await bob.call("channel.join", {"channel": channel})
    await send("bob", channel)
    assert count_of(box, channel) == (2, 2)


async def test_a_ban_is_lifted(new_channel: Ask, people: Ask, send: Ask, refused: Ask) -> None:
    """Then joining makes a new membership; what is not banned cannot be lifted."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await alice.call("ban.add", {"channel": channel, "user": "bob"})
    await alice.call("ban.remove", {"channel": channel, "user": "bob"})
    await refused(send("bob", channel), "forbidden", reason="not_member")
    await bob.call("channel.join", {"channel": channel})
    await send("bob", channel)
    await refused(alice.call("ban.remove", {"channel": channel, "user": "bob"}), "not_found")


async def test_who_never_came_can_be_banned(box: Sandbox, new_channel: Ask, people: Ask, refused: Ask) -> None:
    """Before they join, and out of a room that has no members, where listening ends with it, too."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice")
    await alice.call("ban.add", {"channel": channel, "user": "bob"})
    await refused(bob.call("channel.join", {"channel": channel}), "forbidden", reason="banned")
    assert count_of(box, channel) == (1, 1)


async def test_out_of_an_open_room(box: Sandbox, operate: Ask, send: Ask, refused: Ask) -> None:
    """Who listened does so no more, and neither reads nor speaks."""
    room = (await operate("channel.create", {"name": "Room", "type": "open"}))["channel"]
    await send("bob", room)
    wire = await box.wire("bob")
    await wire.ask("subscribe", channel=room)
    await operate("ban.add", {"channel": room, "user": "bob"})
    assert (await wire.until(lambda frame: frame["type"] == "unsubscribed"))["channel"] == room
    await refused(send("bob", room), "forbidden", reason="banned")


async def test_an_operator_bans_an_owner(box: Sandbox, new_channel: Ask, operate: Ask) -> None:
    """Whoever comes next owns the channel: there is always an owner."""
    channel = await new_channel("alice", "bob")
    await operate("ban.add", {"channel": channel, "user": "alice"})
    (row,) = box.rows(sa.select(members).where(members.c.channel == channel))
    assert (row.user, row.role) == ("bob", "owner")


async def test_banned_everywhere(
    box: Sandbox, new_channel: Ask, people: Ask, operate: Ask, send: Ask, refused: Ask
) -> None:
    """Connections are closed, no channel is to be read or joined; memberships wait until it is lifted."""
    one, two = await new_channel("alice", "bob"), await new_channel("alice")
    wire = await box.wire("bob")
    await wire.ask("subscribe", channel=one)
    await operate("ban.add", {"channel": "*", "user": "bob"})
    assert await wire.closed() == 4501
    (bob,) = await people("bob")
    await refused(send("bob", one), "forbidden", reason="banned")
    await refused(bob.call("channel.join", {"channel": two}), "forbidden", reason="banned")
    assert count_of(box, one) == (2, 2)
    wire = await box.wire("bob")
    assert (await wire.ask("subscribe", channel=one))["code"] == "forbidden"
    await operate("ban.remove", {"channel": "*", "user": "bob"})
    await send("bob", one)
    await bob.call("channel.join", {"channel": two})


async def test_bans_of_both_kinds_do_not_mix(new_channel: Ask, people: Ask, operate: Ask, refused: Ask) -> None:
    """The one from everywhere goes on when that from a channel is lifted, and the other way round."""
    channel = await new_channel("alice")
    await operate("ban.add", {"channel": channel, "user": "bob"})
    await operate("ban.add", {"channel": "*", "user": "bob", "seconds": 5})
    await operate("ban.remove", {"channel": "*", "user": "bob"})
    (bob,) = await people("bob")
    await refused(bob.call("channel.join", {"channel": channel}), "forbidden", reason="banned", until=None)
    listed = await operate("restraint.list", {"channel": channel, "kind": "ban"})
    assert [one["user"] for one in listed["restraints"]] == ["bob"]
    assert (await operate("restraint.list", {"channel": "*", "kind": "ban"}))["restraints"] == []


async def test_a_conversation_of_a_few_bans_nobody(new_channel: Ask, people: Ask, operate: Ask, refused: Ask) -> None:
    """A direct channel is between the same users for ever; operators ban from everywhere instead."""
    (alice,) = await people("alice")
    channel = (await alice.call("channel.direct", {"members": ["bob"]}))["channel"]
    await refused(operate("ban.add", {"channel": channel, "user": "bob"}), "invalid", reason="direct")
    await refused(alice.call("ban.add", {"channel": channel, "user": "bob"}), "forbidden")


async def test_a_ban_again_has_the_new_end(box: Sandbox, new_channel: Ask, people: Ask) -> None:
    """One row, with the end that was said last; the audit log has both."""
    (alice,) = await people("alice")
    channel = await new_channel("alice", "bob")
    for seconds in (60, 120):
        await alice.call("ban.add", {"channel": channel, "user": "bob", "seconds": seconds})
    (row,) = box.rows(sa.select(bans))
    assert row.until == box.now + 120_000
    acts = (await alice.call("audit.list", {"channel": channel, "act": "ban.add"}))["acts"]
    assert [act["after"]["until"] - box.now for act in acts] == [120_000, 60_000]
    assert acts[0]["before"]["until"] == box.now + 60_000
