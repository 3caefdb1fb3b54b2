"""How many deliveries per second does one core make, and what does one cost?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import measured, servers
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import FLOOR, OWN, ServerOf

__all__ = ["QUESTION", "WHOLE_FRAME"]

SHAPES: Final = {"1 × 1,000": (1, 1000), "10 × 100": (10, 100), "1,000 × 1": (1000, 1)}
"""Channels, and listeners of each."""

WHOLE_FRAME: Final = 216
"""Bytes of our event with 100 bytes of data: channel, name, offset, user, time. Peers send as much once, and once the
bare 100."""

WINDOW: Final = 256
"""Publishes under way on each channel of many listeners, for servers that can join them into one write."""

ONE_BY_ONE: Final = 32
"""The same for servers that make one write of each delivery. More of them under way would only wait: from 8 to 64 their
rate moves by a tenth, either way, and 256 would be 20 seconds of waiting on the slowest."""

SMALL: Final = 64
"""What shows how much of the rate is the window's."""

_JOIN: Final = (OWN, "bun", "nats", "nchan")
_BARE: Final = "bare 100 bytes"
_EQUAL: Final = "as many bytes as our frame"
_RATIOS: Final = {"bun": 1.3, "nats": 2.0, "nchan": 15.0, "socketio": 35.0, "starlette": 40.0, "python_socketio": 200.0}


def _cell(workload: str, server: str, start: ServerOf, shape: tuple[int, int], payload: int, window: int) -> Cell:
    async def run(seconds: float) -> Figures:
        channels, listeners = shape
        options = {
            "channels": channels,
            "listeners": listeners,
            "payload": payload,
            "window": window * channels,
            "seconds": seconds,
        }
        result, used = await measured.on_server(start, "fanout", options)
        return {
            "rate": result.deliveries_per_second,
            "cost": sum(used.each(result.deliveries).values()),
            "joined": result.deliveries_per_recv,
            **measured.busy(result),
        }

    return Cell(workload, server, run)


def _cells(quick: bool) -> Sequence[Cell]:
    others = {FLOOR: servers.floor, **servers.peers(_RATIOS if quick else None)}
    cells = []
    for shape, sizes in SHAPES.items():
        for text, payload in {_BARE: 100, _EQUAL: WHOLE_FRAME}.items():
            alone = shape == "1,000 × 1"
            if alone and (quick or payload != 100):
                continue
            for name, start in {OWN: servers.backchannel, **others}.items():
                if payload != 100 and name == FLOOR:
                    continue
                window = 1 if alone else WINDOW if name in _JOIN else ONE_BY_ONE
                cells.append(_cell(f"{shape}, {text}", name, start, sizes, 100 if name == OWN else payload, window))
    if not quick:
        joining = {OWN: servers.backchannel, **{name: start for name, start in others.items() if name in _JOIN}}
        cells += [_cell(_SMALLER, name, start, (1, 1000), 100, SMALL) for name, start in joining.items()]
    return cells


_SMALLER: Final = f"1 × 1,000, {_BARE}, only {SMALL} under way"


def _targets() -> list[Target]:
    targets = []
    for shape in ("1 × 1,000", "10 × 100"):
        for text in (_BARE, _EQUAL):
            workload = f"{shape}, {text}"
            targets += [
                Target(f"{workload}: at least {ratio:g} × {peer}", workload, "rate", peer, at_least=ratio)
                for peer, ratio in _RATIOS.items()
            ]
        bare = f"{shape}, {_BARE}"
        targets.append(Target(f"{shape}: at most 0.5 µs of CPU each", bare, "cost", None, at_most=0.5))
    return targets


QUESTION: Final = Question(
    name="fanout",
    title="Fan-out",
    text="One connection publishes as fast as deliveries come. Ours is a live channel with a history of 1,000, and "
    f"each event has its offset, user and time: 100 bytes of data make a frame of {WHOLE_FRAME}. So peers send the "
    "bare 100 bytes once, and once as many as our whole frame; the floor sends the bare 100.\n\nHow much is under "
    f"way decides how much can be joined into one write, so it is the same for all shapes: {WINDOW} publishes on each "
    "channel that are not yet delivered to all (and one on each where a channel has one listener). A server wins "
    "nothing by a backlog: a next publish leaves when one has come to everybody. It is a maximum rate and not a "
    "latency: with so much under way each event waits for those before it. Servers that write each delivery by "
    f"itself ({ONE_BY_ONE} under way) gain nothing from more. *A read* is how many deliveries the generator found in "
    f"one: what was joined. The last table has {SMALL} under way instead, where all that a server could join is soon "
    "joined, and it then waits for the load: there the rate says little, and the CPU the most.",
    columns=(
        Column("rate", "deliveries/s", "more"),
        Column("cost", "µs CPU", "less"),
        Column("joined", "a read", "more"),
    ),
    cells=_cells,
    targets=_targets(),
)
