"""Does one more delivery, call or subscription cost the same when there are many?"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from benchmarks import call, measured, native, servers
from benchmarks.native import Option
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import Server, ServerOf

__all__ = ["QUESTION", "calls_beside", "each_subscription"]

JOINED: Final = 16
"""Events that leave together, and so are joined, whatever the number of listeners."""

CONNECTIONS: Final = 1000

_DELIVERY: Final = f"a delivery, {JOINED} joined, by listeners of one channel"
_FLOOR: Final = f"the same, the floor in C, {JOINED} joined"
_CALL: Final = f"a query, by channels that {CONNECTIONS:,} other connections listen to"
_MEMORY: Final = f"a subscription, by how many {CONNECTIONS:,} connections have"

_LISTENERS: Final = (100, 1000, 10_000)
_CHANNELS: Final[Mapping[int, Mapping[str, Option]]] = {
    10: {"channels": 10},
    1000: {"channels": 1000},
    100_000: {"subscriptions": 100},
}
"""What the idle connections listen to, by how many channels that makes."""


def _delivery(workload: str, listeners: int, start: ServerOf) -> Cell:
    async def run(seconds: float) -> Figures:
        options = {"listeners": listeners, "window": JOINED, "burst": True, "seconds": seconds}
        result, used = await measured.on_server(start, "fanout", options)
        return {
            "cost": sum(used.each(result.deliveries).values()),
            "joined": result.deliveries_per_recv,
            **measured.busy(result),
        }

    return Cell(workload, f"{listeners:,} listeners", run)


async def calls_beside(start: ServerOf, seconds: float, listening: Mapping[str, Option], connections: int) -> Figures:
    """Start a server, let connections listen to what is asked, and call it from others."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(call.QUERY)
        file.flush()
        async with start() as server, _idle(server, connections, {**listening, "prefix": "bench:idle"}):
            options: dict[str, Option] = {"frame": Path(file.name), "seconds": seconds}
            result, used = await measured.load(server, "calls", options)
    assert result.call_ns is not None
    return {
        "cost": sum(used.each(result.calls).values()),
        "p99": measured.milliseconds(result.call_ns.p99),
        **measured.busy(result),
    }


async def each_subscription(start: ServerOf, connections: int, more: int) -> Figures:
    """Bytes that one subscription to a channel of its own keeps resident: connections with so many more of them than
    one, beside as many with one."""
    async with start() as server, _idle(server, 100, {"prefix": "bench:warm"}):
        empty = server.resident()
        async with _idle(server, connections, {"prefix": "bench:one", "channels": connections}):
            one = server.resident()
            async with _idle(server, connections, {"prefix": "bench:more", "subscriptions": more + 1}):
                many = server.resident()
    return {"memory": ((many - one) - (one - empty)) / (connections * more)}


def _idle(server: Server, connections: int, options: Mapping[str, Option]) -> AbstractAsyncContextManager[native.Held]:
    return native.idle(server.ports, connections, {"tokens": servers.tokens(), **options}, dialect=server.dialect)


def _query(channels: int) -> Cell:
    async def run(seconds: float) -> Figures:
        return await calls_beside(servers.backchannel, seconds, _CHANNELS[channels], CONNECTIONS)

    return Cell(_CALL, f"{channels:,} channels", run)


def _memory(more: int) -> Cell:
    async def run(_seconds: float) -> Figures:
        return await each_subscription(servers.backchannel, CONNECTIONS, more)

    return Cell(_MEMORY, f"{CONNECTIONS * more:,} subscriptions", run)


def _cells(quick: bool) -> Sequence[Cell]:
    listeners = _LISTENERS[::2] if quick else _LISTENERS
    channels = list(_CHANNELS)[::2] if quick else list(_CHANNELS)
    cells = [_delivery(_DELIVERY, number, servers.backchannel) for number in listeners]
    if not quick:
        floor = functools.partial(servers.floor, JOINED)
        cells += [_delivery(_FLOOR, number, floor) for number in listeners]
    cells += [_query(number) for number in channels]
    cells += [_memory(more) for more in (10, 100)]
    return cells


def _within(text: str, workload: str, column: str, server: str, peer: str) -> Target:
    return Target(f"{text}: within 25 %", workload, column, peer, at_most=1.25, server=server)


QUESTION: Final = Question(
    name="growth",
    title="Growth of costs",
    text=f"What one more costs where there are many already. Deliveries: {JOINED} events leave together, and the next "
    "ones when all have come to everybody, so that as much is joined whatever the number of listeners; what an event "
    "costs once is spread over them. The kernel's own cost of a write grows with the number of sockets, which the "
    "floor shows. Queries: as many other connections are there each time, and listen to few channels that they "
    "share, to one each, or to a hundred each. Memory: resident user space of one subscription to a channel that "
    "nobody else listens to.",
    columns=(
        Column("cost", "µs CPU", "less"),
        Column("p99", "ms", "less"),
        Column("joined", "a read", "more"),
        Column("memory", "bytes", "less"),
    ),
    cells=_cells,
    targets=[
        _within("CPU per delivery, 10,000 listeners to 100", _DELIVERY, "cost", "10,000 listeners", "100 listeners"),
        _within("CPU per query, 100,000 channels to 10", _CALL, "cost", "100,000 channels", "10 channels"),
        _within(
            "memory per subscription, 100,000 to 10,000",
            _MEMORY,
            "memory",
            "100,000 subscriptions",
            "10,000 subscriptions",
        ),
    ],
)
