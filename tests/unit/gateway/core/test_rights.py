"""Rights: from which offset on they hold, when they end, and the leases that bound them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backchannel.relay.relay import Grant
from backchannel_protocol import MSGPACK, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Heard, MakeWorld, World

NAME = "skip:a"


def at(world: World, offset: int, channel: str = NAME) -> f.Position:
    return f.Position(world.log.epoch(channel), offset)


# Who joined later


async def test_nothing_older_than_the_grant(world: World) -> None:
    """SUB-5: a position before it cannot be recovered; one after it can."""
    for _ in range(5):
        world.log.append(NAME)
    world.relay.rule = lambda user, verb, entry: Grant(True, 3)
    client = await world.connect()
    assert (await world.listen(client, NAME, since=at(world, 2))).verdict == "gap"
    other = await world.connect("bob")
    assert (await world.listen(other, NAME, since=at(world, 3))).verdict == "recovered"
    assert [x.offset for x in other.frames() if isinstance(x, f.Event)] == [4, 5]


async def test_a_grant_beyond_the_hub_s_position_waits_for_it(world: World) -> None:
    """SUB-5: the worker knows of events that the broker has not brought yet; they are not for this user."""
    await world.listener(NAME, "bob")
    for _ in range(3):
        world.log.append(NAME)
    world.relay.rule = lambda user, verb, entry: Grant(True, 2)
    client = await world.connect()
    told = await world.listen(client, NAME)
    assert (told.verdict, told.offset) == ("new", 3)
    world.hub.receive(world.log.events[NAME])
    await world.quiet()
    assert [x for x in client.frames() if isinstance(x, f.Event)] == []


async def test_a_grant_beyond_the_log_is_refused(world: World) -> None:
    """SUB-5: rather `unavailable` than an event that is not the user's."""
    world.log.append(NAME)
    world.relay.rule = lambda user, verb, entry: Grant(True, 7)
    client = await world.connect()
    assert (await world.listen(client, NAME)).code == "unavailable"


# Rights that end


async def test_a_right_ends_behind_its_event(world: World) -> None:
    """UNSUB-11: the event is heard, then `unsubscribed`, then nothing; the others go on."""
    clients = {user: await world.listener(NAME, user) for user in ("alice", "bob")}
    second = await world.listener(NAME, "alice", MSGPACK)
    for client in (*clients.values(), second):
        client.new()
    world.publish(NAME, name="member.left", ends=["alice"])
    world.publish(NAME)
    await world.quiet()
    for client in (clients["alice"], second):
        told = client.new(f.Event, f.Unsubscribed)
        assert [getattr(x, "offset", None) for x in told] == [1, None]
        assert told[1].code == "forbidden"
    assert [x.offset for x in clients["bob"].new(f.Event)] == [1, 2]


async def test_several_rights_end_in_one_tick(world: World) -> None:
    """Each behind its own event, in order; `*` ends all that are left."""
    clients = {user: await world.listener(NAME, user) for user in ("alice", "bob", "carol")}
    for client in clients.values():
        client.new()
    world.publish(NAME)
    world.publish(NAME, ends=["alice"])
    world.publish(NAME, ends=["bob", "nobody"])
    world.publish(NAME)
    world.publish(NAME, ends=["*"])
    world.publish(NAME)
    await world.quiet()
    heard = {
        user: [getattr(x, "offset", "ended") for x in client.new(f.Event, f.Unsubscribed)]
        for user, client in clients.items()
    }
    assert heard == {
        "alice": [1, 2, "ended"],
        "bob": [1, 2, 3, "ended"],
        "carol": [1, 2, 3, 4, 5, "ended"],
    }
    assert world.hub.channels[NAME].vacant()


async def test_who_joins_while_events_are_held_gets_each_once(world: World, heard: type[Heard]) -> None:
    """A joiner in the middle of several endings is at the hub's position, not at that of what is held back."""
    crowd = [await world.listener("few:a", f"u{n}") for n in range(200)]
    late = await world.connect("late")
    for client in crowd:
        client.writes.clear()
    for _ in range(3):
        world.publish("few:a", ends=["u0"])
    await world.until(lambda: any(client.writes for client in crowd))
    assert not all(client.writes for client in crowd)
    late.ask(f.Subscribe, channel="few:a")
    await world.until(lambda: late.connection in world.hub.channels["few:a"].json)
    assert world.hub.channels["few:a"].held
    world.publish("few:a")
    await world.quiet()
    told = heard("few:a").take(late.frames())
    assert (told.offsets, told.missed) == ([4], [])


@pytest.mark.parametrize("ticks", range(12))
async def test_who_joins_at_any_moment_of_an_ending_gets_each_once(
    world: World, heard: type[Heard], ticks: int
) -> None:
    """Whichever step of its start it has come to when events arrive of which some end others' rights."""
    await world.listener("few:a", "bob")
    await world.listener("few:a", "carol")
    late = await world.connect("alice")
    late.ask(f.Subscribe, channel="few:a", since=at(world, 0, "few:a"))
    for _ in range(ticks):
        await asyncio.sleep(0)
    ends: list[list[str] | None] = [None, ["bob"], None, ["carol"], None]
    world.hub.receive([world.log.append("few:a", ends=users) for users in ends])
    for _ in range(3):
        await asyncio.sleep(0)
    world.hub.receive([world.log.append("few:a")])
    await world.quiet()
    told = heard("few:a").take(late.frames(), at(world, 0, "few:a"))
    assert (told.position, told.missed) == (6, [])


