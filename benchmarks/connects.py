"""How many connections per second does one core welcome?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import measured, servers
from benchmarks.native import Option
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import OWN, ServerOf

__all__ = ["QUESTION"]

_FIRST: Final = "64 at once, each closed when it is there"
_AGAIN: Final = "the same, by users whose tokens were checked before"
_VISITORS: Final = 60_000
"""More than come in one run: no token comes twice."""


def _cell(workload: str, server: str, start: ServerOf, tokens: int) -> Cell:
    async def run(seconds: float) -> Figures:
        given: dict[str, Option] = {"tokens": servers.tokens(tokens)} if server == OWN else {}
        result, used = await measured.on_server(start, "connects", {**given, "seconds": seconds})
        assert result.connect_ns is not None
        return {
            "rate": result.connections_per_second,
            "p99": measured.milliseconds(result.connect_ns.p99),
            "cost": sum(used.each(max(1, int(result.connections_per_second * result.seconds))).values()),
            **measured.busy(result),
        }

    return Cell(workload, server, run)


def _cells(quick: bool) -> Sequence[Cell]:
    others = servers.peers(["bun", "nats"] if quick else None)
    return [
        _cell(_FIRST, OWN, servers.backchannel, _VISITORS),
        *(_cell(_FIRST, name, start, 0) for name, start in others.items()),
        _cell(_AGAIN, OWN, servers.backchannel, 64),
        *(_cell(_AGAIN, name, others[name], 0) for name in ("bun", "nats") if name in others),
    ]


QUESTION: Final = Question(
    name="connects",
    title="Connections per second",
    text="From the first packet to the server's welcome. Ours is an upgrade, `connect` with a token whose signature is "
    "checked, and `connected`; no user comes twice, but in the last table, where a token is remembered for its life as "
    "when all come back after a restart. A peer's is its bare handshake.",
    columns=(Column("rate", "connections/s", "more"), Column("p99", "ms", "less"), Column("cost", "µs CPU", "less")),
    cells=_cells,
    targets=[
        Target("token checked, a new user each time: at least 1.0 × nats", _FIRST, "rate", "nats", at_least=1.0),
        Target("a new user each time: at least 0.3 × bun's bare handshake", _FIRST, "rate", "bun", at_least=0.3),
        Target("token checked before: at least 1.0 × nats", _AGAIN, "rate", "nats", at_least=1.0),
        Target("token checked before: at least 0.3 × bun's bare handshake", _AGAIN, "rate", "bun", at_least=0.3),
    ],
)
