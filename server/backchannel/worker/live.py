"""Live events on their way to their logs, in order and behind the commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import structlog

from ..broker.broker import Envelope
from .ids import new_id
from .runtime import Runtime

__all__ = ["LivePublications"]

log = structlog.get_logger(__name__)

_ATTEMPTS = 2
# Events that are on their way at once.
_TOGETHER = 100


class LivePublications:
    """Appends live events in their order; no command waits for it.

    The promise of a live event is *accepted*: what the broker cannot take twice in a row is logged and lost.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queue: deque[Envelope] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, envelopes: Iterable[Envelope]) -> None:
        """Append these behind all that were added before."""
        self._queue.extend(envelopes)
        if self._queue and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name="live publications")

    async def wait(self) -> None:
        """Return once everything that was added is with the broker, or lost. Cancelling leaves it running."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Stop; what still waits is lost."""
        if self._task is not None:
            log.warning("live events were lost at the end", events=len(self._queue))
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        try:
            while self._queue:
                # Each keeps its id at every attempt, so that an append whose answer was lost gets one offset.
                waiting = [(self._queue.popleft(), new_id()) for _ in range(min(len(self._queue), _TOGETHER))]
                for attempt in range(1, _ATTEMPTS + 1):
                    waiting = await self._append(waiting, attempt)
        finally:
            self._task = None

    async def _append(self, waiting: list[tuple[Envelope, str]], attempt: int) -> list[tuple[Envelope, str]]:
        """Append these, and return those that were not accepted. All are begun before the first is awaited."""
        runtime = self._runtime
        begun = [
            runtime.broker.append(envelope, runtime.namespaces.bounds(envelope.channel), publication)
            for envelope, publication in waiting
        ]
        left = []
        for one, appending in zip(waiting, begun, strict=True):
            try:
                await appending
            except Exception:
                log.exception("a live event was not accepted", channel=one[0].channel, attempt=attempt)
                left.append(one)
        return left
