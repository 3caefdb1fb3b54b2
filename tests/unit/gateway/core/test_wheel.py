"""The timer wheel: one timer for everybody's turns, never late by more than a step."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backchannel.gateway.wheel import Wheel

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import VirtualLoop


class Turner:
    """Stands for a connection on the wheel, and remembers its turns."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.slot = -1
        self.gone = False
        self.turns: list[float] = []


def turn(turner: Any) -> float:
    turner.turns.append(asyncio.get_running_loop().time())
    every: float = turner.every
    return every


def virtual() -> VirtualLoop:
    loop: Any = asyncio.get_running_loop()
    found: VirtualLoop = loop
    return found


@pytest.mark.parametrize("step", [0.02, 1.0])
@pytest.mark.parametrize("steps", [1.0, 1.5, 2.99, 10.0, 63.0])
async def test_a_turn_comes_a_step_early_rather_than_late(step: float, steps: float) -> None:
    """However short pings are: a wish of n steps is fulfilled within it, at most one step before."""
    wheel = Wheel(virtual(), step, turn)
    wheel.start()
    await asyncio.sleep(step * 0.37)
    turner: Any = Turner(steps * step)
    began = virtual().time()
    wheel.put(turner, turner.every)
    await asyncio.sleep(step * 200)
    wheel.stop()
    times = [began, *turner.turns]
    spans = [(later - earlier) / step for earlier, later in pairwise(times)]
    assert max(spans) <= steps + 1e-6
    assert min(spans[1:]) >= int(steps) - 1e-6
    assert spans[0] > steps - 2


async def test_a_wish_beyond_one_round_comes_after_a_round() -> None:
    """Early, and then again: the turn decides what is due."""
    wheel = Wheel(virtual(), 1.0, turn)
    wheel.start()
    turner: Any = Turner(1000.0)
    wheel.put(turner, 1000.0)
    await asyncio.sleep(130.0)
    wheel.stop()
    assert len(turner.turns) == 2


async def test_a_busy_loop_is_made_up_for() -> None:
    """Time that a callback took does not make all later turns late."""
    wheel = Wheel(virtual(), 1.0, turn)
    wheel.start()
    turner: Any = Turner(-1.0)
    wheel.put(turner, 10.0)
    began = virtual().time()
    for _ in range(4):
        await asyncio.sleep(0.1)
        virtual().pass_time(1.9)
    await asyncio.sleep(10.0)
    wheel.stop()
    assert turner.turns[0] - began <= 10.0


async def test_who_wants_no_turn_or_is_gone_gets_none() -> None:
    """A negative wish; a connection that was lost; one that was taken off."""
    wheel = Wheel(virtual(), 1.0, turn)
    wheel.start()
    never: Any = Turner(-1.0)
    gone: Any = Turner(2.0)
    off: Any = Turner(2.0)
    for turner in (never, gone, off):
        wheel.put(turner, 2.0)
    wheel.remove(off)
    gone.gone = True
    await asyncio.sleep(20.0)
    wheel.stop()
    assert (len(never.turns), len(gone.turns), len(off.turns)) == (1, 1, 0)
    assert not any(wheel._slots)


async def test_a_second_wish_replaces_the_first() -> None:
    """One connection has one turn."""
    wheel = Wheel(virtual(), 1.0, turn)
    wheel.start()
    turner: Any = Turner(-1.0)
    wheel.put(turner, 3.0)
    wheel.put(turner, 6.0)
    await asyncio.sleep(20.0)
    wheel.stop()
    assert len(turner.turns) == 1


async def test_what_a_turn_does_to_others_of_its_slot() -> None:
    """Taken off, or given another turn, by the turn of one before: each has one turn and leaves nothing behind."""
    turners: list[Any] = [Turner(-1.0) for _ in range(3)]

    def meddle(turner: Any) -> float:
        turn(turner)
        first, second = (other for other in turners if other is not turner)
        if not first.turns and not second.turns:
            wheel.remove(first)
            wheel.put(second, 5.0)
        return -1.0

    wheel = Wheel(virtual(), 1.0, meddle)
    wheel.start()
    for turner in turners:
        wheel.put(turner, 2.0)
    await asyncio.sleep(20.0)
    wheel.stop()
    assert sorted(len(turner.turns) for turner in turners) == [0, 1, 1]
    assert not any(wheel._slots)


async def test_a_turn_that_fails_costs_nobody_else_theirs() -> None:
    """A bug in one connection must not stop the pings of the others."""

    def fail(turner: Any) -> float:
        turn(turner)
        if turner.every == 1.0:
            raise RuntimeError("boom")
        return -1.0

    wheel = Wheel(virtual(), 1.0, fail)
    wheel.start()
    broken: Any = Turner(1.0)
    others: list[Any] = [Turner(2.0) for _ in range(5)]
    for turner in (broken, *others):
        wheel.put(turner, 3.0)
    with capture_logs() as logs:
        await asyncio.sleep(4.0)
    wheel.stop()
    assert all(len(other.turns) == 1 for other in others)
    assert {entry["event"] for entry in logs} == {"a turn failed"}


async def test_it_stands_still_when_stopped() -> None:
    """No timer is left."""
    wheel = Wheel(virtual(), 1.0, turn)
    wheel.start()
    wheel.stop()
    wheel.stop()
    assert virtual().timers() == 0
