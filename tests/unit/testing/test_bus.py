"""Faults between the publisher and the hubs, and how hubs make them good."""

from __future__ import annotations

import asyncio
import random

import pytest

from backchannel.testing import Fault, Sandbox, SandboxClient


async def publish(client: SandboxClient, channel: str, *numbers: int) -> None:
    """One event after another, on a durable or a live channel."""
    for number in numbers:
        if channel.startswith("feed:"):
            await client.publish(channel, "note.written", {"text": str(number)})
        else:
            await client.call("note.write", {"channel": channel, "text": str(number)})


CHANNELS = pytest.mark.parametrize("channel", ["board:b", "feed:f"])


@CHANNELS
async def test_a_lost_event_is_found_in_the_log(sandbox: Sandbox, channel: str) -> None:
    """The next one shows the hole, the hub waits a moment, reads the log, and the order is kept."""
    alice = await sandbox.client("alice")
    async with alice.subscribe(channel) as sub:
        fault = sandbox.broker.drop(channel=channel)
        await publish(alice, channel, 1, 2)
        began = sandbox.now
        assert [(await anext(sub)).offset for _ in range(2)] == [1, 2]
        assert 0 < sandbox.now - began <= 60
    assert [envelope.offset for envelope in fault.struck] == [1]
    assert fault.over


async def test_the_last_event_is_missed_for_two_seconds_at_most(sandbox: Sandbox) -> None:
    """Where no other follows, the comparison with the store's heads finds it."""
    alice = await sandbox.client("alice")
    async with alice.subscribe("board:b") as sub:
        sandbox.broker.drop()
        await publish(alice, "board:b", 1)
        began = sandbox.now
        assert (await anext(sub)).offset == 1
        assert sandbox.now - began <= 2000


@CHANNELS
@pytest.mark.parametrize("kind", ["drop", "duplicate", "reorder", "delay"])
async def test_whatever_befalls_events_the_order_is_kept(sandbox: Sandbox, channel: str, kind: str) -> None:
    """None missing, none twice, at any rate of faults."""
    alice = await sandbox.client("alice", timeout=300.0)
    broker = sandbox.broker
    async with alice.subscribe(channel) as sub:
        fault = broker.delay(0.3, None, rate=0.4) if kind == "delay" else getattr(broker, kind)(None, rate=0.4)
        await asyncio.gather(*(publish(alice, channel, number) for number in range(100)))
        await sandbox.advance(5)
        assert fault.struck
        broker.calm()
        await publish(alice, channel, 100)
        assert [(await anext(sub)).offset for _ in range(101)] == list(range(1, 102))


async def test_a_reordered_event_is_overtaken_by_the_next_of_its_channel(sandbox: Sandbox) -> None:
    """Ephemeral events show what really arrives: they have no offsets that a hub could put right."""
    alice = await sandbox.client("alice")
    heard: list[str] = []
    async with alice.subscribe("feed:f") as sub, alice.subscribe("feed:g") as other:
        sandbox.broker.reorder(channel="feed:f")
        for channel, text in (("feed:f", "1"), ("feed:g", "x"), ("feed:f", "2"), ("feed:f", "3")):
            await alice.publish(channel, "hint.given", {"text": text})
        heard += [(await anext(sub)).data["text"] for _ in range(3)]
        assert (await anext(other)).data == {"text": "x"}
        sandbox.broker.reorder()
        began = sandbox.now
        await alice.publish("feed:f", "hint.given", {"text": "4"})
        heard.append((await anext(sub)).data["text"])
        assert sandbox.now - began == 100
    assert heard == ["2", "1", "3", "4"]


async def test_a_duplicate_and_a_drop_are_seen_where_nothing_can_mend_them(sandbox: Sandbox) -> None:
    """An ephemeral event that is dropped never comes, one that is doubled comes twice, one that is late comes late."""
    alice = await sandbox.client("alice")
    async with alice.subscribe("feed:f") as sub:
        sandbox.broker.drop()
        sandbox.broker.duplicate()
        sandbox.broker.delay(3.0)
        for text in ("dropped", "doubled", "late", "sound"):
            await alice.publish("feed:f", "hint.given", {"text": text})
        assert [(await anext(sub)).data["text"] for _ in range(4)] == ["doubled", "doubled", "sound", "late"]


async def test_a_lost_bus_is_told_and_made_good(sandbox: Sandbox) -> None:
    """While it is lost nothing arrives by it; when it is back, gateways compare their positions with the logs."""
    alice = await sandbox.client("alice")
    async with alice.subscribe("feed:f") as sub:
        sandbox.broker.lose(30.0)
        await publish(alice, "feed:f", 1, 2, 3)
        hearing = asyncio.create_task(anext(sub))
        await sandbox.advance(29)
        assert not hearing.done()
        await sandbox.advance(2)
        assert (await hearing).offset == 1
        assert [(await anext(sub)).offset for _ in range(2)] == [2, 3]
        await publish(alice, "feed:f", 4)
        assert (await anext(sub)).offset == 4


async def test_publishing_twice_with_one_key_is_seen_once(sandbox: Sandbox) -> None:
    """What the bus carried is told as it was published."""
    alice = await sandbox.client("alice")
    for _ in range(2):
        await alice.publish("feed:f", "tick.told", {"n": 1}, key="the-same-key")
    assert [event.offset for event in sandbox.events("feed:f")] == [1]


@pytest.mark.parametrize("wrong", [{"count": 0}, {"rate": 0.0}, {"rate": 1.5}, {"count": -1}])
async def test_a_fault_that_makes_no_sense_is_refused(sandbox: Sandbox, wrong: dict[str, float]) -> None:
    """The message tells the bounds."""
    with pytest.raises(ValueError, match="at least 1 message"):
        sandbox.broker.drop(**wrong)  # type: ignore[arg-type]


def test_a_rate_is_a_share() -> None:
    """About as many are befallen as the rate says, never more than the count, and none after the end."""
    fault: Fault[int] = Fault(lambda number: number % 2 == 0, count=None, rate=0.25, chance=random.Random(1))
    struck = [number for number in range(10_000) if fault.strikes(number)]
    assert struck == fault.struck
    assert all(number % 2 == 0 for number in struck)
    assert 1100 < len(struck) < 1400
    fault.end()
    assert not any(fault.strikes(number) for number in range(1000))
    some: Fault[int] = Fault(lambda number: True, count=3, rate=1.0, chance=random.Random(1))
    assert [number for number in range(10) if some.strikes(number)] == [0, 1, 2]
