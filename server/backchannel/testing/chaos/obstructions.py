"""Obstructions: when something stood in the way by a run's own doing, so that bounds in time do not count."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator

__all__ = ["Obstructions"]


class Obstructions:
    """Spans of time, by the running loop's clock."""

    def __init__(self) -> None:
        self._spans: list[list[float]] = []

    @contextlib.contextmanager
    def obstructed(self, recovery: float = 0.0) -> Iterator[None]:
        """Something stands in the way while this lasts, and for so many seconds more."""
        loop = asyncio.get_running_loop()
        span = [loop.time(), math.inf]
        self._spans.append(span)
        try:
            yield
        finally:
            span[1] = loop.time() + recovery

    def between(self, start: float, end: float) -> bool:
        """Whether something stood in the way at any moment of a span."""
        return any(first <= end and last >= start for first, last in self._spans)
