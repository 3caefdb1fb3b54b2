"""How long does a delivery take at a moderate rate, where nothing can be joined?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import measured, servers
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import FLOOR, OWN, ServerOf

__all__ = ["QUESTION"]

_WORKLOAD: Final = "50 events/s to 1,000 listeners"


def _cell(server: str, start: ServerOf) -> Cell:
    async def run(seconds: float) -> Figures:
        options = {"rate": 50, "listeners": 1000, "seconds": seconds}
        result, used = await measured.on_server(start, "latency", options)
        assert result.latency_ns is not None
        return {
            "p50": measured.milliseconds(result.latency_ns.p50),
            "p99": measured.milliseconds(result.latency_ns.p99),
            "cost": sum(used.each(result.deliveries).values()),
            **measured.busy(result),
        }

    return Cell(_WORKLOAD, server, run)


def _cells(quick: bool) -> Sequence[Cell]:
    others = [_cell(name, start) for name, start in servers.peers(["bun"] if quick else None).items()]
    return [_cell(OWN, servers.backchannel), _cell(FLOOR, servers.floor), *others]


QUESTION: Final = Question(
    name="latency",
    title="Latency of a delivery",
    text="From the publisher's send to the listener's read, over all listeners. An event goes to one after the "
    "other, so half a sweep over them is the least that the half can have; the floor makes the same sweep in C.",
    columns=(Column("p50", "ms", "less"), Column("p99", "ms", "less"), Column("cost", "µs CPU", "less")),
    cells=_cells,
    targets=[
        Target("p50 at most 1.25 × the floor's", _WORKLOAD, "p50", FLOOR, at_most=1.25),
        Target("p99 at most 1.5 × the floor's", _WORKLOAD, "p99", FLOOR, at_most=1.5),
        Target("p99 at most 1.1 × bun's", _WORKLOAD, "p99", "bun", at_most=1.1),
    ],
    seconds=3.0,
)
