"""How long to wait before connecting again. Pure: no clock, no sleeping."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Exponential backoff with full jitter.

    Each delay is drawn evenly between 0 and a ceiling that starts at `first` seconds and doubles up
    to `most`, so that thousands of clients that lost one server do not come back in step. The
    ceiling goes back to `first` only after a connection stayed up for `steady` seconds: a server
    that accepts and then drops everybody must not be hammered.
    """

    def __init__(
        self,
        random: Callable[[], float],
        *,
        first: float = 0.5,
        most: float = 20.0,
        steady: float = 5.0,
    ) -> None:
        self._random = random
        self._first = first
        self._most = most
        self._steady = steady
        self._ceiling = first

    def next(self) -> float:
        """The seconds to wait before the next attempt."""
        delay = self._random() * self._ceiling
        self._ceiling = min(self._most, self._ceiling * 2)
        return delay

    def lost(self, uptime: float) -> bool:
        """A connection ended after `uptime` seconds; returns whether that counts as steady."""
        if uptime < self._steady:
            return False
        self._ceiling = self._first
        return True
