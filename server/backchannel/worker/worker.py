"""The worker: takes requests from the relay and answers them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog

from ..app import App
from ..broker.broker import Broker
from ..relay.relay import Failure, Reply, Request, WorkerRelay
from ..settings import Settings
from ..store.store import Store
from .batcher import Batcher
from .failures import STOPPED
from .ids import new_id
from .jobs import Jobs
from .publisher import WorkerPublisher
from .query_runner import QueryRunner
from .runtime import Runtime, WorkerLimits, milliseconds
from .stats import Stats
from .work import Intake, Work

__all__ = ["Worker"]

log = structlog.get_logger(__name__)


class Worker:
    """Runs an app's handlers on one event loop; commands in batches, queries beside them.

    Use it on one loop: everything but `stats` belongs to the loop that `start` ran on.

    Args:
        app: the declarations and functions.
        store: the database, opened for the tenant. It is the caller's to close, after `stop`.
        broker: where events leave.
        relay: where requests come from.
        tenant: what `ctx.app` tells.
        clock: Unix milliseconds; what `ctx.now` and ids are made of.
        limits: what this worker may take on.
        monotonic: seconds that only grow; what deadlines and durations are measured by.
        new_id: makes an id from an instant; random ids that sort by time by default.
        settings: what the operator set, for the app's jobs; the defaults by default.
    """

    def __init__(
        self,
        app: App,
        store: Store,
        broker: Broker,
        relay: WorkerRelay,
        *,
        tenant: str = "main",
        clock: Callable[[], int] = milliseconds,
        limits: WorkerLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[int], str] = new_id,
        settings: Settings | None = None,
    ) -> None:
        self._app = app
        self._relay = relay
        self._runtime = Runtime(
            app,
            store,
            broker,
            tenant=tenant,
            clock=clock,
            limits=limits or WorkerLimits(),
            monotonic=monotonic,
            new_id=new_id,
            settings=settings,
        )
        self._intake = Intake(self._runtime)
        self._batcher = Batcher(self._runtime, self._answer, self._flush)
        self._queries = QueryRunner(self._runtime, self._answer, self._flush)
        self.publisher = self._runtime.publisher = WorkerPublisher(self._runtime, self._ask)
        """Publishes and asks from outside a handler, on this worker's loop."""
        self._jobs = Jobs(app, store, self.publisher)
        self._open: dict[int, Work] = {}
        self._replies: list[Reply] = []
        self._flush_scheduled = False
        self._attached = False
        self._stopping = False
        self._idle: asyncio.Event | None = None

    @property
    def stats(self) -> Stats:
        """What this worker has counted; may be read from any thread."""
        return self._runtime.stats

    @property
    def open(self) -> int:
        """How many requests it took and has not answered; may be read from any thread."""
        return len(self._open)

    async def start(self) -> None:
        """Check the app, run what it wants to run at start, then take requests and begin the repeated jobs.

        Raises:
            RegistrationError: a request has no handler.
            Exception: whatever an `on_start` function raises.
        """
        self._app.check()
        await self._jobs.run_starters()
        self._relay.attach(self._receive, self._cancel)
        self._attached = True
        self._jobs.start()

    async def leave(self, seconds: float) -> None:
        """Take no more requests, and return when those that it has are answered, or so many seconds are over.

        For an orderly end before `stop`. Cancelling ends the wait.
        """
        if self._attached:
            self._attached = False
            self._relay.detach()
        if self._open:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
        self._flush()

    async def stop(self) -> None:
        """Take no more requests, finish the batch in hand, and refuse what waits as `unavailable`.

        Queries in tasks, live events and `after_commit` callbacks get `limits.stop` seconds to end.
        """
        if self._stopping:
            return
        self._stopping = True
        if self._attached:
            self._relay.detach()
        await self._jobs.stop(self._runtime.limits.stop)
        await asyncio.gather(self._batcher.stop(), self._queries.stop())
        self._flush()

    def _receive(self, requests: Sequence[Request]) -> None:
        now = self._runtime.monotonic()
        for request in requests:
            self._take(request, now, None)
        self._queries.run()

    def _take(self, request: Request, now: float, waiter: asyncio.Future[Reply] | None) -> None:
        work: Work | Failure = STOPPED if self._stopping else self._intake.take(request, now)
        if isinstance(work, Failure):
            self._runtime.stats.refuse(work.code)
            self._send(Reply(id=request.id, failure=work), waiter)
            return
        work.waiter = waiter
        self._open[request.id] = work
        if work.declaration.kind == "command":
            self._batcher.add(work)
        else:
            self._queries.add(work)

    def _cancel(self, request_id: int) -> None:
        work = self._open.get(request_id)
        if work is not None:
            if work.declaration.kind == "command":
                self._batcher.cancel(work)
            else:
                self._queries.cancel(work)

    async def _ask(self, request: Request) -> Reply:
        """Run a request of this worker's own, and wait.

        Cancelling the wait stops it, but for a command that has begun in a batch: that one goes on.
        """
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._take(request, self._runtime.monotonic(), waiter)
        self._queries.run_soon()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._cancel(request.id)
            raise

    def _answer(self, work: Work, reply: Reply) -> None:
        if work.answered:
            return
        work.answered = True
        if self._open.get(work.request.id) is work:
            del self._open[work.request.id]
            if self._idle is not None and not self._open:
                self._idle.set()
        stats = self._runtime.stats
        if work.declaration.kind == "command":
            stats.commands += 1
        else:
            stats.queries += 1
        if reply.failure is not None:
            stats.refuse(reply.failure.code)
        self._send(reply, work.waiter)

    def _send(self, reply: Reply, waiter: asyncio.Future[Reply] | None) -> None:
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(reply)
            return
        self._replies.append(reply)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send the replies of this turn together."""
        self._flush_scheduled = False
        if self._replies:
            replies, self._replies = self._replies, []
            self._relay.reply(replies)
