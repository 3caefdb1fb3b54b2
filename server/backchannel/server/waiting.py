"""What a process waits for: Redis or PostgreSQL that is not there yet. It says so, and goes on trying."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from backchannel_protocol import Refused

from ..telemetry.logs import get_logger

__all__ = ["Opening", "Waiting", "together"]

T = TypeVar("T")

_log = get_logger(__name__)

# How soon an attempt is repeated, at first and at most, and how often the log tells that it waits, in seconds.
_FIRST: Final = 0.1
_MOST: Final = 1.0
_TELL_EVERY: Final = 5.0
# After how many seconds what is not there yet is said to be waited for.
_MOMENT: Final = 1.0


class Waiting:
    """The parts that are not there, each with the reason. Use it on one loop.

    Attributes:
        reasons: by part, for `/readyz`.
        begun: set once an attempt has failed.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.begun = asyncio.Event()
        self._teller: asyncio.Task[None] | None = None

    async def until_there(self, part: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call `attempt` until it is not refused as `unavailable`, and return what it returns.

        Cancelling gives up.

        Raises:
            BackchannelError: what no retry cures.
        """
        pause = _FIRST
        try:
            while True:
                try:
                    return await attempt()
                except (Refused, OSError) as exc:
                    if isinstance(exc, Refused) and exc.code != "unavailable":
                        raise
                    self._wait_for(part, _reason(exc))
                await asyncio.sleep(pause)
                pause = min(_MOST, pause * 2)
        finally:
            self.reasons.pop(part, None)

    async def patiently(self, part: str, reason: str, there: Awaitable[T]) -> T:
        """Wait for what tries again by itself, and say why after a moment. Cancelling cancels it.

        Raises:
            BackchannelError: what no retry cures.
        """
        timer = asyncio.get_running_loop().call_later(_MOMENT, self._wait_for, part, reason)
        try:
            return await there
        finally:
            timer.cancel()
            self.reasons.pop(part, None)

    async def close(self) -> None:
        """Tell nothing any more."""
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.gather(self._teller, return_exceptions=True)

    def _wait_for(self, part: str, reason: str) -> None:
        self.reasons[part] = reason
        self.begun.set()
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._tell(), name="waiting")

    async def _tell(self) -> None:
        """One line for all parts, now and then, until all are there."""
        while self.reasons:
            _log.warning("waiting for what is not there yet", **self.reasons)
            await asyncio.sleep(_TELL_EVERY)
        _log.info("everything is there")


def _reason(exc: Refused | OSError) -> str:
    return exc.message if isinstance(exc, Refused) else str(exc) or type(exc).__name__


class Opening:
    """Opens what a process stands on, beside what serves already. Use it on one loop.

    `opens` is the coroutine that does it; `waiting` is what it waits with.
    """

    def __init__(self, opens: Coroutine[Any, Any, None], waiting: Waiting) -> None:
        self._waiting = waiting
        self._task = asyncio.create_task(opens, name="opening")

    async def settled(self) -> None:
        """Return once everything is open, or it is known that something must be waited for.

        Raises:
            BackchannelError: what no retry cures.
        """
        begun = asyncio.create_task(self._waiting.begun.wait())
        try:
            await asyncio.wait([self._task, begun], return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        if self._task.done():
            self._task.result()

    async def failed(self) -> None:
        """Wait for a failure. Raises it, whatever it is; never returns."""
        await asyncio.shield(self._task)
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Give up what is not open yet."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._waiting.close()


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all of these; the first failure ends the others, and is raised as it is."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
