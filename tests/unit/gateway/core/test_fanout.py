"""Fan-out: one write per listener and tick, sweeps in slices, and listeners that come, go or do not keep up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backchannel.telemetry.metrics import metrics
from backchannel_protocol import JSON, MSGPACK, CloseCode
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Client, Heard, MakeWorld, World

LOBBY = "chat:lobby"


async def crowd(world: World, channel: str, size: int) -> list[Client]:
    """Listeners of one user each."""
    clients = [await world.connect(f"u{n}") for n in range(size)]
    for client in clients:
        client.ask(f.Subscribe, channel=channel)
    await world.quiet()
    await world.after(0.0)
    for client in clients:
        client.new()
        client.writes.clear()
        client._read = 0
    return clients


async def test_what_comes_in_one_tick_leaves_in_one_write(world: World) -> None:
    """Performance 2: k events of a channel are one write per listener."""
    client = await world.listener("few:a")
    before = len(client.writes)
    for _ in range(5):
        world.publish("few:a")
    await world.quiet()
    assert len(client.writes) == before + 1
    assert [x.offset for x in client.new(f.Event)] == [1, 2, 3, 4, 5]


async def test_all_listeners_get_the_same_bytes(world: World) -> None:
    """Performance 1: encoded and framed once per encoding, one immutable object for all."""
    clients = [await world.listener("few:a", user, codec) for user in "ab" for codec in (JSON, MSGPACK)]
    world.publish("few:a", {"text": "ü", "n": [1, 2.5, None]})
    await world.quiet()
    json_a, msgpack_a, json_b, msgpack_b = (client.writes[-1] for client in clients)
    assert json_a is json_b
    assert msgpack_a is msgpack_b
    for client in clients:
        (event,) = client.new(f.Event)
        assert client.codec.decode_any(event.data) == {"text": "ü", "n": [1, 2.5, None]}


async def test_the_sender_s_connections_are_told_the_key(world: World) -> None:
    """EVENT-3: all of the sender's, in either encoding, and nobody else; in order with the others' events."""
    mine = [await world.listener(LOBBY, "alice", codec) for codec in (JSON, MSGPACK)]
    other = await world.listener(LOBBY, "bob")
    for client in (*mine, other):
        client.new()
    world.publish(LOBBY, user="bob", key="bobs-key-1")
    world.publish(LOBBY, user="alice", key="alices-key")
    world.publish(LOBBY, user="carol")
    await world.quiet()
    for client in mine:
        assert [(x.offset, x.key) for x in client.new(f.Event)] == [(1, None), (2, "alices-key"), (3, None)]
    assert [(x.offset, x.key) for x in other.new(f.Event)] == [(1, "bobs-key-1"), (2, None), (3, None)]


async def test_a_sender_who_does_not_listen_gets_nothing(world: World) -> None:
    """EVENT-6: being its author is not listening."""
    author = await world.connect("alice")
    await world.listener(LOBBY, "bob")
    world.publish(LOBBY, user="alice", key="alices-key")
    await world.quiet()
    assert author.new() == []


async def test_sweeps_are_sliced(world: World) -> None:
    """Performance 3: 128 writes at most, then whoever else is ready has a turn."""
    clients = await crowd(world, "few:a", 300)
    slices: list[int] = []

    def look() -> None:
        written = sum(bool(client.writes) for client in clients)
        slices.append(written)
        if written < 300:
            asyncio.get_running_loop().call_soon(look)

    world.publish("few:a")
    asyncio.get_running_loop().call_soon(look)
    await world.quiet()
    steps = [later - earlier for earlier, later in pairwise(slices)]
    assert slices[-1] == 300
    assert max(steps) <= 128
    assert len([step for step in steps if step]) == 3


def in_mid_sweep(world: World, clients: list[Client], action: Callable[[], Any]) -> None:
    """Do something once the sweep has reached some of the listeners but not all."""

    def look() -> None:
        written = sum(bool(client.writes) for client in clients)
        if 0 < written < len(clients):
            action()
        else:
            assert written == 0
            asyncio.get_running_loop().call_soon(look)

    asyncio.get_running_loop().call_soon(look)


async def test_who_leaves_in_the_middle_of_a_sweep_gets_nothing_after(world: World, heard: type[Heard]) -> None:
    """UNSUB: the reply to `unsubscribe` is the last that is heard of the channel; the others are not disturbed."""
    clients = await crowd(world, "few:a", 200)
    leaving: list[Client] = []

    def leave() -> None:
        leaving.extend([next(c for c in clients if not c.writes), next(c for c in clients if c.writes)])
        for client in leaving:
            client.ask(f.Unsubscribe, channel="few:a")
            client.new()

    in_mid_sweep(world, clients, leave)
    world.publish("few:a")
    await world.quiet()
    world.publish("few:a")
    await world.quiet()
    assert [client.new() for client in leaving] == [[], []]
    assert all([x.offset for x in c.new(f.Event)] == [1, 2] for c in clients if c not in leaving)


async def test_who_is_lost_in_the_middle_of_a_sweep_disturbs_nobody(world: World) -> None:
    """A socket that is gone is passed over."""
    clients = await crowd(world, "few:a", 200)
    lost: list[Client] = []

    def lose() -> None:
        lost.append(next(c for c in clients if not c.writes))
        lost[0].lose()

    in_mid_sweep(world, clients, lose)
    world.publish("few:a")
    world.publish("few:a")
    await world.quiet()
    assert lost[0].new() == []
    assert all([x.offset for x in c.new(f.Event)] == [1, 2] for c in clients if c is not lost[0])


async def test_who_joins_in_the_middle_of_a_sweep_gets_each_event_once(world: World, heard: type[Heard]) -> None:
    """SUB-11: everything up to its position before, everything after it once."""
    clients = await crowd(world, "few:a", 200)
    late = await world.connect("late")
    epoch = world.log.epoch("few:a")

    def join() -> None:
        world.publish("few:a")  # waits for the end of the sweep
        late.ask(f.Subscribe, channel="few:a", since=f.Position(epoch, 0))

    in_mid_sweep(world, clients, join)
    world.publish("few:a")
    await world.quiet()
    world.publish("few:a")
    await world.quiet()
    assert heard("few:a").take(late.new(), f.Position(epoch, 0)).offsets == [1, 2, 3]
    assert all([x.offset for x in c.new(f.Event)] == [1, 2, 3] for c in clients)


async def test_who_joins_while_events_wait_gets_each_once(world: World, heard: type[Heard]) -> None:
    """The events of this tick are part of the position at which it joins, whether it was told them or not."""
    await world.listener("few:a", "bob")
    client = await world.connect("alice")
    client.ask(f.Subscribe, channel="few:a")
    hub = world.hub
    # The right is asked for and answered in this tick, with three events in the same one.
    for _ in range(3):
        hub.receive([world.log.append("few:a")])
        await asyncio.sleep(0)
    await world.quiet()
    world.publish("few:a")
    await world.quiet()
    told = heard("few:a").take(client.new())
    assert told.offsets
    assert told.position == 4
    assert not told.missed


async def test_a_write_that_fails_costs_nobody_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One broken door must not stop a channel."""
    broken = await world.connect("broken")

    def write(data: bytes) -> None:
        raise RuntimeError("closed under our hands")

    monkeypatch.setattr(broken.connection, "write", write)
    channel = world.hub.open("few:a")
    await world.quiet()
    channel.json[broken.connection] = write
    other = await world.listener("few:a", "bob")
    with capture_logs() as logs:
        for _ in range(2):
            world.publish("few:a")
            await world.quiet()
    assert [x.offset for x in other.new(f.Event)] == [1, 2]
    assert {entry["event"] for entry in logs} == {"a write failed"}
    channel.leave(broken.connection)


