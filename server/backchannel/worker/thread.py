"""A worker in a thread with an event loop of its own, beside a gateway's loop.

There SQLite is called directly: a statement blocks this loop, and never the gateway's.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog

from .worker import Worker

__all__ = ["WorkerThread"]

log = structlog.get_logger(__name__)

_SWITCH_INTERVAL = 0.0005


class WorkerThread:
    """Runs one worker on a loop in a thread. Use it on the gateway's loop.

    Args:
        worker: opens what the worker needs (the store) and yields the worker, not yet started; it is entered and left
            in the thread.
        name: the thread's name.
    """

    def __init__(self, worker: Callable[[], AbstractAsyncContextManager[Worker]], *, name: str = "worker") -> None:
        self._make = worker
        self._name = name
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        """Guards `_loop`: before it is there nobody waits for `_stop`, so that any thread may set it."""
        self._stop = asyncio.Event()
        self._ended: asyncio.Future[BaseException | None] | None = None

    async def start(self) -> None:
        """Return once the worker takes requests. Cancelling ends the thread first, as a failure does.

        Raises:
            RuntimeError: it was started before.
            BaseException: whatever opening or starting the worker raised.
        """
        if self._thread is not None:
            raise RuntimeError("This worker thread was started before: make a new one.")
        loop = asyncio.get_running_loop()
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))
        started: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(loop, started, self._ended), name=self._name, daemon=True
        )
        self._thread.start()
        try:
            await asyncio.wait((started, self._ended), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        if not started.done():
            self._join()
            error = self._ended.result()
            raise error if error is not None else RuntimeError("The worker thread ended at once.")

    async def ended(self) -> None:
        """Return once the thread has ended: after `stop`, or since something broke it. Cancelling only ends the wait.

        Raises:
            RuntimeError: it was not started.
        """
        if self._ended is None:
            raise RuntimeError("This worker thread was not started.")
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Stop the worker and return once the thread has ended. The gateway's loop goes on meanwhile.

        Raises:
            Exception: whatever stopping or closing raised.
            RuntimeError: something that is no `Exception` broke the thread; it is the cause.
        """
        if self._ended is None:
            return
        with self._lock:
            if self._loop is None:
                self._stop.set()
            else:
                try:
                    self._loop.call_soon_threadsafe(self._stop.set)
                except RuntimeError:
                    log.debug("the worker's loop is closed already")
        error = await asyncio.shield(self._ended)
        self._join()
        if error is None:
            return
        if isinstance(error, Exception):
            raise error
        raise RuntimeError(f"{type(error).__name__} ended the worker thread.") from error

    def _join(self) -> None:
        # What is left of the thread after `_ended` is a few instructions.
        if self._thread is not None:
            self._thread.join()

    def _run(
        self,
        gateway: asyncio.AbstractEventLoop,
        started: asyncio.Future[None],
        ended: asyncio.Future[BaseException | None],
    ) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                with self._lock:
                    self._loop = runner.get_loop()
                runner.run(self._main(gateway, started))
        except BaseException as exc:
            error = exc
        try:
            gateway.call_soon_threadsafe(_set, ended, error)
        except RuntimeError:
            # The gateway's loop is gone, so nobody waits; the log is the only one left to tell.
            if error is not None:
                log.error("the worker thread failed", exc_info=error)

    async def _main(self, gateway: asyncio.AbstractEventLoop, started: asyncio.Future[None]) -> None:
        async with self._make() as worker:
            try:
                await worker.start()
                gateway.call_soon_threadsafe(_set, started, None)
                await self._stop.wait()
            finally:
                await worker.stop()


def _set(future: asyncio.Future[BaseException | None] | asyncio.Future[None], result: BaseException | None) -> None:
    if not future.done():
        future.set_result(result)  # type: ignore[arg-type]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
