"""How many deliveries per second does one core make, and what does one cost?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import measured, servers
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import FLOOR, OWN, ServerOf

__all__ = ["QUESTION"]

SHAPES: Final = {"1 × 1,000": (1, 1000), "10 × 100": (10, 100), "1,000 × 1": (1000, 1)}
"""Channels, and listeners of each."""

WHOLE_FRAME: Final = 205
"""Bytes of our event with 100 bytes of data: channel, name, offset, user, time. Peers send as much once, and once the
bare 100."""


def _cell(workload: str, server: str, start: ServerOf, shape: tuple[int, int], payload: int) -> Cell:
    async def run(seconds: float) -> Figures:
        channels, listeners = shape
        options = {"channels": channels, "listeners": listeners, "payload": payload, "seconds": seconds}
        result, used = await measured.on_server(start, "fanout", options)
        return {
            "rate": result.deliveries_per_second,
            "cost": sum(used.each(result.deliveries).values()),
            "joined": result.deliveries_per_recv,
        }

    return Cell(workload, server, run)


def _cells(quick: bool) -> Sequence[Cell]:
    cells = []
    for shape, sizes in SHAPES.items():
        for text, payload in {"bare 100 bytes": 100, "as many bytes as our frame": WHOLE_FRAME}.items():
            if quick and (shape == "1,000 × 1" or payload != 100):
                continue
            workload = f"{shape}, {text}"
            cells.append(_cell(workload, OWN, servers.backchannel, sizes, 100))
            cells.append(_cell(workload, FLOOR, servers.floor, sizes, payload))
            cells += [_cell(workload, name, start, sizes, payload) for name, start in servers.peers(quick).items()]
    return cells


def _targets() -> list[Target]:
    ratios = {"bun": 1.3, "nats": 2.0, "nchan": 15.0, "socketio": 35.0, "starlette": 40.0, "python_socketio": 200.0}
    targets = []
    for shape in ("1 × 1,000", "10 × 100"):
        for text in ("bare 100 bytes", "as many bytes as our frame"):
            workload = f"{shape}, {text}"
            targets += [
                Target(f"{workload}: at least {ratio:g} × {peer}", workload, "rate", peer, at_least=ratio)
                for peer, ratio in ratios.items()
            ]
            targets.append(Target(f"{workload}: at most 0.5 µs each", workload, "cost", None, at_most=0.5))
    return targets


QUESTION: Final = Question(
    name="fanout",
    title="Fan-out",
    text="One publisher; at most 64 publishes are not yet delivered to all, so nothing is won by a backlog. Ours is a "
    "live channel with history.",
    columns=(
        Column("rate", "deliveries/s", "more"),
        Column("cost", "µs CPU", "less"),
        Column("joined", "a read", "more"),
    ),
    cells=_cells,
    targets=_targets(),
)
