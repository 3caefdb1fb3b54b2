"""How many calls per second does one core answer, and how long does one take, alone and beside fan-out?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import measured, servers
from benchmarks.native import Option
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import OWN, ServerOf

__all__ = ["COMMAND", "QUERY", "QUESTION", "calls"]

QUERY: Final = '{"type":"call","id":@ID@,"name":"echo.ask","data":{"value":1}}'
COMMAND: Final = (
    '{"type":"call","id":@ID@,"name":"log.append","key":"@KEY@","data":{"channel":"log:lane@CALLER@","value":1}}'
)
_ECHO: Final = '{"id":@ID@,"name":"echo.ask","data":{"value":1},"fill":"xxx"}'
_SOCKET_IO: Final = '42@ID@["echo",{"name":"echo.ask","data":{"value":1}}]'

_QUERIES: Final = "query, 100 connections, 1 under way on each"
_EIGHT: Final = "query, 100 connections, 8 under way on each"
_DURABLE: Final = "durable command with a key, 100 connections"
_MIXED: Final = "query, 10 connections, while 50 events/s go to 1,000 listeners"
_PACED: Final = "query, 10 connections, 4,000 a second, while 50 events/s go to 1,000 listeners"


async def calls(start: ServerOf, frame: str, seconds: float, options: Mapping[str, int]) -> Figures:
    """Start a server and call it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(frame)
        file.flush()
        given: dict[str, Option] = {"frame": Path(file.name), "seconds": seconds, **options}
        result, used = await measured.on_server(start, "calls", given)
    assert result.call_ns is not None
    each = used.each(result.calls)
    return {
        "rate": result.calls_per_second,
        "p50": measured.milliseconds(result.call_ns.p50),
        "p99": measured.milliseconds(result.call_ns.p99),
        "cost": sum(each.values()),
        **measured.busy(result),
        **(each if len(each) > 1 else {}),
    }


def _cell(workload: str, server: str, start: ServerOf, frame: str, **options: int) -> Cell:
    return Cell(workload, server, lambda seconds: calls(start, frame, seconds, options))


def _cells(quick: bool) -> Sequence[Cell]:
    present = servers.peers(["bun", "socketio"] if quick else None)
    echoes = {name: start for name, start in present.items() if name not in ("nats", "mosquitto")}

    beside = {"connections": 10, "background_rate": 50, "listeners": 1000}
    paced = {**beside, "rate": 4000}

    def frame(name: str) -> str:
        return _SOCKET_IO if "socketio" in name else _ECHO

    cells = [_cell(_QUERIES, OWN, servers.backchannel, QUERY)]
    cells += [_cell(_QUERIES, name, start, frame(name)) for name, start in echoes.items()]
    cells += [
        _cell(_EIGHT, OWN, servers.backchannel, QUERY, in_flight=8),
        _cell(_DURABLE, OWN, servers.backchannel, COMMAND),
        _cell(_MIXED, OWN, servers.backchannel, QUERY, **beside),
        _cell(_PACED, OWN, servers.backchannel, QUERY, **paced),
    ]
    if "bun" in present:
        cells += [
            _cell(_EIGHT, "bun", present["bun"], _ECHO, in_flight=8),
            _cell(_MIXED, "bun", present["bun"], _ECHO, **beside),
            _cell(_PACED, "bun", present["bun"], _ECHO, **paced),
        ]
    return cells


QUESTION: Final = Question(
    name="call",
    title="Calls",
    text="Ours goes through session, relay, worker and a typed handler, and is checked on both ways; a durable "
    "command is committed and synced before its reply. A peer's is an echo, or an acknowledgement, with nothing "
    "behind it; NATS and Mosquitto have none of their own. Beside fan-out it is asked twice: as fast as answers come, "
    "where a sweep holds up ten calls, which above 50,000 calls/s are less than one in a hundred, so that p99 does not "
    "see them; and at 4,000 calls/s, timed from when each was due, where both servers are asked the same.",
    columns=(
        Column("rate", "calls/s", "more"),
        Column("p50", "ms", "less"),
        Column("p99", "ms", "less"),
        Column("cost", "µs CPU", "less"),
    ),
    cells=_cells,
    targets=[
        Target(
            "query round trip, 100 connections: at least 0.35 × bun's bare echo", _QUERIES, "rate", "bun", at_least=0.35
        ),
        Target(
            "query round trip, 100 connections: at least 1.3 × Socket.IO's acknowledgement",
            _QUERIES,
            "rate",
            "socketio",
            at_least=1.3,
        ),
        Target(
            "query of 10 connections beside 50 events/s to 1,000 listeners: p99 at most 0.5 × bun's",
            _MIXED,
            "p99",
            "bun",
            at_most=0.5,
        ),
        Target(
            "the same at 4,000 calls/s: p99 at most 0.5 × bun's",
            _PACED,
            "p99",
            "bun",
            at_most=0.5,
        ),
    ],
)
