"""Running a coroutine as far as it does not suspend, without a task or a timer.

A handler on SQLite never suspends: its coroutine runs to its end within one `send(None)`. A task and a timer per
handler would cost more than many handlers do, so they are made only for a coroutine that really waits.
"""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["TimeIsOut", "ends_the_worker", "proceed", "watched", "within"]

T = TypeVar("T")


class TimeIsOut(Exception):
    """The time given to `within` is over; the coroutine was cancelled."""


@types.coroutine
def proceed(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that was begun by `send(None)` and yielded `waits_for`."""
    while True:
        try:
            value = yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as exc:
            try:
                waits_for = coroutine.throw(exc)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
        else:
            try:
                waits_for = coroutine.send(value)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]


@types.coroutine
def watched(
    coroutine: Coroutine[Any, Any, T], suspends: Callable[[], None], resumes: Callable[[], None]
) -> Generator[Any, Any, T]:
    """Await a coroutine, and tell each time when it suspends and when it goes on. Neither function may raise."""
    going_on = functools.partial(coroutine.send, None)
    while True:
        try:
            waits_for = going_on()
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        suspends()
        try:
            value = yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as exc:
            going_on = functools.partial(coroutine.throw, exc)
        else:
            going_on = functools.partial(coroutine.send, value)
        finally:
            resumes()


async def within(coroutine: Coroutine[Any, Any, T], seconds: float, suspends: Callable[[], None]) -> T:
    """Await a coroutine that may take so long; the timer is made only if it suspends. Call it from a task.

    `suspends` is called when it does so for the first time; it may not raise.

    Raises:
        TimeIsOut: it took longer, and was cancelled.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    suspends()
    try:
        async with asyncio.timeout(seconds) as timeout:
            return await proceed(coroutine, waits_for)
    except TimeoutError:
        if timeout.expired():
            raise TimeIsOut from None
        raise


def ends_the_worker(exc: BaseException) -> bool:
    """Whether what came out of a handler is meant for the task, or the process, that runs it.

    All else is the handler's own failure and must not cost the worker its life: a `SystemExit` of a library that thinks
    it is a program, and a `CancelledError` of something that was awaited while nobody asked this task to end.
    """
    if isinstance(exc, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(exc, (KeyboardInterrupt, GeneratorExit))
