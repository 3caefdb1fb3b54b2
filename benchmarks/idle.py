"""What does an idle connection cost in memory?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import native, servers, usage
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import OWN, ServerOf

__all__ = ["QUESTION"]

_WARM: Final = 100


def _cell(workload: str, server: str, start: ServerOf, connections: int) -> Cell:
    async def run(_seconds: float) -> Figures:
        async with start() as running:
            given = {"tokens": servers.tokens()} if running.dialect == "backchannel" else {}
            async with native.idle(running.ports, _WARM, given, dialect=running.dialect):
                before, kernel = running.resident(), usage.kernel_memory()
                async with native.idle(running.ports, connections, given, dialect=running.dialect):
                    after, kernel_after = running.resident(), usage.kernel_memory()
        return {"memory": (after - before) / connections / 1024, "kernel": (kernel_after - kernel) / connections / 1024}

    return Cell(workload, server, run)


def _cells(quick: bool) -> Sequence[Cell]:
    connections = 2000 if quick else 9500
    workload = "idle connections"
    others = servers.peers(quick)
    return [
        _cell(workload, OWN, servers.backchannel, connections),
        *(_cell(workload, name, start, connections) for name, start in others.items()),
    ]


QUESTION: Final = Question(
    name="idle",
    title="Memory of an idle connection",
    text="9,500 connections (2,000 where it is quick). Ours are authenticated and listen to two channels: one that all "
    "share and one of their own. Memory is the server's resident user space; the kernel's, for both ends of the "
    "connection, stands apart.",
    columns=(Column("memory", "KiB", "less"), Column("kernel", "KiB", "less")),
    cells=_cells,
    targets=[Target("at most 5 KiB in user space", "idle connections", "memory", None, at_most=5.0)],
)
