"""Time as the client sees it, so that tests can own it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

__all__ = ["Clock", "LoopClock", "Timer", "sleep", "within"]

T = TypeVar("T")


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None:
        """Do not let it happen. Harmless afterwards."""


class Clock(Protocol):
    """Monotonic seconds and timers."""

    def time(self) -> float:
        """Seconds since some fixed moment."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call `callback` from the event loop after `delay` seconds."""


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait. Cancelling drops the timer."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    timer = clock.call_later(seconds, wake)
    try:
        await done
    finally:
        timer.cancel()


async def within(clock: Clock, seconds: float | None, work: Awaitable[T]) -> T:
    """Await `work`, for at most `seconds`; None waits for as long as it takes.

    Cancelling cancels the work.

    Raises:
        TimeoutError: the time was over; the work was cancelled.
    """
    if seconds is None:
        return await work
    task = asyncio.ensure_future(work)
    expired = False
    current = asyncio.current_task()
    # Who cleans up after a cancellation has been cancelled before.
    cancelled_before = current.cancelling() if current else 0

    def expire() -> None:
        nonlocal expired
        expired = task.cancel()

    timer = clock.call_later(seconds, expire)
    try:
        return await task
    except asyncio.CancelledError:
        if expired and not (current and current.cancelling() > cancelled_before):
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


class LoopClock:
    """The running event loop's own clock."""

    def time(self) -> float:
        """The loop's monotonic seconds."""
        return asyncio.get_running_loop().time()

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """The loop's own timer."""
        return asyncio.get_running_loop().call_later(delay, callback)
