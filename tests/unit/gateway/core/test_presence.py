"""Presence: changes as they are told, and the list for whoever asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backchannel_protocol import MSGPACK, Codec
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import World


# Told


async def test_who_comes_and_goes_is_told(world: World) -> None:
    """PRES-3 to PRES-6: revisions without holes, the grace for a reload, one user however many connections."""
    alice = await world.listener("chat:a", "alice")
    bob = await world.listener("chat:a", "bob", MSGPACK)
    second = await world.listener("chat:a", "bob")
    assert [(x.revision, [m.user for m in x.joined or []], x.count) for x in alice.frames()
            if isinstance(x, f.Presence)] == [(1, ["alice"], 1), (2, ["bob"], 2)]  # fmt: skip
    alice.new()
    bob.lose()
    await world.after(11.0)
    assert alice.new(f.Presence) == []
    second.lose()
    await world.after(5.0)
    again = await world.listener("chat:a", "bob")
    await world.after(11.0)
    assert alice.new(f.Presence) == []
    again.ask(f.Unsubscribe, channel="chat:a")
    await world.after(9.0)
    assert alice.new(f.Presence) == []
    await world.after(1.5)
    assert [(x.revision, x.left, x.count) for x in alice.new(f.Presence)] == [(3, ["bob"], 1)]


async def test_a_hole_in_presence_brings_the_whole_list(world: World) -> None:
    """PRES-3: a change that was missed; changes meanwhile do not overtake the list."""
    alice = await world.listener("chat:a", "alice")
    alice.new()
    receive, world.broker._changed = world.broker._changed, lambda change: None
    await world.broker.enter("chat:a", "bob", "c1")
    world.broker._changed = receive
    await world.broker.enter("chat:a", "carol", "c2")
    await world.broker.enter("chat:a", "dave", "c3")
    await world.quiet()
    (told,) = alice.new(f.Presence)
    assert (told.revision, sorted(m.user for m in told.members), told.count) == (
        4,
        ["alice", "bob", "carol", "dave"],
        4,
    )
    await world.broker.leave("chat:a", "dave", "c3")
    await world.after(11.0)
    assert [(x.revision, x.left) for x in alice.new(f.Presence)] == [(5, ["dave"])]


async def test_a_list_that_is_older_than_a_change_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """PRES-3: nobody is left behind the newest revision."""
    alice = await world.listener("chat:a", "alice")
    alice.new()
    read, gate = world.broker.presence, asyncio.Event()

    async def slow(channel: str) -> Any:
        state = await read(channel)
        await gate.wait()
        return state

    monkeypatch.setattr(world.broker, "presence", slow)
    world.hub._lost()
    await world.quiet()
    await world.broker.enter("chat:a", "bob", "c1")
    gate.set()
    await world.quiet()
    (told,) = alice.new(f.Presence)
    assert (told.revision, told.count) == (2, 2)


async def test_presence_that_cannot_be_read_is_not_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next change is told again."""
    alice = await world.listener("chat:a", "alice")
    read = world.broker.presence

    async def fail(channel: str) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(world.broker, "presence", fail)
    with capture_logs() as logs:
        world.hub._lost()
        await world.quiet()
    assert [x["event"] for x in logs] == ["hub task failed"]
    monkeypatch.setattr(world.broker, "presence", read)
    alice.new()
    await world.broker.enter("chat:a", "bob", "c1")
    await world.quiet()
    assert [x.revision for x in alice.new(f.Presence)] == [2]


async def test_a_channel_without_presence_tells_none(world: World) -> None:
    """PRES-6."""
    client = await world.listener("few:a")
    await world.listener("few:a", "bob")
    assert [x for x in client.frames() if isinstance(x, f.Presence)] == []


# Asked


async def test_presence_asked(world: World, codec: Codec) -> None:
    """PRES-2: everybody, with the revision."""
    await world.listener("chat:a", "bob")
    client = await world.connect("alice", codec)
    await world.listen(client, "chat:a")
    request_id = client.ask(f.PresenceRequest, channel="chat:a")
    await world.quiet()
    answer = client.answer(request_id)
    assert (answer.channel, answer.revision, answer.count) == ("chat:a", 2, 2)
    assert sorted(member.user for member in answer.members) == ["alice", "bob"]


async def test_presence_that_a_change_overtook_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """PRES-2: an answer replaces what was told, so it is never older than a change that was told before it."""
    client = await world.listener("chat:a", "alice")
    client.new()
    read, gate = world.broker.presence, asyncio.Event()

    async def slow(channel: str) -> Any:
        state = await read(channel)
        await gate.wait()
        return state

    monkeypatch.setattr(world.broker, "presence", slow)
    request_id = client.ask(f.PresenceRequest, channel="chat:a")
    await world.quiet()
    await world.broker.enter("chat:a", "bob", "c1")
    await world.quiet()
    gate.set()
    await world.quiet()
    change, answer = client.new(f.Presence)
    assert (change.id, [member.user for member in change.joined]) == (None, ["bob"])
    assert (answer.id, answer.revision) == (request_id, change.revision)
    assert sorted(member.user for member in answer.members) == ["alice", "bob"]


async def test_presence_where_there_is_none_is_invalid(world: World) -> None:
    """PRES-1."""
    client = await world.listener("few:a")
    request_id = client.ask(f.PresenceRequest, channel="few:a")
    await world.quiet()
    assert client.answer(request_id).code == "invalid"


async def test_presence_that_cannot_be_read_is_internal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """REQ-2: answered in any case."""
    client = await world.listener("chat:a")

    async def fail(channel: str) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(world.broker, "presence", fail)
    with capture_logs() as logs:
        request_id = client.ask(f.PresenceRequest, channel="chat:a")
        await world.quiet()
    assert client.answer(request_id).code == "internal"
    assert [x["event"] for x in logs] == ["cannot read presence"]


# Crowds


async def test_a_crowd_is_told_its_number_once_a_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """PRES-4: above the limit no names are told, to those who ask neither, and at most one frame a second, with the
    newest number; the list comes once they are few again, and then changes as before."""
    monkeypatch.setattr("backchannel.gateway.presence.CROWD", 3)
    alice = await world.listener("chat:a", "alice")
    alice.new()
    for user in ("bob", "carol", "dave"):
        await world.broker.enter("chat:a", user, user)
    for number in range(50):
        await world.broker.enter("chat:a", f"user{number}", f"c{number}")
    await world.after(1.1)
    told = alice.new(f.Presence)
    assert [(len(x.joined or []), x.count) for x in told] == [(1, 2), (1, 3), (0, 4), (0, 54)]
    assert all(x.members is None for x in told)
    asked = alice.ask(f.PresenceRequest, channel="chat:a")
    await world.quiet()
    (answer,) = alice.new(f.Presence)
    assert (answer.id, answer.members, answer.count) == (asked, None, 54)
    await world.after(1.1)
    assert alice.new(f.Presence) == []
    for number in range(50):
        await world.broker.leave("chat:a", f"user{number}", f"c{number}")
    await world.broker.leave("chat:a", "dave", "dave")
    await world.after(13.0)
    last = alice.new(f.Presence)[-1]
    assert (sorted(m.user for m in last.members or []), last.count) == (["alice", "bob", "carol"], 3)
    await world.broker.enter("chat:a", "erin", "erin")
    await world.broker.leave("chat:a", "bob", "bob")
    await world.after(13.0)
    assert [x.count for x in alice.new(f.Presence)][-1] == 3
