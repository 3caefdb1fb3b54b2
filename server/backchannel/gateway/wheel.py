"""Timer wheel: one timer for the pings and time-outs of all connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..telemetry.logs import get_logger

if TYPE_CHECKING:
    import asyncio

    from .connection import Connection

__all__ = ["Wheel"]

_SLOTS = 64

_log = get_logger(__name__)


class Wheel:
    """Connections in slots; each step calls `turn` for those of one slot, and they choose their next.

    A turn comes up to a step too early rather than too late, but never sooner than the next step; a wish beyond one
    round comes after a round. A loop that was busy is made up for: steps are counted from when the wheel began.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, step: float, turn: Callable[[Connection], float]) -> None:
        """`turn` returns in how many seconds the connection wants its next turn, or a negative number for never."""
        self._loop = loop
        self._step = step
        self._turn = turn
        self._slots: list[dict[Connection, None]] = [{} for _ in range(_SLOTS)]
        self._at = 0
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to turn."""
        self._next = self._loop.time() + self._step
        self._timer = self._loop.call_at(self._next, self._advance)

    def stop(self) -> None:
        """Stand still."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def put(self, connection: Connection, seconds: float) -> None:
        """Give a connection its turn in so many seconds, instead of the turn that it waits for."""
        self.remove(connection)
        steps = min(_SLOTS - 1, max(1, int(seconds / self._step)))
        connection.slot = (self._at + steps) % _SLOTS
        self._slots[connection.slot][connection] = None

    def remove(self, connection: Connection) -> None:
        """Take a connection off the wheel."""
        if connection.slot >= 0:
            self._slots[connection.slot].pop(connection, None)
            connection.slot = -1

    def _advance(self) -> None:
        self._next += self._step
        self._timer = self._loop.call_at(self._next, self._advance)
        self._at = (self._at + 1) % _SLOTS
        due, self._slots[self._at] = self._slots[self._at], {}
        for connection in due:
            if connection.slot != self._at:
                continue  # it left, or was given another turn, by the turn of one before it
            connection.slot = -1
            try:
                seconds = self._turn(connection)
            except Exception as exc:
                _log.error("a turn failed", exc_info=exc)
                seconds = self._step
            if seconds >= 0 and not connection.gone:
                self.put(connection, seconds)
