"""Ranges: a set of integers that come in runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

__all__ = ["Ranges"]


class Ranges:
    """Runs of integers, each from its first to its last, apart from each other and in order."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._runs)

    def __contains__(self, number: int) -> bool:
        index = self._index(number)
        return index >= 0 and number <= self._runs[index][1]

    def _index(self, number: int) -> int:
        """The run that begins at or before a number, or -1."""
        return bisect_right(self._runs, (number, number + (1 << 62))) - 1

    def add(self, first: int, last: int) -> None:
        """Add a run; nothing if it is empty."""
        if last < first:
            return
        apart: list[tuple[int, int]] = []
        for run in self._runs:
            if run[1] < first - 1 or run[0] > last + 1:
                apart.append(run)
            else:
                first, last = min(first, run[0]), max(last, run[1])
        apart.append((first, last))
        self._runs = sorted(apart)

    def discard(self, number: int) -> bool:
        """Take a number out; returns whether it was in."""
        index = self._index(number)
        if index < 0 or number > self._runs[index][1]:
            return False
        first, last = self._runs[index]
        self._runs[index : index + 1] = [run for run in ((first, number - 1), (number + 1, last)) if run[0] <= run[1]]
        return True
