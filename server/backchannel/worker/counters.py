"""Counters: the named counters of a batch, dense because a command that fails gives its values back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..store.store import Transaction
from .declared import Declared
from .work import Work

__all__ = ["CounterMemory", "Counters"]

_REMEMBERED: Final = 4096


class CounterMemory:
    """Which counters the last command of a name and lane used, so that a batch can ask for all of them at once."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], tuple[str, ...]] = {}

    def expected(self, works: Iterable[Work]) -> list[str]:
        """The counters that these commands will probably use, sorted."""
        used = self._used
        names: set[str] = set()
        for work in works:
            names.update(used.get((work.declaration.name, work.lane), ()))
        return sorted(names)

    def remember(self, work: Work, declared: Declared) -> None:
        """Learn what a command used."""
        which = (work.declaration.name, work.lane)
        used = tuple(declared.counters)
        if self._used.get(which, ()) != used:
            if len(self._used) >= _REMEMBERED:
                self._used.clear()
            self._used[which] = used


class Counters:
    """The values of one batch's counters: read once, counted in memory, written once."""

    __slots__ = ("_stored", "_values")

    def __init__(self) -> None:
        self._stored: dict[str, int] = {}
        self._values: dict[str, int] = {}

    async def load(self, transaction: Transaction, names: list[str]) -> None:
        """Read and lock counters, in one statement."""
        for name, value in (await transaction.counters(names)).items():
            self._stored.setdefault(name, value)
            self._values.setdefault(name, value)

    def __contains__(self, name: str) -> bool:
        """Whether a counter was read."""
        return name in self._values

    def next(self, name: str) -> int:
        """The next value of a counter that was read."""
        self._values[name] = value = self._values[name] + 1
        return value

    def advance(self, name: str, to: int) -> tuple[int, int]:
        """Let a counter that was read stand at a value at least; where it stands, and by how much that is more."""
        before = self._values[name]
        self._values[name] = value = max(before, to)
        return value, value - before

    def give_back(self, declared: Declared, kept: dict[str, int] | None = None) -> None:
        """Take back what a command, the last one that counted, took of each counter beyond what it keeps."""
        kept = kept or {}
        for name, count in declared.counters.items():
            self._values[name] -= count - kept.get(name, 0)
        declared.counters = dict(kept)

    async def save(self, transaction: Transaction) -> None:
        """Write the counters that changed, in one statement."""
        changed = {name: value for name, value in sorted(self._values.items()) if value != self._stored[name]}
        if changed:
            await transaction.set_counters(changed)
