"""Virtual time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from backchannel.testing import Stuck, VirtualLoop, run
from backchannel.testing.loop import EPOCH, PATIENCE, spawned_by


def loop() -> VirtualLoop:
    found = asyncio.get_running_loop()
    assert isinstance(found, VirtualLoop)
    return found


def test_a_year_takes_no_time() -> None:
    """Sleeping moves the clock and does not wait; both clocks tell it."""

    async def main() -> tuple[float, float, int]:
        start = loop().time()
        await loop().advance(365 * 86_400.0)
        return loop().time() - start, loop().wall(), loop().milliseconds()

    began = time.process_time()
    assert run(main) == (365 * 86_400.0, EPOCH + 365 * 86_400.0, (EPOCH + 365 * 86_400) * 1000)
    assert time.process_time() - began < 1


def test_timers_come_in_the_order_of_their_instants() -> None:
    """Whatever order they were made in; each sees the clock at its own instant, to the nanosecond."""

    async def main() -> list[float]:
        seen: list[float] = []
        start = loop().time()
        for delay in (0.3, 0.1, 2.0, 0.2):
            loop().call_later(delay, lambda: seen.append(round(loop().time() - start, 9)))
        await loop().advance(1.0)
        assert seen == [0.1, 0.2, 0.3]
        await loop().advance(1.0)
        return seen

    assert run(main) == [0.1, 0.2, 0.3, 2.0]


def test_no_time_passes_while_something_is_ready() -> None:
    """A chain of callbacks, however long, happens in one instant; `settle` waits for all of it."""

    async def main() -> None:
        left = 1000
        start = loop().time()

        def step() -> None:
            nonlocal left
            left -= 1
            if left:
                loop().call_soon(step)

        loop().call_later(0.001, pytest.fail, "settling must not let time pass")
        step()
        await loop().settle()
        assert left == 0
        assert loop().time() == start

    run(main)


def test_advance_runs_everything_that_is_due() -> None:
    """Also what is due in the very last instant, and what that causes."""

    async def main() -> list[str]:
        seen: list[str] = []
        loop().call_later(5.0, lambda: loop().call_soon(lambda: loop().call_soon(seen.append, "caused")))
        loop().call_later(5.1, seen.append, "too late")
        await loop().advance(5.0)
        return seen

    assert run(main) == ["caused"]


def test_time_does_not_run_backwards() -> None:
    """A negative span is a mistake."""
    with pytest.raises(ValueError, match="backwards"):
        run(lambda: loop_advance(-1.0))


async def loop_advance(seconds: float) -> None:
    await loop().advance(seconds)


def test_a_small_step_after_a_long_time_still_moves_the_clock() -> None:
    """Rounding never makes a timer come early, and never makes the loop spin: ten years in, a nanosecond counts."""

    async def main() -> None:
        await loop().advance(10 * 365 * 86_400.0)
        for _ in range(100):
            before = loop().time()
            await asyncio.sleep(1e-9)
            assert loop().time() >= before
        before = loop().time()
        await asyncio.sleep(0.25)
        assert loop().time() - before >= 0.25

    run(main)


def test_what_nothing_will_bring_fails_at_once() -> None:
    """Without a timer and a callback there is nothing to wait for."""

    async def main() -> None:
        await loop().create_future()

    with pytest.raises(Stuck, match="nothing will bring"):
        run(main)


def test_what_never_comes_fails_in_the_end() -> None:
    """Where something always happens, a test that waits for something else fails after some virtual hours."""

    async def main() -> None:
        def tick() -> None:
            loop().call_later(100.0, tick)

        tick()
        await loop().create_future()

    with pytest.raises(Stuck, match="use `advance`"):
        run(main)


def test_running_in_circles_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where callbacks cause each other for ever, time never passes; that is told, too."""
    monkeypatch.setattr("backchannel.testing.loop._CIRCLES", 1000)

    async def main() -> None:
        def circle() -> None:
            loop().call_soon(circle)

        circle()
        await asyncio.sleep(1.0)

    with pytest.raises(Stuck, match="circles"):
        run(main)


def test_advance_may_take_longer_than_patience() -> None:
    """What is asked for is no sign of being stuck."""

    async def main() -> None:
        await loop().advance(3 * PATIENCE)
        await asyncio.sleep(PATIENCE - 1)

    run(main)


def test_the_clock_stands_still_while_a_thread_works() -> None:
    """A timer of a second does not overtake a thread that works for a moment."""

    async def main() -> None:
        start = loop().time()
        hurry = loop().call_later(1.0, pytest.fail, "time passed while the thread worked")
        go = threading.Event()
        loop().call_soon(go.set)
        assert await asyncio.to_thread(go.wait, 10.0)
        assert loop().time() == start
        hurry.cancel()

    run(main)


def test_other_threads_can_wake_the_loop() -> None:
    """`call_soon_threadsafe` works from a thread of the executor, as everywhere."""

    async def main() -> int:
        heard: asyncio.Future[int] = loop().create_future()
        this = loop()
        await asyncio.to_thread(lambda: this.call_soon_threadsafe(heard.set_result, 7))
        return await heard

    assert run(main) == 7


def test_what_the_function_raises_is_raised() -> None:
    """`run` returns what the function returns and raises what it raises."""

    async def main() -> None:
        await asyncio.sleep(1.0)
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        run(main)


def test_tasks_are_told_to_whoever_asked() -> None:
    """Those made in the context and those made by them or by its callbacks, and no others."""

    async def main() -> list[str]:
        told: list[asyncio.Task[Any]] = []
        context = spawned_by(told.append)

        async def child() -> None:
            loop().call_soon(lambda: loop().create_task(asyncio.sleep(0), name="grandchild"))

        context.run(lambda: loop().create_task(child(), name="child"))
        other = loop().create_task(asyncio.sleep(0), name="other")
        await loop().settle()
        await other
        return [task.get_name() for task in told]

    assert run(main) == ["child", "grandchild"]
