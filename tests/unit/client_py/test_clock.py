from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backchannel_client.clock import LoopClock, sleep, within

if TYPE_CHECKING:
    from tests.unit.client_py.conftest import FakeClock


async def test_sleep_ends_with_its_time_and_leaves_no_timer(clock: FakeClock) -> None:
    """Also when it is cancelled."""
    sleeping = asyncio.create_task(sleep(clock, 3))
    await clock.elapse(3)
    await sleeping
    sleeping = asyncio.create_task(sleep(clock, 3))
    await clock.armed(3)
    sleeping.cancel()
    await asyncio.wait([sleeping])
    assert clock.delays() == []


async def test_within_cancels_what_takes_too_long(clock: FakeClock) -> None:
    """TimeoutError, and the work is cancelled; work in time gives its result."""
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(within(clock, 2, never))
    await clock.elapse(2)
    with pytest.raises(TimeoutError):
        await waiting
    assert never.cancelled()
    assert await within(clock, 2, asyncio.sleep(0, "done")) == "done"
    assert await within(clock, None, asyncio.sleep(0, "done")) == "done"
    assert clock.delays() == []


@pytest.mark.parametrize("late_first", [False, True])
async def test_within_passes_a_cancellation_on(clock: FakeClock, late_first: bool) -> None:
    """Whoever cancels meets CancelledError and not a time-out, even when both come together."""
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(within(clock, 2, never))
    await clock.armed(2)
    if late_first:
        clock.advance(2)
    waiting.cancel()
    clock.advance(2)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert never.cancelled()


async def test_the_loop_is_a_clock() -> None:
    """The default lives by the running loop."""
    clock = LoopClock()
    before = clock.time()
    await sleep(clock, 0)
    assert clock.time() >= before
