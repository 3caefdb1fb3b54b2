"""A token bucket: how often a client may ask."""

from __future__ import annotations

__all__ = ["Bucket"]


class Bucket:
    """`burst` requests at once, refilled at `rate` per second. Knows no clock: `now` is given, in seconds."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take one; returns 0 if it was there, else the seconds until one will be."""
        level = self._level + (now - self._at) * self._rate
        if level > self._burst:
            level = self._burst
        self._at = now
        if level >= 1.0:
            self._level = level - 1.0
            return 0.0
        self._level = level
        return (1.0 - level) / self._rate
