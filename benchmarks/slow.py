"""Do listeners that do not read harm those that do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import measured, servers
from benchmarks.question import Cell, Column, Figures, Question
from benchmarks.servers import OWN

__all__ = ["QUESTION"]


def _cells(quick: bool) -> Sequence[Cell]:
    cells = []
    for slow in (0, 10) if quick else (0, 10, 100):

        async def run(seconds: float, slow: int = slow) -> Figures:
            mode, more = ("slow", {"slow": slow}) if slow else ("fanout", {})
            options = {"listeners": 1000, "seconds": seconds, **more}
            result, used = await measured.on_server(servers.backchannel, mode, options)
            return {
                "rate": result.deliveries_per_second,
                "cost": sum(used.each(result.deliveries).values()),
                "told": result.slow_told,
                "ended": result.slow_ended,
                **measured.busy(result),
            }

        cells.append(Cell(f"1,000 listeners, {slow} more that do not read", OWN, run))
    return cells


QUESTION: Final = Question(
    name="slow",
    title="Slow readers among fast ones",
    text="Those that do not read are told what they missed, or ended, and nothing is dropped silently; the figures are "
    "of those that read.",
    columns=(
        Column("rate", "deliveries/s", "more"),
        Column("cost", "µs CPU", "less"),
        Column("told", "events told as missed", "less"),
        Column("ended", "slow connections ended", "less"),
    ),
    cells=_cells,
)
