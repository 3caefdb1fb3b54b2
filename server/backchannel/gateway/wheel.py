"""Timer wheel: one timer for the pings and time-outs of all connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from .connection import Connection

__all__ = ["Wheel"]

_SLOTS = 64


class Wheel:
    """Connections in slots; each step calls `turn` for those of one slot, and they choose their next."""

    def __init__(self, loop: asyncio.AbstractEventLoop, step: float, turn: Callable[[Connection], float]) -> None:
        """`turn` returns in how many seconds the connection wants its next turn, or a negative number for never."""
        self._loop = loop
        self._step = step
        self._turn = turn
        self._slots: list[set[Connection]] = [set() for _ in range(_SLOTS)]
        self._at = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to turn."""
        self._timer = self._loop.call_later(self._step, self._advance)

    def stop(self) -> None:
        """Stand still."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def put(self, connection: Connection, seconds: float) -> None:
        """Give a connection its turn in so many seconds (at the earliest the next step, at the latest one round)."""
        self.remove(connection)
        steps = min(_SLOTS - 1, max(1, round(seconds / self._step)))
        connection.slot = (self._at + steps) % _SLOTS
        self._slots[connection.slot].add(connection)

    def remove(self, connection: Connection) -> None:
        """Take a connection off the wheel."""
        if connection.slot >= 0:
            self._slots[connection.slot].discard(connection)
            connection.slot = -1

    def _advance(self) -> None:
        self._timer = self._loop.call_later(self._step, self._advance)
        self._at = (self._at + 1) % _SLOTS
        due, self._slots[self._at] = self._slots[self._at], set()
        for connection in due:
            connection.slot = -1
            seconds = self._turn(connection)
            if seconds >= 0 and not connection.gone:
                self.put(connection, seconds)