async def test_data_without_a_form_in_one_encoding_stops_no_other_channel(world: World) -> None:
    """An integer beyond MessagePack's: the channel's subscriptions end with `internal`, everything else goes on."""
    client = await world.listener("few:a", "alice", MSGPACK)
    await world.listen(client, "few:b")
    with capture_logs() as logs:
        world.publish("few:a", {"n": 2**70})
        await world.quiet()
    assert [entry["event"] for entry in logs] == ["events cannot be sent"]
    (told,) = client.new()
    assert (told.channel, told.code) == ("few:a", "internal")
    world.publish("few:b")
    world.publish("few:a")
    await world.quiet()
    assert [x.channel for x in client.new()] == ["few:b"]
    assert (await world.listen(client, "few:a")).verdict == "new"
    world.publish("few:a")
    await world.quiet()
    assert [x.offset for x in client.new(f.Event)] == [3]


# Listeners that do not keep up


async def test_a_slow_listener_gets_what_its_buffer_holds(world: World) -> None:
    """LIM-5, policy `disconnect`: up to the bound everything is written, in one write per tick."""
    client = await world.listener("few:a")
    client.pause()
    client.waiting = 500_000
    world.publish("few:a")
    await world.quiet()
    assert [x.offset for x in client.new(f.Event)] == [1]


