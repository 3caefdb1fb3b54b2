"""Part: one gateway or worker of the installation under test, a process that is started again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from .front import probe

__all__ = ["Death", "Part", "PartFailed"]

Role = Literal["gateway", "worker"]

_PROBE_EVERY = 0.25
_START = 60.0
_RESTART = 0.2


class PartFailed(Exception):
    """A process did not start; the message tells where its log is."""


class Death(Struct, frozen=True):
    """A process that ended and that nobody had ended."""

    name: str
    code: int
    at: float


class Part:
    """One process. Use it on one loop: `start`, then `stop`; between them it is kept running."""

    def __init__(
        self,
        name: str,
        role: Role,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        killed_itself: Callable[[int], bool],
    ) -> None:
        """
        Args:
            name: `gateway-1`.
            role: which.
            command: what to run.
            environment: its variables; the port is one more.
            log: the file that all its lives write to.
            killed_itself: whether the process with this id was ordered to do so.
        """
        self.name = name
        self.role = role
        self.log = log
        self._reservation = _reserve()
        self.port: int = self._reservation.getsockname()[1]
        """Where it listens, the same in each of its lives."""
        self.stopped = False
        """Whether SIGSTOP holds it."""
        self.deaths: list[Death] = []
        self.starts = 0
        self._command = [*command]
        self._environment = dict(environment)
        self._killed_itself = killed_itself
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._unready = asyncio.Event()
        self._unready.set()
        self._began = asyncio.Event()
        """Set with each new life."""
        self._expected = False
        self._delay = _RESTART
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether it said so when it was last asked."""
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it, and keep it running; returns once it is ready.

        Raises:
            PartFailed: it does not become so.
        """
        self._tasks = [asyncio.create_task(self._keep()), asyncio.create_task(self._watch())]
        await self.until_ready(_START)

    async def until_ready(self, seconds: float) -> None:
        """Wait until it says that it is ready. Raises `PartFailed`."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            raise PartFailed(f"{self.name} is not ready within {seconds:g} s; its log: {self.log}") from None

    async def until_unready(self, seconds: float) -> None:
        """Wait until it is not ready any more. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            await self._unready.wait()

    async def until_begun(self, life: int, seconds: float) -> None:
        """Wait until its so-manieth life, counted from 1, has begun. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while self.starts < life:
                self._began.clear()
                await self._began.wait()

    async def stop(self) -> None:
        """End it for good, at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._reservation.close()

    # Faults

    def kill(self, delay: float = _RESTART) -> None:
        """SIGKILL; it starts again after so many seconds."""
        self._delay = delay
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.stopped = self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.stopped = False
        with contextlib.suppress(ProcessLookupError):
            if self.pid is not None:
                os.kill(self.pid, signal.SIGCONT)

    async def roll(self, bound: float) -> tuple[float, int]:
        """SIGTERM, then wait until its next life is ready; returns how long the end took, and its exit status.

        Past twice `bound` seconds it is killed.

        Raises:
            PartFailed: its next life does not become ready.
        """
        process = self._process
        assert process is not None
        began = time.monotonic()
        self._delay = 0.0
        self._expected = True
        self._says(ready=False)
        life = self.starts + 1
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(2 * bound):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            code = await process.wait()
        took = time.monotonic() - began
        await self.until_begun(life, _START)
        await self.until_ready(_START)
        return took, code

    def _signal(self, number: signal.Signals) -> bool:
        if self.pid is None:
            return False
        self._expected = self._expected or number == signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    # Life

    async def _keep(self) -> None:
        while True:
            self._expected, self.stopped = False, False
            variable = "BACKCHANNEL_PORT" if self.role == "gateway" else "BACKCHANNEL_HEALTH_PORT"
            with self.log.open("ab") as log:
                self._process = process = await asyncio.create_subprocess_exec(
                    *_bound_to_this_process(),
                    *self._command,
                    env=self._environment | {variable: str(self.port)},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self.starts += 1
            self._says(ready=False)
            self._began.set()
            code = await process.wait()
            self._says(ready=False)
            self.stopped = False
            if not self._expected and not self._killed_itself(process.pid):
                self.deaths.append(Death(self.name, code, time.time()))
            delay, self._delay = self._delay, _RESTART
            await asyncio.sleep(delay)

    def _says(self, *, ready: bool) -> None:
        if ready:
            self._ready.set()
            self._unready.clear()
        else:
            self._ready.clear()
            self._unready.set()

    async def _watch(self) -> None:
        while True:
            process = self._process
            ready = self.pid is not None and await probe(self.port)
            # An answer that took until the next life says nothing of it.
            self._says(ready=ready and self._process is process and self.pid is not None)
            await asyncio.sleep(_PROBE_EVERY)


def _reserve() -> socket.socket:
    """A free port on loopback that stays ours: it is bound, so that nobody else is given it, and nobody listens there.

    Who binds it again with the same option may listen there.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _bound_to_this_process() -> Sequence[str]:
    """What ends a process with its parent, where there is such a thing."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
