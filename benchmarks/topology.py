"""What do many processes cost: the hop through Redis, per event and per call?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import call, measured, servers
from benchmarks.measured import Used
from benchmarks.native import Option, Result
from benchmarks.question import BUSY, Cell, Column, Figures, Question, Target
from benchmarks.servers import OWN, Server, ServerOf

__all__ = ["QUESTION", "hop"]

_MANY: Final = "2 gateways, 2 workers"
_HOPPING: Final = "2 gateways"
_THROUGH: Final = "from gateway to gateway"
_WIDE: Final = "events to 1,000 listeners"
_REST: Final = "50 events/s to one listener"
_HOP: Final = "an event's way through Redis, at load"
_LOAD: Final[Mapping[str, Option]] = {"window": 256}


def _events(server: str, start: ServerOf) -> Cell:
    async def run(seconds: float) -> Figures:
        result, used = await measured.on_server(start, "fanout", {**_LOAD, "listeners": 1000, "seconds": seconds})
        return _of_events(result, used)

    return Cell(_WIDE, server, run)


async def _through_redis(seconds: float) -> Figures:
    async with servers.topology() as server:
        return _of_events(*await _apart(server, {**_LOAD, "listeners": 1000, "seconds": seconds}))


def _of_events(result: Result, used: Used) -> Figures:
    return {
        "rate": result.deliveries_per_second,
        "joined": result.deliveries_per_recv,
        **_costs(used.each(result.deliveries)),
        **measured.busy(result),
    }


async def _apart(server: Server, options: Mapping[str, Option]) -> tuple[Result, Used]:
    """Load two gateways: all publish on the first, all listen on the second."""
    listening = server._replace(ports=server.ports[1:])
    return await measured.load(listening, "fanout", {**options, "pub_port": server.ports[0]})


async def hop(seconds: float) -> Figures:
    """What an event costs each side of its way through Redis, and the same event in one process."""
    options = {**_LOAD, "listeners": 1, "seconds": seconds}
    result, used = await measured.on_server(servers.backchannel, "fanout", options)
    one = sum(used.each(result.publishes).values())
    async with servers.topology() as server:
        result, used = await _apart(server, options)
    each = used.each(result.publishes)
    publish, receive = each["gateway 1"], each["gateway 2"]
    return {
        "publish": publish,
        "receive": receive,
        "one process": one,
        "added": publish + receive - one,
        "Redis": each["redis"],
    }


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
        parts = {name: value for name, value in figures.items() if name.partition(" ")[0] in _PARTS.values()}
        costs = _costs(parts) if parts else {"gateways": figures["cost"]}
        return {**{name: figures[name] for name in ("rate", "p50", "p99", BUSY)}, **costs}

    return Cell(workload, server, run)


_PARTS: Final = {"gateways": "gateway", "workers": "worker", "Redis": "redis", "PostgreSQL": "postgres"}


def _costs(parts: dict[str, float]) -> dict[str, float]:
    """Microseconds by kind of part; of one process all is the gateway's."""
    if len(parts) == 1:
        return {"gateways": sum(parts.values())}
    return {kind: sum(v for name, v in parts.items() if name.startswith(begin)) for kind, begin in _PARTS.items()}


def _cells(quick: bool) -> Sequence[Cell]:
    cells = []
    for server, start in ((OWN, servers.backchannel), (_MANY, servers.topology)):
        cells += [_events(server, start), _at_rest(server, start)]
        if not quick:
            cells.append(_calls("query, 1 connection", server, start, call.QUERY, 1))
        cells += [
            _calls("query, 100 connections", server, start, call.QUERY, 100),
            _calls("durable command, 100 connections", server, start, call.COMMAND, 100),
        ]
    cells += [Cell(_WIDE, _THROUGH, _through_redis), Cell(_HOP, _HOPPING, hop)]
    return sorted(cells, key=lambda cell: [one.workload for one in cells].index(cell.workload))


QUESTION: Final = Question(
    name="topology",
    title="Many processes",
    text="One process with SQLite, beside two gateways and two workers around Redis and a synced PostgreSQL. The "
    "gateways have the core of the one process, all others share the other core with the load. CPU is told by part, "
    f"of one process all as the gateway's; {_LOAD['window']} publishes are under way.\n\nEvents to 1,000 listeners: "
    "*from gateway to gateway* all is published on one and all listen on the other, so that every event takes the "
    "hop and one process delivers, as without it. With the listeners on both gateways, both make each sweep and "
    "share one core.\n\nAn event's way through Redis: one connection publishes on a gateway where nobody listens, "
    "one listens on the other. *Publish* is all that the first gateway uses for an event, with reading and checking "
    "it; *receive* is all that the second one uses, with delivering it to one listener. Both are so the most that "
    "the hop can cost. *One process* does the same without Redis, and *added* is the two gateways' cost less that.",
    columns=(
        Column("rate", "a second", "more"),
        Column("joined", "a read", "more"),
        Column("p50", "ms", "less"),
        Column("p99", "ms", "less"),
        Column("gateways", "µs CPU", "less"),
        Column("workers", "µs CPU", "less"),
        Column("publish", "µs CPU", "less"),
        Column("receive", "µs CPU", "less"),
        Column("one process", "µs CPU", "less"),
        Column("added", "µs CPU", "less"),
        Column("Redis", "µs CPU", "less"),
        Column("PostgreSQL", "µs CPU", "less"),
    ),
    cells=_cells,
    targets=[
        Target("at load: at most 5 µs of CPU to receive an event", _HOP, "receive", None, at_most=5.0, server=_HOPPING),
        Target("at load: at most 10 µs of CPU to publish one", _HOP, "publish", None, at_most=10.0, server=_HOPPING),
        Target("fan-out through Redis: at least 0.9 × without", _WIDE, "rate", OWN, at_least=0.9, server=_THROUGH),
        Target(
            "at rest: p50 at most 0.6 ms above one process",
            _REST,
            "p50",
            OWN,
            at_most=0.6,
            server=_MANY,
            difference=True,
        ),
    ],
)