async def test_a_slow_listener_beyond_its_bound_is_dropped(world: World) -> None:
    """LIM-5, policy `disconnect`: at once, without waiting for the close frame to get through; others go on."""
    client, other = await world.listener("few:a"), await world.listener("few:a", "bob")
    await world.listen(client, "few:b")
    before = (metrics.slow_closes, metrics.closes[str(int(CloseCode.SLOW))])
    client.pause()
    client.waiting = world.gateway.max_queued
    world.publish("few:a")
    world.publish("few:b")
    await world.quiet()
    assert client.aborted
    assert client.new() == []
    assert (metrics.slow_closes, metrics.closes[str(int(CloseCode.SLOW))]) == (before[0] + 1, before[1] + 1)
    assert [x.offset for x in other.new(f.Event)] == [1]
    assert client.connection not in world.gateway.connections
    assert not world.hub.channels["few:b"].listeners()


async def test_answers_count_for_the_bound_too(world: World) -> None:
    """LIM-5: a client that asks and does not read is dropped as well."""
    client = await world.connect()
    client.pause()
    client.waiting = world.gateway.max_queued
    client.ask(f.Unsubscribe, channel="few:a")
    assert client.aborted


async def test_policy_gap_skips_and_tells(world: World, heard: type[Heard]) -> None:
    """LIM-5, GAP-3: while too much waits, events are skipped; then one `gap` with reason `slow` says which."""
    client = await world.listener("skip:a", "alice")
    for _ in range(2):
        world.publish("skip:a")
    await world.quiet()
    client.pause()
    world.publish("skip:a")
    await world.quiet()
    assert [x.offset for x in client.new(f.Event)] == [1, 2, 3], "what fits is still written"
    client.waiting = 600_000
    for _ in range(3):
        world.publish("skip:a")
        await world.quiet()
    world.shout("skip:a")
    await world.quiet()
    assert client.new() == []
    gaps = metrics.gaps["slow"]
    client.resume()
    assert client.new() == [f.Gap(channel="skip:a", epoch=world.log.epoch("skip:a"), from_=3, to=6, reason="slow")]
    assert metrics.gaps["slow"] == gaps + 1
    world.publish("skip:a")
    await world.quiet()
    assert [x.offset for x in client.new(f.Event)] == [7]
    client.pause()
    client.resume()
    assert client.new() == []


async def test_a_skipping_listener_hears_of_presence(world: World) -> None:
    """PRES-3: changes of presence are small and never skipped, so that revisions have no holes."""
    client = await world.listener("skip:a", "alice")
    client.new()
    client.pause()
    client.waiting = 600_000
    world.publish("skip:a")
    await world.listener("skip:a", "bob")
    (told,) = client.new()
    assert isinstance(told, f.Presence)


@pytest.mark.parametrize("channel", ["skip:a", "state:a"])
async def test_a_reset_passes_a_listener_that_skips(world: World, heard: type[Heard], channel: str) -> None:
    """GAP-5: what was skipped before is void; the positions told are never of two epochs."""
    client = await world.listener(channel)
    first = world.hub.channels[channel].epoch
    told = heard(channel).take(client.frames())
    client.new()
    client.pause()
    client.waiting = 600_000
    for _ in range(3):
        await world.emit(channel, subject="s")
    await world.quiet()
    world.forget(channel)
    for _ in range(2):
        await world.emit(channel, subject="s")
    await world.quiet()
    client.resume()
    await world.emit(channel)
    await world.quiet()
    told.take(client.new())
    assert told.epochs[0] == first
    assert told.epochs[-1] == world.hub.channels[channel].epoch != first
    assert told.position == 3
    assert told.offsets[-1] == 3


