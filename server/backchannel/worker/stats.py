"""Stats: plain counters of one worker, for telemetry to read."""

from __future__ import annotations

__all__ = ["Stats"]


class Stats:
    """Written on the worker's loop only; reading an attribute from another thread is safe."""

    __slots__ = (
        "batches",
        "commands",
        "commands_in_batches",
        "commits_failed",
        "events",
        "handler_seconds",
        "queries",
        "refused",
        "retried_alone",
    )

    def __init__(self) -> None:
        self.batches = 0
        """Transactions that commands were run in."""
        self.commands_in_batches = 0
        """The sum of the batches' sizes."""
        self.commands = 0
        """Commands answered, repeated keys included."""
        self.queries = 0
        """Queries answered, internal ones included."""
        self.refused: dict[str, int] = {}
        """Requests refused, by code. Only ever grows, so that iterating over a copy of its items is safe."""
        self.retried_alone = 0
        """Commands that ran again alone because their batch was rolled back."""
        self.commits_failed = 0
        """Commits whose outcome is unknown."""
        self.events = 0
        """Events published, of every kind."""
        self.handler_seconds = 0.0
        """Time spent in command handlers."""

    def refuse(self, code: str) -> None:
        """Count a refusal."""
        self.refused[code] = self.refused.get(code, 0) + 1
