"""Virtual time: an event loop whose clock moves when nobody has anything left to do.

Callbacks run as on any loop. When none is ready, the clock jumps to the next timer, so an hour takes as long as what
happens in it. The order of callbacks depends on nothing but the program, so a run can be repeated.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

__all__ = ["EPOCH", "PATIENCE", "Stuck", "VirtualLoop", "run", "spawned_by"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH: Final = 1_893_456_000
"""Where the wall clock of a `VirtualLoop` begins: the first second of 2030, UTC. Unix seconds."""

PATIENCE: Final = 4 * 3600.0
"""Virtual seconds that may pass while a test waits for something, until it counts as stuck."""

_NANO: Final = 1_000_000_000
# Turns of the loop in one instant until that counts as going on for ever.
_CIRCLES: Final = 1_000_000
_RESOLUTION: Final = 1e-6
# The monotonic clock does not begin at 0, so that a zero that nobody set is not a moment of the test.
_FIRST: Final = 1000 * _NANO

_spawner: contextvars.ContextVar[Callable[[asyncio.Task[Any]], object] | None] = contextvars.ContextVar(
    "spawner", default=None
)


class Stuck(AssertionError):
    """A test waits for something that does not come, however much time passes."""


def spawned_by(told: Callable[[asyncio.Task[Any]], object]) -> contextvars.Context:
    """A copy of the present context in which `told` is called with every task that a `VirtualLoop` makes: by what runs
    in it, and by the callbacks and tasks that come from there."""
    context = contextvars.copy_context()
    context.run(_spawner.set, told)
    return context


class _Selector(selectors.BaseSelector):
    """Asks the system what is ready, and never waits for it: it lets the loop's clock pass instead."""

    def __init__(self, wait: Callable[[selectors.BaseSelector, float | None], list[Any]]) -> None:
        self._system = selectors.DefaultSelector()
        self._wait = wait

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._system.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._system.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._system.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._wait(self._system, timeout)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._system.get_map()

    def close(self) -> None:
        self._system.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own.

    `time()` is virtual, and so is everything that is made of it: `asyncio.sleep`, timeouts, timers. `wall()` tells the
    same instant as Unix seconds. While a thread of `run_in_executor` or `asyncio.to_thread` works, the clock stands
    still. Real sockets and subprocesses do not hold it, so they have no place here.
    """

    def __init__(self) -> None:
        self._nanoseconds = _FIRST
        self._working = 0
        self._thread = 0
        self._turns = 0
        self._settling: list[asyncio.Future[None]] = []
        self._until = self._nanoseconds + int(PATIENCE * _NANO)
        super().__init__(_Selector(self._pass))
        # asyncio counts a timer as due within the clock's resolution, and takes that of the system: after some months
        # it is less than a float of seconds can tell apart, and no timer would ever be due.
        vars(self)["_clock_resolution"] = _RESOLUTION

    # Clocks

    def time(self) -> float:
        """Seconds of the loop's own, monotonic clock."""
        return self._nanoseconds / _NANO

    def wall(self) -> float:
        """The same instant in Unix seconds."""
        return EPOCH + (self._nanoseconds - _FIRST) / _NANO

    def milliseconds(self) -> int:
        """The same instant in Unix milliseconds."""
        return EPOCH * 1000 + (self._nanoseconds - _FIRST) // 1_000_000

    # Passing time

    async def settle(self) -> None:
        """Return once everything that is ready has run, and all that it made ready; no time passes."""
        settled: asyncio.Future[None] = self.create_future()
        self._settling.append(settled)
        await settled

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, with everything that happens in them; returns once that has settled.

        Raises:
            ValueError: the time would run backwards.
        """
        if seconds < 0:
            raise ValueError(f"advance: {seconds} s: time does not run backwards.")
        self.be_patient(seconds)
        await asyncio.sleep(seconds)
        await self.settle()

    def be_patient(self, seconds: float = 0.0) -> None:
        """Begin anew to count how long the test waits, for a wait that may take so many seconds."""
        self._until = self._nanoseconds + int((PATIENCE + seconds) * _NANO)

    def _pass(self, system: selectors.BaseSelector, timeout: float | None) -> list[Any]:
        """What a selector would do: wait for something to be ready, at most so long."""
        if timeout is not None and timeout <= 0:
            self._turns += 1
            if self._turns > _CIRCLES:
                self._turns = 0
                raise Stuck(f"The program runs in circles: {_CIRCLES} turns of the loop, and no time has passed.")
            return system.select(0)
        self._turns = 0
        if self._working:
            return system.select()
        ready = system.select(0)
        if ready:
            return ready
        if self._settling:
            for settled in self._settling:
                if not settled.done():
                    settled.set_result(None)
            self._settling.clear()
            return ready
        if timeout is None:
            raise Stuck("The test waits for something that nothing will bring: no callback and no timer is left.")
        self._nanoseconds += max(1, round(timeout * _NANO))
        if self._nanoseconds > self._until:
            self.be_patient()
            raise Stuck(
                f"{PATIENCE:g} seconds have passed, and what the test waits for has not come. Where so much time is "
                f"meant to pass, use `advance`."
            )
        return ready

    # What asyncio offers, watched

    def run_forever(self) -> None:
        """As asyncio's."""
        self._thread = threading.get_ident()
        super().run_forever()

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; from the loop's own thread it is `call_soon`, which wakes nobody."""
        if threading.get_ident() == self._thread:
            return self.call_soon(callback, *args, context=context)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """As asyncio's; whoever asked for it by `spawned_by` is told."""
        task = super().create_task(coro, **options)
        if (told := _spawner.get()) is not None:
            told(task)
        return task

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As asyncio's; the clock stands still until it is done."""
        done: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._working += 1
        done.add_done_callback(self._worked)
        return done

    def _worked(self, _done: asyncio.Future[Any]) -> None:
        self._working -= 1

    async def shutdown_default_executor(self, *arguments: Any) -> None:
        """As asyncio's, which waits in a thread."""
        self._working += 1
        try:
            await super().shutdown_default_executor(*arguments)
        finally:
            self._working -= 1


def run(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end on a fresh `VirtualLoop`, and return what it returns.

    Raises:
        Stuck: it waits for something that does not come.
        BaseException: whatever it raises.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(function())
