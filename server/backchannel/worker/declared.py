"""Declared: what one command has declared. It counts only if the handler returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from .namespaces import Publication
from .writes import Write

__all__ = ["Declared", "Mark"]


class Mark(NamedTuple):
    """How much was declared at one moment, so that what a nested handler declared can be taken back."""

    writes: int
    publications: int
    callbacks: int
    flushes: int
    executed: bool
    counters: dict[str, int]


class Declared:
    """The writes, events, counters and callbacks of one command."""

    __slots__ = (
        "callbacks",
        "counters",
        "executed",
        "flushes",
        "positions",
        "publications",
        "torn",
        "writes",
    )

    def __init__(self) -> None:
        self.writes: list[Write] = []
        """Not yet written, in the order declared."""
        self.flushes = 0
        """How often some of its writes were written because a read needed them: they cannot be taken back alone."""
        self.executed = False
        """Whether it ran free SQL."""
        self.torn = False
        """Whether something was to be taken back that the transaction holds."""
        self.publications: list[Publication] = []
        self.counters: dict[str, int] = {}
        """How many values it took of each counter."""
        self.callbacks: list[Callable[[], Awaitable[None]]] = []
        self.positions: dict[str, int] = {}
        """Positions asked for: what was committed of each channel when the batch began."""

    @property
    def touched(self) -> bool:
        """Whether the transaction holds something of it that cannot be taken back alone."""
        return self.flushes > 0 or self.executed

    def mark(self) -> Mark:
        """Remember how much there is."""
        return Mark(
            len(self.writes),
            len(self.publications),
            len(self.callbacks),
            self.flushes,
            self.executed,
            dict(self.counters),
        )

    def take_back(self, mark: Mark) -> None:
        """Forget what was declared since the mark; what is written already makes the command `torn`."""
        del self.publications[mark.publications :]
        del self.callbacks[mark.callbacks :]
        if self.flushes != mark.flushes or self.executed != mark.executed:
            self.torn = True
        else:
            del self.writes[mark.writes :]
