"""Queries: each in a snapshot of its own, run at once, beside the batches."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from backchannel_protocol import Refused

from ..relay.relay import Failure, Reply
from .failures import CANCELLED, DEFECT, INTERNAL, STOPPED, TOO_LATE, failure_of_refusal, failure_of_time, too_large
from .query_context import QueryContext
from .replies import frame_size
from .runtime import Runtime
from .suspend import ends_the_worker, proceed
from .work import Work

__all__ = ["QueryRunner"]

log = structlog.get_logger(__name__)


# How long queries may keep the loop for themselves in one turn, in seconds.
_TURN: Final = 0.005


class _NeedsTask(Exception):
    """A query failed where it ran without a task of its own, which may be the reason."""


class QueryRunner:
    """Runs queries.

    On SQLite a query's handler never suspends: it runs to its end where it is, without a task. One that suspends goes
    on in a task of its own, and its name is remembered, so that it begins in one from then on. One that fails without
    a task (`asyncio.timeout` and others need one) runs again in a task: it changes nothing, so it may run twice.
    """

    def __init__(self, runtime: Runtime, answer: Callable[[Work, Reply], None], flush: Callable[[], None]) -> None:
        self._runtime = runtime
        self._answer = answer
        self._flush = flush
        self._queue: deque[Work] = deque()
        self._scheduled = False
        self._suspending: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def add(self, work: Work) -> None:
        """Take a query; it runs with the next `run` or `run_soon`."""
        if self._stopping:
            self._answer(work, Reply(id=work.request.id, failure=STOPPED))
        else:
            self._queue.append(work)

    def run(self) -> None:
        """Run what was added, now, and send the answers. Call it from the loop, not from within a handler."""
        # Not by way of the loop: it would let go of the interpreter, and wait for it again behind a gateway's sweep.
        if self._queue and not self._scheduled:
            self._turn()

    def run_soon(self) -> None:
        """Run what was added in the next turn of the loop."""
        if self._queue and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def cancel(self, work: Work) -> None:
        """Nobody waits for a query any more."""
        work.cancelled = True
        if work.task is not None:
            work.task.cancel()

    async def stop(self) -> None:
        """Refuse what waits, and give what runs in tasks a while to end."""
        self._stopping = True
        for work in self._queue:
            self._answer(work, Reply(id=work.request.id, failure=STOPPED))
        self._queue.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._runtime.limits.stop)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._flush()

    def _turn(self) -> None:
        queue = self._queue
        now = self._runtime.monotonic()
        end = now + _TURN
        while queue:
            work = queue.popleft()
            if work.cancelled or work.deadline <= now:
                failure = CANCELLED if work.cancelled else TOO_LATE
                self._answer(work, Reply(id=work.request.id, failure=failure))
            elif work.declaration.name in self._suspending:
                self._start(work, self._run(work, inline=False), contextvars.copy_context())
            else:
                try:
                    self._run_inline(work)
                except Exception:
                    # A defect of the worker or of the store; the queries behind it must have their turn.
                    log.exception("a query could not be run", request=work.declaration.name)
                    self._answer(work, Reply(id=work.request.id, failure=DEFECT))
            now = self._runtime.monotonic()
            if now >= end:
                break
        self._flush()
        self._scheduled = False
        self.run_soon()

    def _run_inline(self, work: Work) -> None:
        coroutine = self._run(work, inline=True)
        # As a task would have it: what the handler sets in its context stays in it.
        context = contextvars.copy_context()
        try:
            waits_for = context.run(coroutine.send, None)
        except StopIteration as stop:
            self._answer(work, stop.value)
        except _NeedsTask:
            self._start(work, self._run_again(work), contextvars.copy_context())
        else:
            self._suspending.add(work.declaration.name)
            self._start(work, proceed(coroutine, waits_for), context)

    def _start(self, work: Work, running: Awaitable[Reply], context: contextvars.Context) -> None:
        task = asyncio.get_running_loop().create_task(
            self._bounded(work, running), name=work.declaration.name, context=context
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bounded(self, work: Work, running: Awaitable[Reply]) -> None:
        """Await a query for as long as it may take, and answer."""
        # Set here, not by `_start`: a task that is cancelled before it begins would never run its handler's `finally`.
        work.task = asyncio.current_task()
        declaration = work.declaration
        left = 0.0 if work.cancelled else work.deadline - self._runtime.monotonic()
        seconds = min(declaration.timeout or self._runtime.limits.handler, left)
        try:
            async with asyncio.timeout(seconds):
                reply = await running
        except TimeoutError:
            # `may` is a name that only gateways know.
            what = "The rule of this channel" if work.request.kind == "internal" else declaration.name
            reply = Reply(id=work.request.id, failure=failure_of_time(what, seconds))
        except asyncio.CancelledError:
            self._answer(work, Reply(id=work.request.id, failure=CANCELLED))
            raise
        except Exception:
            log.exception("a query could not be run", request=declaration.name)
            reply = Reply(id=work.request.id, failure=DEFECT)
        self._answer(work, reply)

    async def _run_again(self, work: Work) -> Reply:
        """Run a query that failed without a task; if it works in one, it begins in one from now on."""
        reply = await self._run(work, inline=False)
        if reply.failure is None:
            self._suspending.add(work.declaration.name)
        return reply

    async def _run(self, work: Work, *, inline: bool) -> Reply:
        """Run a query's handler to its reply.

        Raises:
            _NeedsTask: it failed inline, where it had no task.
        """
        declaration = work.declaration
        assert declaration.handler is not None  # App.check ran at start
        context = QueryContext(self._runtime, work)
        failure: Failure
        try:
            answer = await declaration.handler(context, work.value)
            data = self._runtime.output.encode(declaration.name, declaration.reply, answer)
        except Refused as exc:
            failure = failure_of_refusal(exc, declaration.name, context.errors)
        except BaseException as exc:
            if ends_the_worker(exc):
                raise
            if inline and asyncio.current_task() is None:
                raise _NeedsTask from exc
            log.error("a handler failed", request=declaration.name, user=context.user, exc_info=exc)
            failure = INTERNAL
        else:
            limit = self._runtime.limits.frame
            size = frame_size(data, context.positions)
            if size <= limit or work.request.kind == "internal":
                return Reply(id=work.request.id, data=data, positions=context.positions or None)
            failure = too_large(declaration.name, size, limit)
        finally:
            context.open = False
            if context.used is not None:
                await context.used.close()
        return Reply(id=work.request.id, failure=failure)