async def test_a_resume_before_a_reset_is_told_tells_the_old_epoch(world: World, heard: type[Heard]) -> None:
    """GAP-1: a gap of skipped events is of the epoch in which they were skipped."""
    client = await world.listener("skip:a")
    told = heard("skip:a").take(client.frames())
    client.new()
    client.pause()
    client.waiting = 600_000
    world.publish("skip:a")
    await world.quiet()
    world.log.renew("skip:a")
    world.publish("skip:a")

    # The log has been read and the reset stands in `pending`, when the socket reads again.
    await world.until(lambda: world.hub.channels["skip:a"].epoch == world.log.epoch("skip:a"))
    client.resume()
    await world.quiet()
    told.take(client.new())
    assert told.epoch == world.log.epoch("skip:a")
    assert told.offsets == [1]


async def test_policy_latest_keeps_the_newest_per_subject(world: World, heard: type[Heard]) -> None:
    """GAP-4, EVENT-4: on the way back the newest event of each subject, in order, and gaps for the others."""
    client = await world.listener("state:a")
    told = heard("state:a").take(client.frames())
    await world.emit("state:a", subject="cpu")
    await world.quiet()
    told.take(client.new())
    client.pause()
    for subject in ("cpu", "disk", "cpu", None, "net", None, "cpu"):
        await world.emit("state:a", subject=subject)
    await world.quiet()
    assert client.new() == []
    client.resume()
    frames = client.new()
    told.take(frames)
    assert [(x.offset, x.subject) for x in frames if isinstance(x, f.Event)] == [
        (3, "disk"),
        (6, "net"),
        (7, None),
        (8, "cpu"),
    ]
    assert [(x.from_, x.to) for x in frames if isinstance(x, f.Gap)] == [(1, 2), (3, 5)]
    assert {x.reason for x in frames if isinstance(x, f.Gap)} == {"slow"}
    assert told.position == 8
    await world.emit("state:a", subject="cpu")
    await world.quiet()
    assert told.take(client.new()).position == 9


async def test_catching_up_on_one_channel_may_pause_again(world: World, heard: type[Heard]) -> None:
    """A slow listener of two channels: the first backlog fills the socket, the second keeps waiting."""
    client = await world.listener("skip:a")
    await world.listen(client, "skip:b")
    told = {name: heard(name).take(client.frames()) for name in ("skip:a", "skip:b")}
    client.pause()
    client.waiting = 600_000
    for name in told:
        world.publish(name)
    await world.quiet()
    client.new()
    client.pause_at = 1
    client.resume()
    assert [x.channel for x in client.new()] == ["skip:a"]
    assert client.connection.slow
    client.waiting = 600_000
    for name in told:
        world.publish(name)
    await world.quiet()
    client.resume()
    await world.quiet()
    frames = client.frames()
    for listener in told.values():
        listener.take(frames[frames.index(next(x for x in frames if isinstance(x, f.Gap))) :])
        assert (listener.position, listener.offsets) == (2, [])


async def test_who_becomes_slow_by_its_own_write_gets_the_batch_once(world: World) -> None:
    """EVENT-1: the sender's own bytes are written apart from the sweep; pausing there is not a second listener."""
    client = await world.listener(LOBBY, "alice")
    client.new()
    client.pause_at = 1
    world.publish(LOBBY, user="alice", key="alices-key")
    await world.quiet()
    assert client.connection.slow
    assert [x.offset for x in client.new(f.Event)] == [1]


async def test_a_slow_listener_that_joins_is_slow_from_the_start(world: World, heard: type[Heard]) -> None:
    """A connection whose socket is full subscribes: it goes by the channel's policy at once."""
    client = await world.connect()
    client.pause()
    client.waiting = 600_000
    await world.listen(client, "skip:a")
    world.publish("skip:a")
    await world.quiet()
    assert client.new(f.Event) == []
    client.resume()
    assert [(x.from_, x.to) for x in client.new(f.Gap)] == [(0, 1)]


async def test_options_do_not_change_what_is_sent(make_world: MakeWorld) -> None:
    """The bound is the operator's."""
    world = await make_world(queued=10_000)
    client = await world.listener("few:a")
    client.pause()
    client.waiting = 9_900
    world.publish("few:a")
    await world.quiet()
    assert client.aborted
