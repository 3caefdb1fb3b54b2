"""Running a coroutine as far as it does not suspend."""

from __future__ import annotations

import asyncio

import pytest

from backchannel.worker.suspend import TimeIsOut, proceed, within


async def test_coroutine_that_does_not_wait_gets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer, or what it raises, comes at once, whatever the time."""

    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise KeyError("x")

    monkeypatch.setattr("backchannel.worker.suspend.asyncio.timeout", None)
    suspensions: list[None] = []
    assert await within(answer(), 0.0, lambda: suspensions.append(None)) == 7
    with pytest.raises(KeyError):
        await within(fail(), 0.0, lambda: suspensions.append(None))
    assert suspensions == []


async def test_coroutine_that_waits() -> None:
    """It goes on where it was, through any number of waits, with the values and errors that it waits for."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(3)]
    loop.call_soon(futures[0].set_result, 1)
    loop.call_soon(futures[1].set_exception, KeyError("x"))
    loop.call_soon(futures[2].set_result, 3)

    async def wait() -> list[object]:
        found: list[object] = [await futures[0]]
        try:
            await futures[1]
        except KeyError as exc:
            found.append(str(exc))
        await asyncio.sleep(0)
        return [*found, await futures[2]]

    suspensions: list[int] = []
    assert await within(wait(), 60.0, lambda: suspensions.append(len(futures))) == [1, "'x'", 3]
    assert suspensions == [3], "it is told once, and before the wait"


async def test_time_is_out() -> None:
    """It is cancelled where it waits, may clean up, and `TimeIsOut` says so; its own `TimeoutError` passes."""
    cleaned: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("yes")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("its own")

    with pytest.raises(TimeIsOut):
        await within(wait(), 0.0, lambda: None)
    assert cleaned == ["yes"]
    with pytest.raises(TimeoutError, match="its own"):
        await within(fail(), 60.0, lambda: None)


async def test_proceeding_can_be_cancelled() -> None:
    """Cancelling the task that goes on with a coroutine cancels the coroutine where it waits."""
    cleaned = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    coroutine = wait()
    waits_for = coroutine.send(None)

    async def go_on() -> None:
        await proceed(coroutine, waits_for)

    task = asyncio.create_task(go_on())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
