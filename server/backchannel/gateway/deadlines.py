"""Deadlines: many waits of one length behind a single timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Deadlines"]

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Calls `expire(item)` for every item that is still there `seconds` after it was added.

    All waits are equally long, so the order of adding is the order of expiring: a dict is the queue, and one timer, for
    the oldest, serves all. It is left to run when that one is discarded, so that items that come and go at once cost no
    timers. Use it on one event loop only.
    """

    __slots__ = ("_due", "_expire", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float, expire: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: T) -> None:
        """Start the wait of `item`, unless it waits already."""
        if item in self._due:
            return
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()  # kept, since each look costs a system call before 3.12
        self._due[item] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._sweep)

    def discard(self, item: T) -> None:
        """End the wait of `item`, if it waits."""
        self._due.pop(item, None)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        for item in [item for item, due in self._due.items() if due <= now]:
            if self._due.pop(item, None) is not None:
                self._expire(item)
        if self._due and self._timer is None:
            self._timer = loop.call_at(next(iter(self._due.values())), self._sweep)
