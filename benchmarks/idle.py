"""What does an idle connection cost in memory?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import native, servers, usage
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import OWN, ServerOf

__all__ = ["QUESTION"]

_WARM: Final = 100
_CONNECTIONS: Final = 10_000
_WORKLOAD: Final = f"{_CONNECTIONS:,} connections"


def _cell(server: str, start: ServerOf) -> Cell:
    async def run(_seconds: float) -> Figures:
        async with start() as running:
            given = {"tokens": servers.tokens()} if running.dialect == "backchannel" else {}
            async with native.idle(running.ports, _WARM, given, dialect=running.dialect):
                before, kernel = running.resident(), usage.kernel_memory()
                async with native.idle(running.ports, _CONNECTIONS, given, dialect=running.dialect):
                    after, kernel_after = running.resident(), usage.kernel_memory()
        return {
            "memory": (after - before) / _CONNECTIONS / 1024,
            "kernel": (kernel_after - kernel) / _CONNECTIONS / 1024,
        }

    return Cell(_WORKLOAD, server, run)


def _cells(quick: bool) -> Sequence[Cell]:
    others = servers.peers(["bun"] if quick else None)
    return [
        _cell(OWN, servers.backchannel),
        *(_cell(name, start) for name, start in others.items()),
    ]


QUESTION: Final = Question(
    name="idle",
    title="Memory of an idle connection",
    text="Ours are authenticated, each as a user of its own, and listen to two channels: one that all share and one of "
    "their own. A peer's listen to the one that all share. Memory is the server's resident user space, between 100 "
    "connections and 10,100; the kernel's, for both ends of the connection, stands apart.",
    columns=(Column("memory", "KiB", "less"), Column("kernel", "KiB", "less")),
    cells=_cells,
    targets=[Target("at most 5 KiB resident in user space", _WORKLOAD, "memory", None, at_most=5.0)],
)
