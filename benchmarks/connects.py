"""How many connections per second does one core welcome?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import measured, servers
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import OWN, ServerOf

__all__ = ["QUESTION"]

_WORKLOAD: Final = "64 at once, each closed when it is there"


def _cell(server: str, start: ServerOf) -> Cell:
    async def run(seconds: float) -> Figures:
        result, used = await measured.on_server(start, "connects", {"seconds": seconds})
        assert result.connect_ns is not None
        return {
            "rate": result.connections_per_second,
            "p99": measured.milliseconds(result.connect_ns.p99),
            "cost": sum(used.each(max(1, int(result.connections_per_second * result.seconds))).values()),
        }

    return Cell(_WORKLOAD, server, run)


def _cells(quick: bool) -> Sequence[Cell]:
    return [_cell(OWN, servers.backchannel), *(_cell(name, start) for name, start in servers.peers(quick).items())]


QUESTION: Final = Question(
    name="connects",
    title="Connections per second",
    text="From the first packet to the server's welcome. Ours is an upgrade, a token that is checked, and `connected`; "
    "a peer's is its bare handshake.",
    columns=(Column("rate", "connections/s", "more"), Column("p99", "ms", "less"), Column("cost", "µs CPU", "less")),
    cells=_cells,
    targets=[
        Target("at least 1.0 × nats", _WORKLOAD, "rate", "nats", at_least=1.0),
        Target("at least 0.3 × bun's bare handshake", _WORKLOAD, "rate", "bun", at_least=0.3),
    ],
)
