"""A relay within one process: the gateway on one event loop, the worker on another (or on the same)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from .asking import ask
from .refusals import CANCELLED, NO_WORKER, NOT_SENT, TIME_IS_OUT
from .relay import Reply, Request

__all__ = ["MemoryRelay"]

log = structlog.get_logger(__name__)

# The sweep is late by up to this, so that many deadlines close to each other cost one pass.
_SWEEP: Final = 0.02


class _Worker:
    """The attached worker, as the gateway's thread sees it: replaced whole, never changed."""

    __slots__ = ("cancel", "loop", "receive")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[Sequence[Request]], None],
        cancel: Callable[[int], None],
    ) -> None:
        self.loop = loop
        self.receive = receive
        self.cancel = cancel


class MemoryRelay:
    """Both ends of the relay in one process; `Relay` for the gateway, `WorkerRelay` for the one worker.

    What the gateway sends in one tick crosses as one list by one wake-up, and so do the replies that a worker hands
    over together. Nothing is lost on the way, so nothing is ever sent twice.

    Args:
        gateway_loop: the loop that `send`, `cancel` and `ask` are called on.
        worker_loop: the loop that the worker's end is used on; the loop that `attach` runs on by default.
    """

    def __init__(
        self, gateway_loop: asyncio.AbstractEventLoop, worker_loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._gateway_loop = gateway_loop
        self._worker_loop = worker_loop
        # The gateway's.
        self._waiting: dict[int, tuple[float, Callable[[Reply], None]]] = {}
        self._outgoing: list[Request] = []
        self._outgoing_changed = False
        self._tick = 0.0
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self.replied: Callable[[], None] = _nobody
        """Called when replies that came together were all given out, so that what they cause leaves at once, together:
        one turn of the loop later, a sweep of a fan-out may come before them."""
        # Written on the worker's loop, read on both.
        self._worker: _Worker | None = None

    # The gateway's end

    def send(self, request: Request, on_reply: Callable[[Reply], None]) -> None:
        """Send a request; never blocks, never raises. It leaves at the end of this loop tick."""
        outgoing = self._outgoing
        if not outgoing:
            self._tick = self._gateway_loop.time()
            self._gateway_loop.call_soon(self._flush)
        outgoing.append(request)
        deadline = self._tick + request.timeout
        self._waiting[request.id] = (deadline, on_reply)
        if self._sweeper is None or deadline + _SWEEP < self._sweep_at:
            self._sweep_from(deadline)

    def cancel(self, request_id: int) -> None:
        """Nobody waits any more: `on_reply` gets `cancelled` before this returns, and the worker is told.

        A request that is answered already, or was never sent, is left alone.
        """
        waiting = self._waiting.pop(request_id, None)
        if waiting is None:
            return
        if any(request.id == request_id for request in self._outgoing):
            self._outgoing_changed = True
            _answer(waiting[1], Reply(id=request_id, failure=NOT_SENT))
        else:
            self._tell_cancelled([request_id])
            _answer(waiting[1], Reply(id=request_id, failure=CANCELLED))

    async def ask(self, request: Request) -> Reply:
        """Send and wait for the answer. Cancelling the wait cancels the request."""
        return await ask(self, request)

    def ready(self) -> bool:
        """Whether a worker is there."""
        return self._worker is not None

    def _flush(self) -> None:
        batch = self._outgoing
        self._outgoing = []
        if self._outgoing_changed:
            self._outgoing_changed = False
            batch = [request for request in batch if request.id in self._waiting]
        if not batch:
            return
        if not self._post(self._hand_over, batch):
            self._receive([Reply(id=request.id, failure=NO_WORKER) for request in batch])

    def _receive(self, replies: Sequence[Reply]) -> None:
        waiting = self._waiting
        for reply in replies:
            entry = waiting.pop(reply.id, None)
            if entry is not None:
                _answer(entry[1], reply)
        self.replied()

    def _sweep_from(self, deadline: float) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweep_at = deadline + _SWEEP
        self._sweeper = self._gateway_loop.call_at(self._sweep_at, self._sweep)

    def _sweep(self) -> None:
        """Answer for whoever waited too long, and come back when the next one might have."""
        self._sweeper = None
        now = self._gateway_loop.time()
        late: list[int] = []
        earliest = float("inf")
        for request_id, (deadline, _) in self._waiting.items():
            if deadline <= now:
                late.append(request_id)
            elif deadline < earliest:
                earliest = deadline
        callbacks = [self._waiting.pop(request_id)[1] for request_id in late]
        if self._waiting:
            self._sweep_from(earliest)
        if late:
            self._outgoing_changed = True
            self._tell_cancelled(late)
            for request_id, on_reply in zip(late, callbacks, strict=True):
                _answer(on_reply, Reply(id=request_id, failure=TIME_IS_OUT))

    def _tell_cancelled(self, request_ids: list[int]) -> None:
        self._post(self._cancel_all, request_ids)

    def _post(self, function: Callable[[list[Any]], None], argument: list[Any]) -> bool:
        """Call this on the worker's loop; whether there is a worker."""
        worker = self._worker
        if worker is None:
            return False
        try:
            worker.loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # its loop is closed: the worker ended without detaching
            self._worker = None
            return False
        return True

    # The worker's end

    def attach(self, receive: Callable[[Sequence[Request]], None], cancel: Callable[[int], None]) -> None:
        """Take requests from now on; both callbacks run on the worker's loop.

        Raises:
            RuntimeError: another worker is attached.
        """
        if self._worker is not None:
            raise RuntimeError("A worker is attached already: detach it first, one process has one worker.")
        self._worker = _Worker(self._worker_loop or asyncio.get_running_loop(), receive, cancel)

    def reply(self, replies: Sequence[Reply]) -> None:
        """Send replies back; never blocks. They leave together."""
        if not replies:
            return
        try:
            self._gateway_loop.call_soon_threadsafe(self._receive, replies)
        except RuntimeError:  # the gateway's loop is closed: nobody is there to hear them
            log.debug("replies without a gateway", replies=len(replies))

    def detach(self) -> None:
        """Take no further requests; those that were not yet handed over are answered `unavailable`."""
        self._worker = None

    def _hand_over(self, batch: list[Request]) -> None:
        worker = self._worker
        if worker is None:
            self.reply([Reply(id=request.id, failure=NO_WORKER) for request in batch])
        else:
            worker.receive(batch)

    def _cancel_all(self, request_ids: list[int]) -> None:
        worker = self._worker
        if worker is not None:
            for request_id in request_ids:
                worker.cancel(request_id)


def _nobody() -> None:
    """Nobody wants to know when replies were given out."""


def _answer(on_reply: Callable[[Reply], None], reply: Reply) -> None:
    try:
        on_reply(reply)
    except Exception:
        # One caller's fault must not cost the others of the same list their answers.
        log.exception("on_reply failed", request=reply.id)
