"""How long does it take until all have caught up, when all come back at once?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import measured, servers
from benchmarks.question import Cell, Column, Figures, Question
from benchmarks.servers import OWN

__all__ = ["QUESTION"]


def _cells(quick: bool) -> Sequence[Cell]:
    connections = 2000 if quick else 10_000

    async def run(_seconds: float) -> Figures:
        result, _ = await measured.on_server(servers.backchannel, "storm", {"connections": connections})
        assert result.caught_up_ns is not None
        assert result.ready_ns is not None
        return {
            "all": measured.milliseconds(result.caught_up_ns.max),
            "p50": measured.milliseconds(result.caught_up_ns.p50),
            "connected": measured.milliseconds(result.ready_ns.max),
        }

    return [Cell(f"{connections:,} clients, 10 events missed by each", OWN, run)]


QUESTION: Final = Question(
    name="storm",
    title="A reconnect storm",
    text="All connections are cut, events go on, and all come back at one instant and resume from their positions. It "
    "is proven that none missed anything.",
    columns=(
        Column("all", "ms until all have caught up", "less"),
        Column("p50", "ms until half have", "less"),
        Column("connected", "ms until all are answered", "less"),
    ),
    cells=_cells,
)
