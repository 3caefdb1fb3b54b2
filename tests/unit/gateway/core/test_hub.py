"""The hub: offset order without holes, whatever the broker brings and whatever the log still has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backchannel.gateway import hub as hub_module
from backchannel_protocol import Codec, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Heard, MakeWorld, World


def offsets(frames: list[Any]) -> list[int | None]:
    return [x.offset for x in frames if isinstance(x, f.Event)]


async def test_a_repeated_event_is_dropped(world: World) -> None:
    """Events may arrive twice; each is heard once."""
    client = await world.listener("few:a")
    first, second = (world.log.append("few:a") for _ in range(2))
    world.hub.receive([first, first, second, first])
    await world.quiet()
    world.hub.receive([second])
    await world.quiet()
    assert offsets(client.new()) == [1, 2]


async def test_an_early_event_waits_for_those_before_it(world: World) -> None:
    """50 ms of patience: what arrives within them costs no read of the log."""
    client = await world.listener("few:a")
    first, second, third = (world.log.append("few:a") for _ in range(3))
    world.hub.receive([third])
    await world.quiet()
    assert client.new() == []
    reads = world.log.reads
    world.hub.receive([second, first])
    await world.quiet()
    assert offsets(client.new()) == [1, 2, 3]
    await world.after(0.2)
    assert world.log.reads == reads


async def test_a_lost_event_is_read_from_the_log(world: World) -> None:
    """After the patience, by one read."""
    client = await world.listener("few:a")
    for _ in range(2):
        world.log.append("few:a")
    world.hub.receive([world.log.append("few:a")])
    await world.after(0.06)
    assert offsets(client.new()) == [1, 2, 3]


async def test_the_patience_is_one_timer_per_channel(world: World) -> None:
    """Events out of order, again and again, do not pile up timers or reads."""
    await world.listener("few:a")
    timers = world.loop.timers()  # type: ignore[attr-defined]
    for _ in range(50):
        first, second = world.log.append("few:a"), world.log.append("few:a")
        world.hub.receive([second, first])
    assert world.loop.timers() == timers + 1  # type: ignore[attr-defined]


async def test_what_nobody_has_is_told_as_a_gap(world: World) -> None:
    """GAP-3: an event that neither broker nor log brings; the stream goes on behind it."""
    client = await world.listener("few:a")
    epoch = world.log.epoch("few:a")
    for _ in range(4):
        world.log.append("few:a")
    world.log.visible["few:a"] = 1
    world.hub.receive([world.log.events["few:a"][2], world.log.events["few:a"][3]])
    with capture_logs() as logs:
        await world.after(1.0)
    frames = client.new()
    assert offsets(frames) == [1, 3, 4]
    assert [x for x in frames if isinstance(x, f.Gap)] == [
        f.Gap(channel="few:a", epoch=epoch, from_=1, to=2, reason="trimmed")
    ]
    assert [x["event"] for x in logs] == ["events are missing from the log"]


async def test_a_log_that_lags_is_asked_again(world: World) -> None:
    """A replica that is behind for a moment costs no gap."""
    client = await world.listener("few:a")
    for _ in range(3):
        world.log.append("few:a")
    world.log.visible["few:a"] = 0
    world.hub.receive([world.log.events["few:a"][2]])
    await world.after(0.07)
    assert client.new() == []
    del world.log.visible["few:a"]
    await world.after(0.1)
    assert offsets(client.new()) == [1, 2, 3]


async def test_trimmed_events_are_told_as_a_gap(world: World) -> None:
    """GAP-3: `trimmed`; what is still there follows."""
    client = await world.listener("few:a")
    for _ in range(4):
        world.log.append("few:a")
    world.log.trim("few:a", 4)
    world.hub.receive([world.log.append("few:a")])
    await world.after(0.1)
    frames = client.new()
    assert [(x.from_, x.to, x.reason) for x in frames if isinstance(x, f.Gap)] == [(0, 3, "trimmed")]
    assert offsets(frames) == [4, 5]


async def test_an_early_event_behind_a_wholly_trimmed_log_follows_at_once(world: World) -> None:
    """Nothing that came waits for a second look where nothing is left to wait for."""
    client = await world.listener("few:a")
    for _ in range(3):
        world.log.append("few:a")
    world.log.trim("few:a", 4)
    late = world.log.append("few:a")
    world.log.visible["few:a"] = 3
    world.hub.receive([late])
    await world.after(0.06)
    frames = client.new()
    assert [(x.from_, x.to) for x in frames if isinstance(x, f.Gap)] == [(0, 3)]
    assert offsets(frames) == [4]


@pytest.mark.parametrize("channel", ["few:a", "live:a"])
async def test_a_new_epoch_begins_with_a_reset(world: World, channel: str, heard: type[Heard]) -> None:
    """GAP-5, GAP-6: before its first event, with the offsets of the new epoch."""
    client = await world.listener(channel)
    told = heard(channel).take(client.frames())
    await world.emit(channel)
    await world.quiet()
    told.take(client.new())
    world.forget(channel)
    for _ in range(3):
        await world.emit(channel)
    await world.quiet()
    frames = client.new()
    epoch = world.hub.channels[channel].epoch
    assert frames[0] == f.Gap(channel=channel, epoch=epoch, from_=0, to=0, reason="reset")
    told.take(frames)
    assert (told.epoch, told.offsets, len(told.epochs)) == (epoch, [1, 2, 3], 2)


async def test_a_long_new_log_is_skipped_by_the_reset(world: World, heard: type[Heard]) -> None:
    """After a restore every channel has a new epoch: the clients load snapshots, not whole logs."""
    client = await world.listener("few:a")
    told = heard("few:a").take(client.frames())
    client.new()
    world.log.renew("few:a")
    for _ in range(500):
        world.log.append("few:a")
    world.publish("few:a")
    await world.quiet()
    frames = client.new()
    assert [(x.from_, x.to, x.reason) for x in frames] == [(0, 501, "reset")]
    world.publish("few:a")
    await world.quiet()
    assert told.take([*frames, *client.new()]).offsets == [502]


async def test_an_event_of_an_old_epoch_changes_nothing(world: World) -> None:
    """A straggler from before the reset is not heard and resets nothing."""
    client = await world.listener("few:a")
    straggler = world.publish("few:a")
    await world.quiet()
    world.forget("few:a")
    world.publish("few:a")
    await world.quiet()
    client.new()
    world.hub.receive([straggler])
    await world.quiet()
    assert client.new() == []
    world.publish("few:a")
    await world.quiet()
    assert offsets(client.new()) == [2]


async def test_an_event_that_comes_while_the_log_is_read_is_not_forgotten(world: World) -> None:
    """The read that a new epoch caused may not have seen the newest event yet: the log is read again."""
    client = await world.listener("few:a")
    world.forget("few:a")
    for _ in range(200):
        world.log.append("few:a")
    world.publish("few:a")
    world.log.gate = asyncio.Event()
    reads = world.log.reads
    await world.until(lambda: world.log.reads > reads)
    world.publish("few:a")
    await world.until(lambda: not world.broker._queue)
    world.log.gate.set()
    await world.quiet()
    gap, event = client.new()
    assert (gap.reason, gap.to, event.offset) == ("reset", 201, 202)


async def test_a_slow_read_does_not_bring_an_old_epoch_back(world: World, heard: type[Heard]) -> None:
    """Two reads, of which the one that was asked first, of the old log, is answered last."""
    client = await world.listener("few:a")
    told = heard("few:a").take(client.frames())
    world.publish("few:a")
    await world.quiet()
    told.take(client.new())
    channel = world.hub.channels["few:a"]
    world.log.gate = slow = asyncio.Event()
    late = asyncio.create_task(world.hub.pull(channel, 0))
    reads = world.log.reads
    await world.until(lambda: world.log.reads > reads)
    world.forget("few:a")
    world.log.gate = None
    world.publish("few:a")
    await world.quiet()
    slow.set()
    await late
    await world.quiet()
    world.publish("few:a")
    await world.quiet()
    told.take(client.new())
    assert (len(told.epochs), told.offsets) == (2, [1, 2])


async def test_a_log_that_cannot_be_read_is_read_again(world: World) -> None:
    """A store that is down for a while delays events and loses none."""
    client = await world.listener("few:a")
    world.log.append("few:a")
    world.log.failure = Refused("unavailable", "The database is away.")
    with capture_logs() as logs:
        world.hub.receive([world.log.append("few:a")])
        await world.after(1.5)
    assert {x["event"] for x in logs} == {"cannot read a log"}
    assert client.new() == []
    world.log.failure = None
    await world.after(1.0)
    assert offsets(client.new()) == [1, 2]


async def test_heads_are_compared(world: World) -> None:
    """Every 2 s: an event that the broker lost without a successor arrives all the same, and a new epoch is noticed."""
    client = await world.listener("few:a")
    world.log.append("few:a")
    await world.after(2.1)
    assert offsets(client.new()) == [1]
    world.forget("few:a")
    world.log.append("few:a")
    await world.after(2.1)
    frames = client.new()
    assert [x.reason for x in frames if isinstance(x, f.Gap)] == ["reset"]
    assert offsets(frames) == [1]


async def test_a_bus_that_was_lost_costs_nothing(world: World) -> None:
    """`on_lost`: every channel that has a log is compared with it at once, live ones too."""
    client = await world.listener("few:a")
    await world.listen(client, "live:a")
    world.broker._listening.clear()
    world.publish("few:a")
    await world.emit("live:a")
    await world.quiet()
    assert client.new() == []
    world.hub._lost()
    await world.quiet()
    assert sorted(x.channel for x in client.new(f.Event)) == ["few:a", "live:a"]


async def test_a_channel_is_listened_to_for_a_while_after_its_last_listener(world: World) -> None:
    """30 s: who reloads the page finds the channel in memory; then it is let go of, and comes back when wanted."""
    client = await world.listener("few:a")
    client.ask(f.Unsubscribe, channel="few:a")
    await world.after(29.0)
    assert "few:a" in world.hub.channels
    await world.after(4.0)
    assert "few:a" not in world.hub.channels
    assert "few:a" not in world.broker._listening
    world.publish("few:a")
    assert (await world.listen(client, "few:a")).offset == 1
    await world.after(60.0)
    assert "few:a" in world.hub.channels


@pytest.mark.parametrize("resumes", [True, False])
async def test_events_that_come_while_the_position_is_asked_for_are_heard_once(
    world: World, heard: type[Heard], resumes: bool
) -> None:
    """Listen, then read the head: whatever lies between is placed by the log."""
    client = await world.connect()
    world.log.append("skip:a")
    world.log.gate = asyncio.Event()
    since = f.Position(world.log.epoch("skip:a"), 0) if resumes else None
    request_id = client.ask(f.Subscribe, channel="skip:a", since=since)
    await world.until(lambda: "skip:a" in world.broker._listening)
    await world.quiet()
    for _ in range(2):
        world.publish("skip:a")
    await world.quiet()
    world.log.gate.set()
    await world.quiet()
    assert client.answer(request_id).verdict == ("recovered" if resumes else "new")
    told = heard("skip:a").take(client.frames(), since)
    assert (told.position, told.missed) == (3, [])
    assert told.offsets == ([1, 2, 3] if resumes else [])


async def test_a_channel_that_cannot_be_listened_to_is_tried_again(world: World) -> None:
    """The refusal is `unavailable`; the next wish begins anew."""
    client = await world.connect()
    world.log.failure = RuntimeError("boom")
    with capture_logs() as logs:
        assert (await world.listen(client, "few:a")).code == "unavailable"
    assert [x["event"] for x in logs] == ["cannot listen"]
    world.log.failure = None
    assert (await world.listen(client, "few:a")).verdict == "new"


async def test_a_store_that_does_not_answer_makes_the_gateway_unready_then_deaf(world: World) -> None:
    """Positions that cannot be compared for 5 s: unready. For 30 s: durable subscriptions end, live ones go on."""
    client = await world.listener("few:a")
    await world.listen(client, "live:a")
    world.log.failure = Refused("unavailable", "The database is away.")
    with capture_logs():
        await world.after(6.0)
        assert world.gateway.readiness() == {"store": "it does not tell where the logs stand"}
        assert client.new() == []
        await world.after(20.0)
        await world.after(8.0)
        ended = {(x.channel, x.code) for x in client.new(f.Unsubscribed)}
        assert ended == {("few:a", "unavailable"), ("user:alice", "unavailable")}
        assert (await world.listen(client, "few:a")).code == "unavailable"
        await world.emit("live:a")
        await world.quiet()
        assert offsets(client.new()) == [1]
    world.log.failure = None
    await world.after(2.1)
    assert world.gateway.readiness() == {}
    assert (await world.listen(client, "few:a")).verdict == "new"


async def test_a_store_that_hangs_is_noticed_too(world: World) -> None:
    """Whether it fails or hangs."""
    world.log.gate = asyncio.Event()
    with capture_logs() as logs:
        await world.after(6.0)
    assert {x["event"] for x in logs} == {"cannot compare positions"}
    assert "store" in world.gateway.readiness()


async def test_nothing_runs_on_when_the_hub_is_closed(make_world: MakeWorld) -> None:
    """No task is left behind."""
    world = await make_world()
    await world.listener("chat:a")
    world.log.gate = asyncio.Event()
    client = await world.connect("bob")
    client.ask(f.Subscribe, channel="few:b")
    await world.quiet()
    await world.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_closed_hub_does_not_try_again(make_world: MakeWorld) -> None:
    """A log that could not be read is not asked any more once the hub is closed."""
    world = await make_world()
    await world.listener("chat:a")
    world.log.failure = OSError("The log is gone.")
    world.log.append("chat:a")
    world.publish("chat:a")
    await world.after(0.1)
    await world.close()
    reads = world.log.reads
    await world.after(10.0)
    assert world.log.reads == reads


def test_the_bounds_are_those_of_the_design() -> None:
    """A deaf gateway knows within 5 s, and ends what it cannot vouch for within 30 s and a comparison."""
    assert hub_module._COMPARE_EVERY + hub_module._COMPARE_TIMEOUT <= hub_module._UNREADY_AFTER == 5.0
    assert hub_module._BLIND_AFTER == 30.0


async def test_both_encodings_listen_side_by_side(world: World, codec: Codec) -> None:
    """Every frame of the hub has both forms: event, gap, presence."""
    client = await world.listener("chat:a", "alice", codec)
    world.publish("chat:a", {"x": "ü"})
    world.shout("chat:a", user="bob")
    await world.quiet()
    world.forget("chat:a")
    world.publish("chat:a")
    await world.quiet()
    kinds = [type(x) for x in client.frames()]
    assert kinds == [f.Connected, f.Subscribed, f.Subscribed, f.Presence, f.Event, f.Event, f.Gap, f.Event]
