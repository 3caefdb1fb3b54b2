"""Channels: what they are created with, changed to, and how they end; counters."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from backchannel import RegistrationError, chat
from backchannel.chat.channels.counters import MAX_COUNTERS
from backchannel.chat.extensions import channel_type
from backchannel.testing import Sandbox
from backchannel_protocol import Refused

USER = pytest.mark.parametrize("type_", ["group", "broadcast", "open"])


@USER
async def test_a_channel_is_what_it_was_created_as(box: Sandbox, people: Any, type_: str) -> None:
    """Every field is kept and told the same way: in the answer, to members, in `channel.get` and in the list."""
    (alice,) = await people("alice")
    members = [] if type_ == "open" else ["bob", "carol", "bob", "alice"]
    asked = {"name": "Tea", "topic": "Green", "cover": "https://x/y.png", "data": {"a": [1]}, "public": False}
    made = await alice.call("channel.create", {**asked, "type": type_, "members": members, "id": "tea"})
    assert made["channel"] == "chat:tea"
    assert {name: made[name] for name in asked} == asked
    assert (made["type"], made["creator"], made["members"]) == (type_, "alice", 1 if type_ == "open" else 3)
    assert made["mine"]["role"] == "owner"
    assert (await alice.call("channel.get", {"channel": "chat:tea"}))["info"] == made
    assert (await alice.call("channel.list", {}))["channels"] == [made]
    if members:
        (told,) = box.events("user:bob")
        assert told.name == "channel.added"
        assert told.data == {**made, "mine": {**made["mine"], "role": "member"}}


async def test_what_no_channel_can_be_is_refused(people: Any, operate: Any, refused: Any) -> None:
    """Unknown types, taken ids, ids of direct channels, too much data, members of an open room: none leaves a trace."""
    (alice,) = await people("alice")

    async def no(code: str, **fields: Any) -> Refused:
        error: Refused = await refused(alice.call("channel.create", {"name": "Tea", **fields}), code)
        return error

    assert "broadcast" in (await no("invalid", type="tea")).message
    assert "channel.direct" in (await no("invalid", type="direct")).message
    await no("invalid", id="dm-x")
    await no("invalid", name="  ")
    await no("too_large", data={"a": "x" * 6000})
    await no("invalid", type="open", members=["bob"])
    await no("forbidden", owner="bob")
    await alice.call("channel.create", {"name": "Tea", "id": "tea"})
    await no("conflict", id="tea")
    assert (await operate("channel.find", {"total": True}))["total"] == 1


async def test_an_operator_names_the_owner(operate: Any, refused: Any) -> None:
    """An API key that acts for itself creates for others, and is no member of anything."""
    made = await operate("channel.create", {"name": "News", "type": "broadcast", "owner": "alice", "members": ["bob"]})
    assert (made["creator"], made["joined"], made["members"]) == ("alice", False, 2)
    alone = await operate("channel.create", {"name": "Nobody's"})
    assert (alone["creator"], alone["members"]) == ("", 0)
    assert (await operate("channel.list"))["channels"] == []
    await refused(operate("channel.join", {"channel": alone["channel"]}), "invalid")


async def test_an_update_changes_what_is_given(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Keys of data merge, null removes; all listeners are told the whole as it is; nothing new is told to nobody."""
    channel = await new_channel("alice", "bob", data={"a": 1, "b": 2}, topic="Green")
    alice, bob = await people("alice", "bob")
    await refused(bob.call("channel.update", {"channel": channel, "topic": "x"}), "forbidden", reason="role")
    info = await alice.call("channel.update", {"channel": channel, "name": "Coffee", "data": {"a": None, "c": 3}})
    assert (info["name"], info["topic"], info["data"]) == ("Coffee", "Green", {"b": 2, "c": 3})
    (told,) = box.events(channel, chat.ChannelUpdated)
    assert (told.name, told.topic, told.data, told.public) == ("Coffee", "Green", {"b": 2, "c": 3}, True)
    await alice.call("channel.update", {"channel": channel, "name": "Coffee", "data": {"c": 3}})
    assert len(box.events(channel, chat.ChannelUpdated)) == 1
    assert "topic" not in await alice.call("channel.update", {"channel": channel, "topic": ""})
    assert (await bob.call("channel.get", {"channel": channel}))["info"]["data"] == {"b": 2, "c": 3}


