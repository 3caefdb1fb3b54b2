"""Jobs: what an app runs at start, and again and again."""

from __future__ import annotations

import asyncio
import math

import structlog

from ..app import App, Every
from ..context import Publisher
from .suspend import ends_the_worker

__all__ = ["Jobs"]

log = structlog.get_logger(__name__)


class Jobs:
    """An app's `on_start` and `every` functions, in one worker.

    A repeated job runs first when the worker is ready, and then at whole multiples of its seconds after that: neither
    its own length nor a late wake-up moves the beat. It never overlaps itself: beats that fall into a run are left out.
    """

    def __init__(self, app: App, publisher: Publisher) -> None:
        self._app = app
        self._publisher = publisher
        self._tasks: list[asyncio.Task[None]] = []

    async def run_starters(self) -> None:
        """Run what is to run once, before requests are taken. What it raises ends the start."""
        for function in self._app.starters:
            await function(self._publisher)

    def start(self) -> None:
        """Begin the repeated jobs."""
        for job in self._app.jobs:
            name = getattr(job.function, "__qualname__", repr(job.function))
            self._tasks.append(asyncio.get_running_loop().create_task(self._repeat(job, name), name=name))

    async def stop(self, seconds: float) -> None:
        """Cancel the jobs, and return when they have ended or this time is over."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            if late:
                log.warning("jobs do not end when they are cancelled", jobs=[task.get_name() for task in late])
        self._tasks.clear()

    async def _repeat(self, job: Every, name: str) -> None:
        loop = asyncio.get_running_loop()
        first = loop.time()
        beats = 0
        while True:
            try:
                await job.function(self._publisher)
            except BaseException as exc:
                if ends_the_worker(exc):
                    raise
                log.exception("a job failed; it runs again at its next time", job=name)
            # At least one on: where a wake-up is early by less than a float can tell, the same beat would come again.
            beats = max(beats, math.floor((loop.time() - first) / job.seconds)) + 1
            await asyncio.sleep(first + beats * job.seconds - loop.time())
