"""Faults: what befalls messages on their way, to how many of them, and with what chance."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Fault"]

T = TypeVar("T")


class Fault(Generic[T]):
    """Befalls messages until it is spent or ended."""

    def __init__(
        self,
        matches: Callable[[T], bool],
        *,
        count: int | None,
        rate: float,
        chance: random.Random,
        seconds: float = 0.0,
    ) -> None:
        """
        Args:
            matches: which messages it can befall.
            count: how many at most; None: until it is ended.
            rate: the share of them, from 0 to 1, drawn by `chance`.
            chance: where the draws come from.
            seconds: how long it lasts for each, where that means something.

        Raises:
            ValueError: a number makes no sense.
        """
        if (count is not None and count < 1) or not 0 < rate <= 1 or seconds < 0:
            raise ValueError(
                f"A fault befalls at least 1 message (count {count}), at a rate above 0 and up to 1 ({rate}), for 0 "
                f"seconds or more ({seconds})."
            )
        self._matches = matches
        self._left = count
        self._rate = rate
        self._chance = chance
        self.seconds = seconds
        self.struck: list[T] = []
        """The messages that it has befallen, in order."""

    @property
    def over(self) -> bool:
        """Whether it befalls no more messages."""
        return self._left == 0

    def end(self) -> None:
        """Let no more messages be befallen."""
        self._left = 0

    def strikes(self, message: T) -> bool:
        """Whether it befalls this message; if so, that is counted."""
        if self._left == 0 or not self._matches(message):
            return False
        if self._rate < 1 and self._chance.random() >= self._rate:
            return False
        if self._left is not None:
            self._left -= 1
        self.struck.append(message)
        return True
