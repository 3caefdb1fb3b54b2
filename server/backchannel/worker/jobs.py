"""Jobs: what an app runs at start, and again and again."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import Counter
from typing import Final

import structlog

from backchannel_protocol import BackchannelError

from ..app import App, Every
from ..context import Publisher
from ..store.store import Store
from .suspend import ends_the_worker

__all__ = ["Jobs"]

log = structlog.get_logger(__name__)


# For how many beats a worker keeps a job that one of many runs: the others take it over when this one died, not when it
# is late. A job that runs for longer keeps its lease alive, a third of its time before it ends.
_BEATS: Final = 1.5
_SHORTEST: Final = 5.0
# Seconds that giving the leases back may take.
_PARTING: Final = 2.0


class Jobs:
    """An app's `on_start` and `every` functions, in one worker.

    A repeated job runs first when the worker is ready, and then at whole multiples of its seconds after that: neither
    its own length nor a late wake-up moves the beat. It never overlaps itself: beats that fall into a run are left out.

    One that is to run once in the installation runs on the worker that has its lease, and keeps it from beat to beat;
    where that worker dies, another one takes over at its first beat after the lease has ended: after one and a half
    times the job's seconds, and 5 seconds at least.
    """

    def __init__(self, app: App, store: Store, publisher: Publisher) -> None:
        self._app = app
        self._store = store
        self._publisher = publisher
        self._holder = secrets.token_hex(8)
        self._held: dict[str, float] = {}
        """The leases that this worker has, and when it last asked for each."""
        self._tasks: list[asyncio.Task[None]] = []

    async def run_starters(self) -> None:
        """Run what is to run once, before requests are taken. What it raises ends the start."""
        for function in self._app.starters:
            await function(self._publisher)

    def start(self) -> None:
        """Begin the repeated jobs."""
        same: Counter[str] = Counter()
        for job in self._app.jobs:
            function = job.function
            name = getattr(function, "__qualname__", type(function).__qualname__)
            lease = f"{getattr(function, '__module__', '')}:{name}"
            # Several functions may bear one name: each worker counts them in the same order.
            same[lease] += 1
            if same[lease] > 1:
                lease += f"#{same[lease]}"
            self._tasks.append(asyncio.get_running_loop().create_task(self._repeat(job, name, lease), name=name))

    async def stop(self, seconds: float) -> None:
        """Cancel the jobs, and return when they have ended or this time is over; other workers may have them then."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            if late:
                log.warning("jobs do not end when they are cancelled", jobs=[task.get_name() for task in late])
        self._tasks.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                for lease in sorted(self._held):
                    await self._lease(lease, 0)

    async def _repeat(self, job: Every, name: str, lease: str) -> None:
        loop = asyncio.get_running_loop()
        first = loop.time()
        beats = 0
        while True:
            try:
                if job.once == "process":
                    await job.function(self._publisher)
                else:
                    await self._run_leased(job, lease)
            except BaseException as exc:
                if ends_the_worker(exc):
                    raise
                log.exception("a job failed; it runs again at its next time", job=name)
            # At least one on: where a wake-up is early by less than a float can tell, the same beat would come again.
            beats = max(beats, math.floor((loop.time() - first) / job.seconds)) + 1
            await asyncio.sleep(first + beats * job.seconds - loop.time())

    async def _run_leased(self, job: Every, lease: str) -> None:
        """Run a job if no other worker has it."""
        seconds = max(job.seconds * _BEATS, _SHORTEST)
        since = asyncio.get_running_loop().time() - self._held.get(lease, -math.inf)
        if since > seconds / 3 and not await self._lease(lease, seconds):
            return
        keeping = asyncio.get_running_loop().create_task(self._keep(lease, seconds), name="keep a job")
        try:
            await job.function(self._publisher)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _keep(self, lease: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds * 2 / 3)
            await self._lease(lease, seconds)

    async def _lease(self, lease: str, seconds: float) -> bool:
        asked = asyncio.get_running_loop().time()
        try:
            held = await self._store.lease(lease, self._holder, seconds)
        except BackchannelError as exc:
            log.warning("it cannot be told which worker is to run a job", lease=lease, reason=str(exc))
            held = False
        if held and seconds:
            self._held[lease] = asked
        else:
            self._held.pop(lease, None)
        return held
