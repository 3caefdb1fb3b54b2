"""The sandbox's worker: the real one, which can be stopped, killed and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..context import Publisher
from ..worker.worker import Worker
from .life import KillPoint, Life

__all__ = ["SandboxWorker"]


class SandboxWorker:
    """`box.worker`: starts and ends the worker; the store, with what was committed, outlives it.

    Args:
        make: makes a worker whose ways lead through a life, and whose house is kept in it.
    """

    def __init__(self, make: Callable[[Life], Worker]) -> None:
        self._make = make
        self._life: Life | None = None
        self._worker: Worker | None = None

    @property
    def running(self) -> bool:
        """Whether there is one that takes requests."""
        return self._life is not None and self._life.alive

    @property
    def publisher(self) -> Publisher:
        """What jobs are given: publishes and asks from outside a handler.

        Raises:
            RuntimeError: there is no worker.
        """
        if self._worker is None or not self.running:
            raise RuntimeError("There is no worker: await box.worker.start() first.")
        return self._worker.publisher

    async def start(self) -> None:
        """Start one, unless one runs."""
        if self.running:
            return
        life = Life()
        self._life = life
        self._worker = worker = life.context.run(self._make, life)
        await asyncio.get_running_loop().create_task(worker.start(), context=life.context)

    async def stop(self) -> None:
        """Stop it as a deploy does: what it has begun is finished, what waits is refused."""
        if self._worker is not None and self._life is not None and self._life.alive:
            await asyncio.get_running_loop().create_task(self._worker.stop(), context=self._life.context)
            self._life.die()

    def kill(self) -> None:
        """Kill it as SIGKILL does: an open transaction is rolled back, and nobody is told anything."""
        if self._life is not None:
            self._life.die()

    def kill_at(self, point: KillPoint) -> None:
        """Kill it when its next transaction comes to this point.

        Raises:
            RuntimeError: there is no worker.
        """
        self._running_life().kill_at = point

    def lose_commit_answer(self, count: int = 1) -> None:
        """Let the next commits succeed, and the worker hear that they may not have.

        Raises:
            RuntimeError: there is no worker.
        """
        self._running_life().commits_unanswered += count

    def _running_life(self) -> Life:
        if self._life is None or not self._life.alive:
            raise RuntimeError("There is no worker: await box.worker.start() first.")
        return self._life
