"""The batcher: commands that wait, and which of them share the next transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from ..relay.relay import Failure, Reply
from .ahead import RowMemory
from .batch import Batch, HoldsUp, RunAlone
from .counters import CounterMemory
from .failures import CANCELLED, DEFECT, STOPPED, TOO_LATE
from .live import LivePublications
from .lone_batch import LoneBatch
from .lone_runner import LoneRunner
from .runtime import Runtime
from .suspend import ends_the_worker
from .work import Work

__all__ = ["Batcher"]

log = structlog.get_logger(__name__)

# Seconds between two warnings about the same slow handler.
_WARN_EVERY = 60.0
# How much the newest run counts in a handler's average. One stall of the machine must not part a quick handler from its
# batches for good, which costs it most of its throughput; a slow handler is over the limit from its first run on.
_NEWEST = 0.2
# How long before its deadline a command that waits is refused, so that the refusal arrives in time: seconds, and at
# most this part of the time that it was given.
_EARLY = 0.05
_EARLY_PART = 0.1


class Batcher:
    """Runs commands, batch after batch, in the order in which they came; those that are slow, or wait, beside them.

    Args:
        runtime: what the worker's requests share.
        answer: takes each command's one reply; a second one is ignored.
        flush: is called when the replies of a batch are complete.
    """

    def __init__(self, runtime: Runtime, answer: Callable[[Work, Reply], None], flush: Callable[[], None]) -> None:
        self.live = LivePublications(runtime)
        self._runtime = runtime
        self._answer = answer
        self._flush = flush
        self._queue: deque[Work] = deque()
        self._task: asyncio.Task[None] | None = None
        self._memory = CounterMemory()
        self._rows = RowMemory()
        self._slow: dict[str, float] = {}
        self._warned: dict[str, float] = {}
        self._callbacks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._lone = LoneRunner(runtime, self._run_lone, self._refuse, self._put_back)
        # One writer is left for the batches, where there are several; where there is one, all take turns.
        self._lone_turn = asyncio.Semaphore(max(runtime.store.writers - 1, 1))
        self._sweep_at = float("inf")
        self._sweeper: asyncio.TimerHandle | None = None

    def add(self, work: Work) -> None:
        """Take a command; it runs behind all that were added before."""
        if self._stopping:
            self._refuse(work, STOPPED)
            return
        self._queue.append(work)
        if work.deadline < self._sweep_at:
            self._sweep_by(_due(work))
        if self._task is None:
            # It begins at the end of this turn of the loop, with everything that came until then.
            self._task = asyncio.get_running_loop().create_task(self._run(), name="command batches")

    def cancel(self, work: Work) -> None:
        """Nobody waits for a command any more: it is not begun, or stopped where that costs no other its batch."""
        work.cancelled = True
        if work.task is not None:
            work.task.cancel()
        elif self._lone.give_up(work):
            self._refuse(work, CANCELLED)

    async def stop(self) -> None:
        """Finish what has begun and refuse what waits; then let events and callbacks that were committed leave."""
        self._stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for work in self._queue:
            self._refuse(work, STOPPED)
        self._queue.clear()
        self._flush()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._lone.stop()
        pending = {asyncio.ensure_future(self.live.wait()), *self._callbacks}
        _, late = await asyncio.wait(pending, timeout=self._runtime.limits.stop)
        for task in late:
            task.cancel()
        if late:
            log.warning("after_commit callbacks or live events did not end in time", tasks=len(late))
            await asyncio.wait(late)
        await self.live.close()

    async def _run(self) -> None:
        try:
            while self._queue:
                works, alone = self._take()
                if works:
                    await self._run_batch(works, alone)
                self._flush()
                # Let in what came meanwhile, and let queries have their turn.
                await asyncio.sleep(0)
        finally:
            self._task = None

    def _take(self) -> tuple[list[Work], bool]:
        """The commands of the next batch, and whether it is one that runs alone."""
        queue = self._queue
        works: list[Work] = []
        lone = self._lone
        busy = lone.lanes
        now = self._runtime.monotonic()
        while queue and len(works) < self._runtime.limits.batch:
            work = queue[0]
            if work.cancelled or work.deadline <= now:
                self._refuse(queue.popleft(), CANCELLED if work.cancelled else TOO_LATE)
            elif busy and work.lane in busy:
                work.apart = work.apart or self._runs_apart(work)
                busy[work.lane].append(queue.popleft())
            elif self._runs_apart(work):
                if any(one.lane == work.lane for one in works):
                    break
                work.apart = True
                lone.start(queue.popleft())
            elif work.request.attempt < 2:
                works.append(queue.popleft())
            elif works:
                break
            else:
                # A command that is sent again may be the one that broke its batch, or its worker.
                return [queue.popleft()], True
        return works, len(works) == 1

    def _runs_apart(self, work: Work) -> bool:
        declaration = work.declaration
        return (
            work.apart
            or declaration.own_transaction
            or (bool(self._slow) and self._slow.get(declaration.name, 0.0) > self._runtime.limits.slow)
        )

    def _put_back(self, works: Sequence[Work]) -> None:
        """Take commands that waited for others of their lane; they come before all that wait in the queue."""
        self._queue.extendleft(reversed(works))
        if self._task is None and not self._stopping:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="command batches")

    async def _run_batch(self, works: Sequence[Work], alone: bool) -> None:
        try:
            batch = Batch(self._runtime, works, alone=alone, memory=self._memory, rows=self._rows)
            try:
                await batch.run()
            except RunAlone:
                self._note_slow(batch)
                await self._run_each_alone(works, batch.left)
                return
            except HoldsUp as exc:
                self._note_slow(batch)
                exc.work.apart = True
                self._queue.extendleft(reversed(works))
                return
            self._finish(batch)
        except Exception:
            # A defect of the worker itself: whoever is not answered yet must not wait for the timeout.
            log.exception("a batch failed")
            for work in works:
                self._refuse(work, DEFECT)

    async def _run_each_alone(self, works: Sequence[Work], left: Sequence[Work]) -> None:
        self._queue.extendleft(reversed(left))
        begun = works[: len(works) - len(left)]
        for position, work in enumerate(begun):
            batch = Batch(self._runtime, [work], alone=True, memory=self._memory, rows=self._rows)
            self._runtime.stats.retried_alone += 1
            try:
                await batch.run()
            except HoldsUp:
                self._note_slow(batch)
                work.apart = True
                self._queue.extendleft(reversed(begun[position:]))
                return
            self._finish(batch)

    async def _run_lone(self, work: Work) -> None:
        try:
            batch = LoneBatch(self._runtime, work, memory=self._memory, rows=self._rows, turn=self._lone_turn)
            await batch.run()
            self._finish(batch)
        except Exception:
            log.exception("a command could not be run", request=work.declaration.name)
            self._refuse(work, DEFECT)
        self._flush()

    def _finish(self, batch: Batch) -> None:
        """After the transaction: events first, then replies, then what waited for the commit."""
        self._queue.extendleft(reversed(batch.left))
        if batch.published:
            try:
                self._runtime.broker.publish(batch.published)
            except Exception:
                # The events are in their logs: whoever listens gets them from there.
                log.exception("events could not be published", events=len(batch.published))
        if batch.live:
            self.live.add(batch.live)
        for work, reply in batch.replies:
            self._answer(work, reply)
        if batch.callbacks:
            task = asyncio.get_running_loop().create_task(_call_all(batch.callbacks), name="after commit")
            self._callbacks.add(task)
            task.add_done_callback(self._callbacks.discard)
        self._note_slow(batch)

    def _note_slow(self, batch: Batch) -> None:
        """Keep an average of the handlers that were slow once; one whose average is over the limit runs alone."""
        limit = self._runtime.limits.slow
        for work, took in batch.took:
            name = work.declaration.name
            if work.declaration.own_transaction:
                continue
            average = self._slow.get(name)
            if average is None:
                if took <= limit:
                    continue
                average = took
            average += (took - average) * _NEWEST
            if average > limit / 10:
                self._slow[name] = average
            else:
                self._slow.pop(name, None)
            now = self._runtime.monotonic()
            if took > limit and now - self._warned.get(name, -_WARN_EVERY) >= _WARN_EVERY:
                self._warned[name] = now
                log.warning(
                    "a handler held its batch for too long; while it is slow it runs alone: make it quicker, or "
                    "declare it with own_transaction=True",
                    request=name,
                    seconds=round(took, 3),
                    limit=limit,
                )

    # What waits for too long

    def _sweep_by(self, due: float) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweep_at = due
        delay = max(due - self._runtime.monotonic(), 0.0)
        self._sweeper = asyncio.get_running_loop().call_later(delay, self._sweep)

    def _sweep(self) -> None:
        """Refuse what will not begin in time, while whoever asked still hears it; come back for the next one."""
        self._sweeper = None
        self._sweep_at = earliest = float("inf")
        now = self._runtime.monotonic()
        for work in [*self._queue, *self._lone.waiting()]:
            if work.answered:
                continue
            due = _due(work)
            if due > now:
                earliest = min(earliest, due)
            else:
                self._refuse(work, TOO_LATE)
                # Whoever comes upon it passes it over.
                work.cancelled = True
                self._lone.give_up(work)
        if earliest < float("inf"):
            self._sweep_by(earliest)
        self._flush()

    def _refuse(self, work: Work, failure: Failure) -> None:
        self._answer(work, Reply(id=work.request.id, failure=failure))


def _due(work: Work) -> float:
    """When a command that was not begun is refused, by `Runtime.monotonic`."""
    return work.deadline - min(_EARLY, _EARLY_PART * work.request.timeout)


async def _call_all(callbacks: Iterable[Callable[[], Awaitable[None]]]) -> None:
    for callback in callbacks:
        try:
            await callback()
        except BaseException as exc:
            if ends_the_worker(exc):
                raise
            log.exception("an after_commit callback failed")
