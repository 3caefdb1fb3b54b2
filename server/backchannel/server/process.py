"""What every process of a server has: it starts, runs until it is told to end, ends what it does, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from ..settings import Settings
from ..telemetry.logs import configure, get_logger

__all__ = ["Process", "run_to_end"]

P = TypeVar("P", bound="Process")

_log = get_logger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_YOUNG: Final = 5_000
"""Objects made since the collector's last look, at which it looks again. A batch of commands makes more than Python's
700 several times over, and nearly all of them are gone with it. (Measured: 7 % of a command's CPU; 20,000 gain nothing
more, since memory is used again later.)"""


class Process(ABC):
    """One process's parts. Use it on one event loop: `start`, then `run` until a signal, or `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._told = asyncio.Event()

    async def start(self, progress: Callable[[str], None] | None = None) -> None:
        """Open everything and begin to serve.

        Args:
            progress: called with one line per migration that is applied.

        Raises:
            BackchannelError: a setting, a database or the app is wrong; the message tells the cure. Nothing is left
                open.
        """
        try:
            await self._start(progress)
        except BaseException:
            await self._stack.aclose()
            raise
        # What was made so far stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])

    async def run(self, started: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or `end`, then drain and stop. A second signal stops at once.

        `started` is called once signals are listened to.

        Raises:
            Exception: something broke, so that this process could only refuse; whoever watches it starts it anew.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.end)
        if started is not None:
            started()
        try:
            if not await self._first(self._told.wait(), self._broken()):
                return
            self._told.clear()
            await self._first(self._told.wait(), self._drain())
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
            await self.stop()
        _log.info("stopped")

    def end(self) -> None:
        """Make `run` drain and return, as SIGTERM does; a second time: at once."""
        self._told.set()

    async def stop(self) -> None:
        """Stop at once: what was acknowledged is stored, and clients resume elsewhere."""
        await self._stack.aclose()

    @abstractmethod
    async def _start(self, progress: Callable[[str], None] | None) -> None:
        """Open everything, putting what closes it on the stack."""

    @abstractmethod
    async def _drain(self) -> None:
        """End what it does for others, before everything is closed. Cancelled by a second signal."""

    async def _broken(self) -> None:
        """Return once something broke without which this process is of no use, or raise what it was."""
        await asyncio.get_running_loop().create_future()

    @staticmethod
    async def _first(wanted: Coroutine[Any, Any, Any], other: Coroutine[Any, Any, None]) -> bool:
        """Whether the first of two coroutines was the first to end. What the other raises is raised."""
        tasks = [asyncio.create_task(each) for each in (wanted, other)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[1].done():
                tasks[1].result()
            return tasks[0].done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def run_to_end(
    make: Callable[[], P],
    settings: Settings,
    started: Callable[[P], None] | None = None,
    *,
    lifeline: int | None = None,
) -> None:
    """Run a process's parts in this process, on uvloop where it is installed, until it is told to stop.

    Args:
        make: makes it, on the loop.
        settings: how it logs.
        started: called once it serves and heeds signals.
        lifeline: a file descriptor whose end tells that whoever started this process is gone: it ends too.

    Raises:
        BackchannelError: it could not start; the message tells the cure.
    """
    configure(settings.log_level, json={"json": True, "console": False}.get(settings.log_format))

    async def main() -> None:
        process = make()
        await process.start(progress=_log.info)
        if lifeline is not None:
            _when_it_ends(lifeline, process.end)
        await process.run(None if started is None else lambda: started(process))

    try:
        import uvloop
    except ImportError:  # Windows
        asyncio.run(main())
    else:
        uvloop.run(main())


def _when_it_ends(descriptor: int, call: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(descriptor, 1):
            loop.remove_reader(descriptor)
            call()

    loop.add_reader(descriptor, readable)
