"""A place: where one child is to be at any time. A child that ends is followed by another, which may come before."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from socket import socket
from typing import Any, Final, Literal

from msgspec import Struct

from backchannel_protocol import BackchannelError

from ..settings import Settings
from ..telemetry.logs import get_logger
from .child import Child

__all__ = ["Place", "Plan", "SupervisorFailed"]

_log = get_logger(__name__)

# A child that ends so often in a row before it was ready never will be.
_HOPELESS: Final = 3
# The wait before a dead child is started again, at first and at most; it begins anew after one that lived for long.
_FIRST_PAUSE: Final = 0.25
_MOST_PAUSE: Final = 10.0
_LONG_LIFE: Final = 60.0
# How long a child may take to become ready in a rolling restart, and to end beyond its own bound, in seconds.
_START: Final = 60.0
_WORKER_END: Final = 10.0
_MARGIN: Final = 10.0

Role = Literal["gateway", "worker"]


class SupervisorFailed(BackchannelError):
    """A child does not come up; the message is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Plan(Struct, frozen=True, kw_only=True):
    """What is to run."""

    app: str
    """`module:attribute`."""
    settings: Settings
    gateways: int
    workers: int
    environ: Mapping[str, str]
    """The children's environment, which holds all that the settings were made of."""


class Place:
    """Keeps one child. `sockets` are what it inherits, by the flag that names their descriptors."""

    def __init__(self, role: Role, number: int, plan: Plan, sockets: Mapping[str, Sequence[socket]]) -> None:
        self.role: Final = role
        self.name: Final = f"{role}-{number}"
        self.child: Child | None = None
        """Who is there now."""
        self.ready = asyncio.Event()
        """Set once somebody here was ready."""
        self._patience: Final = (plan.settings.drain if role == "gateway" else _WORKER_END) + _MARGIN
        self._plan = plan
        self._sockets = sockets
        self._children: set[Child] = set()
        self._ending = asyncio.Event()
        self._failures = 0
        self._pause = _FIRST_PAUSE

    async def keep(self) -> None:
        """Keep a child here until `end`.

        Raises:
            SupervisorFailed: it ends again and again before it is ready.
        """
        while not self._ending.is_set():
            child = self.child = self.child or await self._start()
            if self._ending.is_set():
                child.signal(signal.SIGTERM)
            await child.ended.wait()
            if child is self.child and not self._ending.is_set():
                self.child = None
                await self._rest(self._judge(child))

    async def replace(self) -> bool:
        """Start a second child, and end the first once that one is ready; whether it became so.

        Cancelling leaves both; `end` ends them.
        """
        old = self.child
        if old is None or self._ending.is_set():
            return True
        new = await self._start()
        if not await self._comes_up(new):
            await new.end(self._patience)
            return False
        self.child = new
        await old.end(self._patience)
        return True

    async def end(self) -> None:
        """Let whoever is here end in order, and return when nobody is."""
        self._ending.set()
        await asyncio.gather(*(child.end(self._patience) for child in self._children))

    def hurry(self) -> None:
        """Let whoever is here end at once: the second signal."""
        for child in self._children:
            child.signal(signal.SIGTERM)

    async def _start(self) -> Child:
        command = [sys.executable, "-m", "backchannel.cli", self.role, self._plan.app, "--supervised"]
        child = await Child.start(self.name, command, self._plan.environ, self._sockets, self.ready.set)
        _log.info("started", child=self.name, pid=child.pid)
        self._children = {one for one in self._children if not one.ended.is_set()} | {child}
        return child

    async def _comes_up(self, child: Child) -> bool:
        waits = [asyncio.create_task(event.wait()) for event in (child.ready, child.ended, self._ending)]
        try:
            await asyncio.wait(waits, timeout=_START, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return child.ready.is_set() and not child.ended.is_set()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    def _judge(self, child: Child) -> float:
        """How long to wait before the next one takes this child's place."""
        _log.error("a child has ended by itself", child=self.name, pid=child.pid, **_how(child.exit_code))
        self._failures = 0 if child.ready.is_set() else self._failures + 1
        if self._failures >= _HOPELESS:
            raise SupervisorFailed(
                f"{self.name} has ended {self._failures} times before it was ready. It says:\n{_last_words(child)}",
                abs(child.exit_code or 1),
            )
        if child.seconds > _LONG_LIFE:
            self._pause = _FIRST_PAUSE
        pause, self._pause = self._pause, min(_MOST_PAUSE, self._pause * 2)
        return pause


def _last_words(child: Child) -> str:
    """Its error, where it told one as commands do; else the last of what it wrote."""
    lines = [line for line in child.last_errors if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(("Error: ", "Refused (")):
            return "\n".join(lines[index:])
    return "\n".join(lines) or "nothing"


def _how(exit_code: int | None) -> dict[str, Any]:
    if exit_code is not None and exit_code < 0:
        return {"signal": signal.Signals(-exit_code).name}
    return {"exit_code": exit_code}
