"""A lone batch: one command in a transaction of its own, which begins when it is needed and not before.

So a handler may wait for the outside world for as long as it may run, and nobody waits for it but its lane. Once it has
touched the database it holds a writer (SQLite has one, PostgreSQL several), and may wait for other things only for
`limits.held` seconds in total.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from backchannel_protocol import Refused

from ..store.store import StoredKey, Transaction
from .ahead import RowMemory
from .batch import Batch
from .counters import CounterMemory
from .failures import CANCELLED_RUNNING, NO_DATABASE, TOO_LATE, held_too_long
from .replies import reply_to_repeat
from .runtime import Runtime
from .suspend import TimeIsOut, watched
from .work import Work

__all__ = ["LoneBatch"]

log = structlog.get_logger(__name__)


class LoneBatch(Batch):
    """One command beside the batches. Run it in a task of its own: cancelling that rolls back.

    Args:
        runtime: what the worker's requests share.
        work: the command.
        memory: which counters commands use.
        rows: which rows they get.
        turn: held with the transaction, so that lone commands leave the store's writers to the batches: all but one of
            them, or, where the store has only one, all but one place in its queue.
    """

    def __init__(
        self, runtime: Runtime, work: Work, *, memory: CounterMemory, rows: RowMemory, turn: asyncio.Semaphore
    ) -> None:
        super().__init__(runtime, [work], alone=True, memory=memory, rows=rows)
        self._work: Final = work
        self._turn: Final = turn
        self._beginning: Final = asyncio.Lock()
        self._has_turn = False
        self._over = False
        self._repeat: StoredKey | None = None
        self._waited = 0.0
        # What the handler's waits with an open transaction are bounded by.
        self._left = runtime.limits.held
        self._suspended = False
        self._armed = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timeout: asyncio.Timeout | None = None
        self._cutting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run the command and commit. Afterwards it has its reply.

        Cancelling rolls back, unless the commit has begun.
        """
        stats = self.runtime.stats
        stats.batches += 1
        stats.commands_in_batches += 1
        try:
            await self._run()
        except Exception as exc:
            await self._end()
            self._give_up(exc)
        finally:
            await self._end()

    async def begin(self) -> Transaction:
        """The transaction: it begins now if none is there. May be called by several tasks of the handler at once.

        Raises:
            Refused: the database is not there, or the command's key was used meanwhile.
            RuntimeError: the handler has returned, or its transaction was rolled back.
        """
        try:
            async with self._beginning:
                if self.transaction is not None:
                    return self.transaction
                if self._over or self._broken is not None:
                    raise RuntimeError("The transaction is over: read within the handler, and let it raise.")
                began = self.runtime.monotonic()
                transaction = await self._open()
                self._waited += self.runtime.monotonic() - began
                if transaction is None:
                    raise Refused("conflict", "This key was used meanwhile.")
                if self._suspended:
                    self._arm()
                return transaction
        except BaseException as exc:
            self.broke(exc)
            raise

    async def _run(self) -> None:
        work = self._work
        # Before the handler does anything outside; it is looked up again before anything is written.
        if work.request.key is not None:
            if await self._open() is None:
                self._answer_repeat()
                return
            await self._end_transaction()
        began = self.runtime.monotonic()
        if began >= work.deadline:
            self._answer_all(TOO_LATE)
            return
        await self._handle_one(work, began)
        took = self.runtime.monotonic() - began - self._waited
        self.runtime.stats.handler_seconds += took
        self.took.append((work, took))
        if self._repeat is not None:
            self._answer_repeat()
        elif self._kept:
            await self._keep_it()

    async def _keep_it(self) -> None:
        """Write and commit what the handler, which returned, declared."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # It heeded no cancelling; nobody waits for it, or its worker is dead.
            self._discard()
            self._answer_all(CANCELLED_RUNNING)
            return
        envelopes = [publication.envelope for publication in self._publications]
        if self.transaction is not None or self._has_effect():
            async with self._beginning:
                transaction = self.transaction or await self._open()
            if transaction is None:
                self._discard()
                self._answer_repeat()
                return
            envelopes = await self._write(transaction)
            self._work.task = None
            if not await self._commit(transaction):
                return
            self.transaction = None
            self._let_go()
        self._leave(envelopes)

    def _has_effect(self) -> bool:
        """Whether a command that asked the database nothing has something for it."""
        durable = any(publication.kind == "durable" for publication in self._publications)
        return durable or bool(self.writes) or self._work.request.key is not None

    def _discard(self) -> None:
        self._kept.clear()
        self._publications.clear()
        self.callbacks.clear()

    def _answer_repeat(self) -> None:
        assert self._repeat is not None
        self.replies = [(self._work, reply_to_repeat(self._work, self._repeat))]

    # The transaction

    async def _open(self) -> Transaction | None:
        """Begin; None, with `_repeat` set, if the command's key is known.

        Raises:
            Refused: the database is not there.
        """
        work = self._work
        await self._turn.acquire()
        self._has_turn = True
        try:
            self.transaction = transaction = await self.runtime.store.begin([work.lane])
        except BaseException as exc:
            self._let_go()
            if not isinstance(exc, Exception):
                raise
            log.exception("no transaction could begin")
            if isinstance(exc, Refused):
                raise
            raise NO_DATABASE.refused() from exc
        if work.request.key is not None:
            self._repeat = (await transaction.keys([work.scope])).get(work.scope)
            if self._repeat is not None:
                await self._end_transaction()
                return None
        return transaction

    async def _end_transaction(self) -> None:
        if self.transaction is not None:
            await self._roll_back(self.transaction)
        self._let_go()

    async def _end(self) -> None:
        self._over = True
        if self._cutting is not None:
            await asyncio.wait([self._cutting])
        # A task that the handler left behind may be about to begin one.
        async with self._beginning:
            await self._end_transaction()

    def _let_go(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turn.release()

    # How long the handler may wait

    async def _driven(self, running: Coroutine[Any, Any, Any], seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds) as timeout:
                self._timeout = timeout
                return await watched(running, self._suspends, self._resumes)
        except TimeoutError:
            if self._cutting is not None and self._broken is not None:
                raise self._broken from None
            if timeout.expired():
                raise TimeIsOut from None
            raise
        finally:
            self._timeout = None

    def _holds_up(self, seconds: float) -> bool:
        return False

    def _suspends(self) -> None:
        self._suspended = True
        if self.transaction is not None:
            self._arm()

    def _resumes(self) -> None:
        self._suspended = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left -= asyncio.get_running_loop().time() - self._armed

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._armed = loop.time()
        self._timer = loop.call_later(max(self._left, 0.0), self._cut)

    def _cut(self) -> None:
        """Roll back under a handler that keeps the writer waiting, whether it heeds its end or not."""
        name, held = self._work.declaration.name, self.runtime.limits.held
        self.broke(held_too_long(name, held))
        log.error(
            "a handler waited for other things while it held a writer of the database, and was rolled back: let it "
            "wait first, and read and write afterwards",
            request=name,
            limit=held,
        )
        self._cutting = asyncio.get_running_loop().create_task(self._end_transaction(), name="roll back")
        if self._timeout is not None:
            self._timeout.reschedule(0.0)
