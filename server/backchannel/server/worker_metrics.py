"""What a worker has counted, for `/metrics` and `measure`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

from ..telemetry.metrics import Count, Metrics, metrics
from ..worker.worker import Worker

__all__ = ["count_worker"]

# Attribute of `Stats`, help.
_COUNTED: Final = {
    "commands": "Commands that a worker answered, repeated keys included.",
    "queries": "Queries that a worker answered, internal ones included.",
    "batches": "Transactions that commands were run in.",
    "commands_in_batches": "Commands run in those transactions; divided by their number, the size of a batch.",
    "retried_alone": "Commands that ran again alone because their batch was rolled back.",
    "commits_failed": "Commits whose outcome is unknown.",
    "events": "Events that a worker published, of every kind.",
    "handler_seconds": "Seconds spent in command handlers.",
}


def count_worker(worker: Worker, target: Metrics = metrics) -> Callable[[], None]:
    """Show a worker's counters; returns the function that takes them away again."""
    stats = worker.stats

    def read() -> Iterator[Count]:
        for name, help_text in _COUNTED.items():
            yield Count(f"worker_{name}", help_text, {"": float(getattr(stats, name))})
        refused = dict(stats.refused)
        yield Count("worker_refused", "Requests that a worker refused, by code.", refused, "code")

    stack = ExitStack()
    stack.callback(target.counters(read))
    stack.callback(
        target.gauge("worker_open", "Requests that a worker took and has not answered.", lambda: worker.open)
    )
    return stack.close
