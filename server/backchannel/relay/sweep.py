"""The sweep: one timer for all deadlines of a relay's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["Sweep"]

# It is late by up to this, so that many deadlines close to each other cost one pass; later than this it is the process
# that stood still, and what came meanwhile is read before anybody is told that nothing came.
_LATE: Final = 0.02
_STALLED: Final = 0.25


class Sweep:
    """Calls back when the earliest deadline that it was told of has passed; then it is to be told anew.

    Args:
        loop: whose clock the deadlines are of.
        pass_over: looks after what is due.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pass_over: Callable[[], None]) -> None:
        self._loop = loop
        self._pass_over = pass_over
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def by(self, deadline: float) -> None:
        """Something is due then."""
        at = deadline + _LATE
        if self._timer is not None:
            if self._at <= at:
                return
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_at(at, self._run)

    def cancel(self) -> None:
        """Call back no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        if now - self._at > _STALLED:
            self.by(now)
        else:
            self._pass_over()
