"""What is shown while a target is fuzzed."""

from __future__ import annotations

import sys
import time

from .targets import Target

__all__ = ["Progress"]


class Progress:
    """Counts the inputs of one target, and shows a line now and then."""

    def __init__(self, target: Target, seconds: float) -> None:
        self.target = target
        self.seconds = seconds
        self.start = time.monotonic()
        self.inputs = 0
        self.last = b""
        self._shown = 0.0
        self._every = 0.5 if sys.stdout.isatty() else 15.0

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.start

    def check(self, data: bytes) -> None:
        """Check one input."""
        self.last = data
        self.target.check(data)
        self.inputs += 1
        if self.spent - self._shown >= self._every:
            self._shown = self.spent
            self.show()

    def show(self, end: str = "") -> None:
        """One line: how far, how many, how quick."""
        rate = self.inputs / max(self.spent, 0.001)
        line = (
            f"{self.target.name:13} {self.spent:6.0f} of {self.seconds:.0f} s {self.inputs:10,} inputs {rate:8,.0f}/s"
        )
        print(f"\r{line}{end}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)