async def test_two_who_update_at_once_lose_nothing(people: Any, new_channel: Any) -> None:
    """Different keys, changed at the same time by several, are all there afterwards."""
    channel = await new_channel("alice")
    devices = await people(*["alice"] * 10)
    await asyncio.gather(
        *(one.call("channel.update", {"channel": channel, "data": {str(n): n}}) for n, one in enumerate(devices))
    )
    info = (await devices[0].call("channel.get", {"channel": channel}))["info"]
    assert info["data"] == {str(n): n for n in range(10)}


async def test_frozen_and_archived_are_told(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Moderators freeze, owners archive; both can be taken back; who may do neither is refused."""
    channel = await new_channel("alice", "bob", "mia")
    alice, bob, mia = await people("alice", "bob", "mia")
    await alice.call("member.set_role", {"channel": channel, "user": "mia", "role": "moderator"})
    await refused(bob.call("channel.freeze", {"channel": channel}), "forbidden", action="channel.freeze")
    assert (await mia.call("channel.freeze", {"channel": channel}))["frozen"]
    await refused(mia.call("channel.archive", {"channel": channel}), "forbidden", action="channel.archive")
    assert (await alice.call("channel.archive", {"channel": channel}))["archived"]
    assert (await bob.call("channel.find", {}))["channels"] == []
    info = await mia.call("channel.freeze", {"channel": channel, "frozen": False})
    assert ("frozen" not in info, info["archived"]) == (True, True)
    await alice.call("channel.archive", {"channel": channel, "archived": False})
    assert [(e.frozen, e.archived) for e in box.events(channel, chat.ChannelUpdated)] == [
        (True, False),
        (True, True),
        (False, True),
        (False, False),
    ]


async def test_a_deleted_channel_is_gone_for_all(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Who listens hears of it and is unsubscribed; after that nobody can tell it from one that never was."""
    channel = await new_channel("alice", "bob", id="tea")
    alice, bob = await people("alice", "bob")
    sub = bob.subscribe(channel)
    async with sub:
        await refused(bob.call("channel.delete", {"channel": channel}), "forbidden", action="channel.delete")
        await alice.call("channel.delete", {"channel": channel})
        heard = [event.name async for event in _until_end(sub)]
    assert heard[-1] == "channel.deleted"
    for client in (alice, bob):
        await refused(client.call("channel.get", {"channel": channel}), "not_found")
        await refused(client.call("channel.join", {"channel": channel}), "not_found")
        assert (await client.call("channel.list", {"hidden": None}))["channels"] == []
    await refused(alice.call("channel.create", {"name": "Tea", "id": "tea"}), "conflict")
    await refused(alice.call("channel.delete", {"channel": channel}), "not_found")


async def _until_end(sub: Any) -> Any:
    with contextlib.suppress(Refused):
        async for event in sub:
            yield event


async def test_an_outsider_of_a_private_channel_learns_nothing(people: Any, new_channel: Any, refused: Any) -> None:
    """Whatever is asked of a private channel, the refusal is the one for a channel that is not there."""
    channel = await new_channel("alice", public=False)
    (eve,) = await people("eve")
    user = {"user": "alice"}
    for name, data in (
        ("channel.get", {}),
        ("channel.join", {}),
        ("channel.join", {"link": "guessed"}),
        ("channel.leave", {}),
        ("channel.update", {"name": "x"}),
        ("channel.freeze", {}),
        ("channel.archive", {}),
        ("channel.delete", {}),
        ("channel.transfer", user),
        ("channel.count", {"name": "x"}),
        ("channel.wish", {"hidden": True}),
        ("channel.members", {}),
        ("member.add", {"users": ["eve"]}),
        ("member.remove", {"users": ["alice"]}),
        ("member.set_role", {**user, "role": "guest"}),
        ("member.update", {"data": {}}),
        ("member.invite", {"users": ["eve"]}),
        ("invitation.withdraw", user),
        ("invitation.list", {}),
        ("link.create", {}),
        ("link.list", {}),
        ("link.revoke", {"code": "x"}),
        ("permission.get", {}),
        ("permission.change", {}),
    ):
        there = await refused(eve.call(name, {"channel": channel, **data}), "not_found")
        nowhere = await refused(eve.call(name, {"channel": "chat:nowhere", **data}), "not_found")
        assert there.message.replace(channel, "chat:nowhere") == nowhere.message, name


async def test_making_private_ends_what_outsiders_hear(people: Any, refused: Any) -> None:
    """Whoever listens to an open room without being in it is unsubscribed when it becomes private."""
    alice, eve = await people("alice", "eve")
    room = (await alice.call("channel.create", {"name": "Room", "type": "open"}))["channel"]
    sub = eve.subscribe(room)
    async with sub:
        await alice.call("channel.update", {"channel": room, "public": False})
        heard = [event.name async for event in _until_end(sub)]
    assert heard[-1] == "channel.updated"
    await refused(eve.call("channel.get", {"channel": room}), "not_found")


# Direct channels


async def test_the_same_users_have_the_same_channel(box: Sandbox, people: Any) -> None:
    """Whoever asks, in whatever order, with or without naming themselves; others have another. Nobody owns it."""
    alice, bob = await people("alice", "bob")
    first = await alice.call("channel.direct", {"members": ["bob"]})
    assert first["channel"].startswith("chat:dm-")
    assert (first["users"], first["public"], first["mine"]["role"]) == (["alice", "bob"], False, "member")
    for client, members in ((bob, ["alice"]), (alice, ["bob", "alice", "bob"]), (alice, ["bob"])):
        assert (await client.call("channel.direct", {"members": members}))["channel"] == first["channel"]
    other = await alice.call("channel.direct", {"members": ["bob", "carol"]})
    mine = await alice.call("channel.direct", {"members": []})
    assert len({first["channel"], other["channel"], mine["channel"]}) == 3
    assert [event.data["channel"] for event in box.events("user:bob")] == [first["channel"], other["channel"]]


async def test_two_who_begin_at_once_get_one_channel(box: Sandbox, people: Any) -> None:
    """However many ask at the same moment, there is one channel, one row per member, and each is told of it once."""
    clients = await people(*["alice", "bob"] * 5)
    answers = await asyncio.gather(
        *(one.call("channel.direct", {"members": ["bob" if one.user == "alice" else "alice"]}) for one in clients)
    )
    (channel,) = {answer["channel"] for answer in answers}
    assert [event.data["user"] for event in box.events(channel)] == ["alice", "bob"]
    assert len(box.events("user:alice")) == len(box.events("user:bob")) == 1


async def test_a_direct_channel_keeps_its_members(people: Any, operate: Any, refused: Any) -> None:
    """Nobody joins, leaves, is added, removed, invited or linked; no name, role or owner. Not by operators either."""
    alice, bob, eve = await people("alice", "bob", "eve")
    channel = (await alice.call("channel.direct", {"members": ["bob"]}))["channel"]
    await refused(alice.call("channel.leave", {"channel": channel}), "invalid", reason="direct")
    await refused(eve.call("channel.join", {"channel": channel}), "not_found")
    for name, data in (
        ("member.add", {"users": ["eve"]}),
        ("member.remove", {"users": ["bob"]}),
        ("member.invite", {"users": ["eve"]}),
        ("member.set_role", {"user": "bob", "role": "owner"}),
        ("channel.transfer", {"user": "bob"}),
        ("channel.update", {"name": "Us"}),
        ("link.create", {}),
    ):
        with pytest.raises(Refused, match=r"forbidden|invalid"):
            await bob.call(name, {"channel": channel, **data})
        await refused(operate(name, {"channel": channel, **data}), "invalid", reason="direct")
    assert (await bob.call("channel.members", {"channel": channel, "total": True}))["total"] == 2


async def test_a_direct_channel_begins_anew_after_its_end(people: Any, operate: Any, send: Any, refused: Any) -> None:
    """An operator deletes it; when it is opened again, what was said before is not shown, and `seq` goes on."""
    alice, bob = await people("alice", "bob")
    channel = (await alice.call("channel.direct", {"members": ["bob"]}))["channel"]
    await send("alice", channel, "before")
    await operate("channel.delete", {"channel": channel})
    await refused(bob.call("channel.get", {"channel": channel}), "not_found")
    again = await bob.call("channel.direct", {"members": ["alice"]})
    assert (again["channel"], again["mine"]["history_from"]) == (channel, 1)
    assert (await send("bob", channel, "after"))["seq"] == 2
    assert [m["seq"] for m in (await alice.call("message.list", {"channel": channel}))["messages"]] == [2]
    assert (await alice.call("channel.list", {}))["channels"][0]["mine"]["unread"] == 1
    async with alice.subscribe(channel):
        log = await alice.history(channel, limit=100)
    assert [event.data["text"] for event in log.events if event.name == "message.created"] == ["after"]


async def test_who_blocks_is_not_written_to(people: Any, refused: Any) -> None:
    """No direct channel begins between users one of whom blocks the other; nobody can tell which of them."""
    alice, bob = await people("alice", "bob")
    await bob.call("user.block", {"user": "alice"})
    errors = [
        await refused(one.call("channel.direct", {"members": [other]}), "forbidden", reason="blocked")
        for one, other in ((alice, "bob"), (bob, "alice"))
    ]
    assert errors[0].message == errors[1].message


# Counters


async def test_no_count_is_lost(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Many count at once: the value is the sum, and the events tell values that only rise."""
    channel = await new_channel("alice")
    devices = await people(*["alice"] * 5)
    await asyncio.gather(
        *(
            one.call("channel.count", {"channel": channel, "name": "likes", "by": 2})
            for one in devices
            for _ in range(10)
        )
    )
    told = [event.value for event in box.events(channel, chat.ChannelCounted)]
    assert told == list(range(2, 101, 2))
    assert (await devices[0].call("channel.get", {"channel": channel}))["counters"] == {"likes": 100}


async def test_counters_are_set_and_removed(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """`to` sets; what changes nothing is not told; bounds hold; a channel has only so many; members may not."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")

    async def count(name: str, **how: int) -> int:
        answer = await alice.call("channel.count", {"channel": channel, "name": name, **how})
        return int(answer["value"])

    assert [await count("a", to=7), await count("a"), await count("a", by=-10), await count("a", by=0)] == [
        7,
        8,
        -2,
        -2,
    ]
    assert len(box.events(channel, chat.ChannelCounted)) == 3
    await count("big", to=2**53 - 1)
    await refused(count("big"), "invalid")
    for _ in range(2):
        gone = await alice.call("channel.uncount", {"channel": channel, "name": "big"})
        assert gone["value"] == 0
    assert len(box.events(channel, chat.ChannelUncounted)) == 1
    for n in range(MAX_COUNTERS - 1):
        await count(f"n{n}")
    await refused(count("more"), "conflict", reason="counters")
    assert await count("a") == -1
    await refused(bob.call("channel.count", {"channel": channel, "name": "a"}), "forbidden", action="channel.counters")


def test_types_have_names_of_their_own() -> None:
    """A type of the app's own may not take the name of one that is there."""
    with pytest.raises(RegistrationError, match="group"):
        channel_type(chat.ChannelType(name="group"))