async def test_an_ending_voids_a_pending_answer(world: World) -> None:
    """A subscription is registered before its right is checked: a grant from before the end does not count."""
    client = await world.connect()
    world.relay.gate = asyncio.Event()
    request_id = client.ask(f.Subscribe, channel=NAME)
    await world.quiet()
    world.publish(NAME, ends=["alice"])
    await world.quiet()
    assert client.answer(request_id).code == "forbidden"
    world.relay.gate.set()
    await world.quiet()
    assert not world.hub.channels[NAME].listeners()


@pytest.mark.parametrize("ends", ["alice", "*"])
async def test_a_right_that_ends_while_catching_up(world: World, heard: type[Heard], ends: str) -> None:
    """UNSUB-11: what was missed up to and including the event still comes, then the end, then nothing."""
    for n in range(10):
        world.log.append(NAME, {"n": n, "text": "x" * 20_000})
    client = await world.connect()
    client.pause_at = 2
    since = at(world, 0)
    client.ask(f.Subscribe, channel=NAME, since=since)
    await world.quiet()
    world.publish(NAME, ends=[ends])
    world.publish(NAME)
    await world.quiet()
    client.resume()
    await world.quiet()
    told = heard(NAME).take(client.frames(), since)
    assert (told.offsets, told.over) == (list(range(1, 12)), True)
    assert world.hub.channels[NAME].vacant()


async def test_an_old_ending_is_history(world: World, heard: type[Heard]) -> None:
    """Who left and came back may hear the event of the leaving."""
    world.log.append(NAME)
    world.log.append(NAME, ends=["alice"])
    world.log.append(NAME)
    since = at(world, 0)
    client = await world.listener(NAME, since=since)
    told = heard(NAME).take(client.frames(), since)
    assert (told.offsets, told.over) == ([1, 2, 3], False)


async def test_a_slow_listener_is_told_what_it_missed_before_the_end(world: World) -> None:
    """UNSUB-11: also where the event itself was skipped."""
    client = await world.listener(NAME)
    client.new()
    client.pause()
    client.waiting = 600_000
    world.publish(NAME)
    world.publish(NAME, ends=["alice"])
    await world.quiet()
    gap, ended = client.new()
    assert (gap.from_, gap.to, gap.reason) == (0, 2, "slow")
    assert ended.code == "forbidden"


async def test_an_ephemeral_event_can_end_rights_too(world: World) -> None:
    """An ephemeral channel has no log, and its rights end all the same."""
    client = await world.listener("shout:a")
    client.new()
    world.shout("shout:a", ends=["alice"])
    world.shout("shout:a")
    await world.quiet()
    assert [type(x) for x in client.new()] == [f.Event, f.Unsubscribed]


# Leases


async def test_a_grant_is_renewed_before_it_ends(world: World) -> None:
    """A lease of 60 s, asked for again in one question for all; one's own channel needs none."""
    client = await world.connect()
    for name in ("few:a", "few:b"):
        await world.listen(client, name)
    world.relay.asked.clear()
    await world.after(59.0)
    assert world.relay.asked
    assert sorted(world.relay.asked[0][1].listen) == ["few:a", "few:b"]
    await world.after(300.0)
    assert 4 <= len(world.relay.asked) <= 13
    assert client.new() == []


async def test_a_grant_that_is_refused_at_its_renewal_ends(world: World) -> None:
    """P6: however the right ended, the lease ends it."""
    client = await world.connect()
    for name in ("few:a", "few:b"):
        await world.listen(client, name)
    world.relay.rule = lambda user, verb, entry: Grant(entry != "few:a")
    await world.after(60.0)
    (told,) = client.new()
    assert (told.channel, told.code) == ("few:a", "forbidden")
    assert not world.hub.channels["few:a"].listeners()


async def test_a_grant_that_cannot_be_renewed_fails_closed(world: World) -> None:
    """Half a minute of grace beyond the lease, then `unavailable`."""
    client = await world.listener("few:a")
    world.relay.failure = Refused("unavailable", "No worker is there.")
    await world.after(89.0)
    assert client.new() == []
    await world.after(26.0)
    (told,) = client.new()
    assert (told.channel, told.code) == ("few:a", "unavailable")


async def test_a_renewal_that_takes_long_is_asked_once(world: World) -> None:
    """A relay that hangs is not flooded."""
    await world.listener("few:a")
    world.relay.asked.clear()
    world.relay.gate = asyncio.Event()
    await world.after(120.0)
    assert len(world.relay.asked) == 1
    world.relay.gate.set()


async def test_long_pings_do_not_outlive_a_lease(make_world: MakeWorld) -> None:
    """A lease is renewed in time however rarely pings are sent."""
    world = await make_world(ping=300.0, grace=60.0)
    client = await world.listener("few:a")
    world.relay.rule = lambda user, verb, entry: Grant(False)
    await world.after(60.0)
    assert [x.code for x in client.new()] == ["forbidden"]
