"""One direction of a connection in process: whole messages, in order, late or held back if a test says so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["End", "Way"]


class End(NamedTuple):
    """The end of a connection, behind everything that was sent before it."""

    code: int | None
    """The close code; None: it broke off without a close frame."""
    reason: str = ""


class _Waiting(NamedTuple):
    due: float
    item: bytes | End
    size: int


class Way:
    """Carries messages to `arrive`, together what arrives in one tick."""

    def __init__(self, arrive: Callable[[Sequence[bytes | End]], None], latency: Callable[[], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrive = arrive
        self._latency = latency
        self._queue: deque[_Waiting] = deque()
        self._last = 0.0
        self._next: asyncio.Handle | None = None
        self.held = False
        """Whether nothing arrives for now; what is sent waits."""
        self.size = 0
        """Bytes on the way."""

    def send(self, item: bytes | End) -> None:
        """Send a message, or the end of all."""
        size = len(item) if isinstance(item, bytes) else 0
        # What was sent earlier never arrives later, also where the latency has shrunk.
        self._last = max(self._last, self._loop.time() + self._latency())
        self._queue.append(_Waiting(self._last, item, size))
        self.size += size
        self._schedule()

    def hold(self, held: bool) -> None:
        """Hold everything back, or let it arrive now."""
        self.held = held
        if held and self._next is not None:
            self._next.cancel()
            self._next = None
        self._schedule()

    def drop(self) -> None:
        """Lose what is on the way."""
        self._queue.clear()
        self.size = 0
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _schedule(self) -> None:
        if self._next is not None or self.held or not self._queue:
            return
        due = self._queue[0].due
        if due <= self._loop.time():
            self._next = self._loop.call_soon(self._deliver)
        else:
            self._next = self._loop.call_at(due, self._deliver)

    def _deliver(self) -> None:
        self._next = None
        now = self._loop.time()
        arrived: list[bytes | End] = []
        while self._queue and self._queue[0].due <= now:
            waiting = self._queue.popleft()
            self.size -= waiting.size
            arrived.append(waiting.item)
        self._schedule()
        if arrived:
            self._arrive(arrived)
