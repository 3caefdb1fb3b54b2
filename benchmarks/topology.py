"""What do many processes cost: the hop through Redis, per event and per call?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import call, measured, servers
from benchmarks.question import Cell, Column, Figures, Question
from benchmarks.servers import OWN, ServerOf

__all__ = ["QUESTION"]

_MANY: Final = "2 gateways, 2 workers"
_WIDE: Final = "events to 1,000 listeners"
_REST: Final = "50 events/s to one listener"


def _events(workload: str, server: str, start: ServerOf, listeners: int) -> Cell:
    async def run(seconds: float) -> Figures:
        result, used = await measured.on_server(start, "fanout", {"listeners": listeners, "seconds": seconds})
        return {"rate": result.deliveries_per_second, **_costs(used.each(result.deliveries))}

    return Cell(workload, server, run)


def _at_rest(server: str, start: ServerOf) -> Cell:
    async def run(seconds: float) -> Figures:
        result, _ = await measured.on_server(start, "latency", {"listeners": 1, "seconds": seconds})
        assert result.latency_ns is not None
        return {
            "p50": measured.milliseconds(result.latency_ns.p50),
            "p99": measured.milliseconds(result.latency_ns.p99),
        }

    return Cell(_REST, server, run)


def _calls(workload: str, server: str, start: ServerOf, frame: str, connections: int) -> Cell:
    async def run(seconds: float) -> Figures:
        figures = await call.calls(start, frame, seconds, {"connections": connections})
        parts = {name: value for name, value in figures.items() if name not in ("rate", "p50", "p99", "cost")}
        costs = _costs(parts) if parts else {"gateways": figures["cost"]}
        return {"rate": figures["rate"], "p50": figures["p50"], "p99": figures["p99"], **costs}

    return Cell(workload, server, run)


def _costs(parts: dict[str, float]) -> dict[str, float]:
    """Microseconds by kind of part; of one process all is the gateway's."""
    if len(parts) == 1:
        return {"gateways": sum(parts.values())}
    kinds = {"gateways": "gateway", "workers": "worker", "Redis": "redis", "PostgreSQL": "postgres"}
    return {kind: sum(v for name, v in parts.items() if name.startswith(begin)) for kind, begin in kinds.items()}


def _cells(_quick: bool) -> Sequence[Cell]:
    cells = []
    for server, start in ((OWN, servers.backchannel), (_MANY, servers.topology)):
        cells += [
            _events(_WIDE, server, start, 1000),
            _events("events to 1 listener", server, start, 1),
            _at_rest(server, start),
            _calls("query, 1 connection", server, start, call.QUERY, 1),
            _calls("query, 100 connections", server, start, call.QUERY, 100),
            _calls("durable command, 100 connections", server, start, call.COMMAND, 100),
        ]
    return sorted(cells, key=lambda cell: [one.workload for one in cells].index(cell.workload))


QUESTION: Final = Question(
    name="topology",
    title="Many processes",
    text="One process with SQLite, beside two gateways and two workers around Redis and a synced PostgreSQL; the "
    "gateways have the one process's core, the rest share the other with the load.",
    columns=(
        Column("rate", "a second", "more"),
        Column("p50", "ms", "less"),
        Column("p99", "ms", "less"),
        Column("gateways", "µs CPU", "less"),
        Column("workers", "µs CPU", "less"),
        Column("Redis", "µs CPU", "less"),
        Column("PostgreSQL", "µs CPU", "less"),
    ),
    cells=_cells,
)
