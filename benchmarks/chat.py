"""How many chat messages per second are sent, each answered after a synced commit and seen by who listens?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backchannel.chat import CreateChannel
from backchannel_client import Client
from benchmarks import measured, servers
from benchmarks.native import Option
from benchmarks.question import Cell, Column, Figures, Question, Target
from benchmarks.servers import OWN, Server, ServerOf

__all__ = ["QUESTION", "chat", "furnish"]

SENDERS: Final = 100
CHANNELS: Final = 10
"""As teams do: ten who write to each, neither all in one lane nor each in one of their own."""

_SEND: Final = (
    '{"type":"call","id":@ID@,"name":"message.send","key":"@KEY@",'
    '"data":{"channel":"chat:room@CHANNEL@","text":"@STAMP@ is what there is to say about it, for now."}}'
)

_SQLITE: Final = "SQLite, one process"
_POSTGRES: Final = "PostgreSQL, one gateway, one worker, Redis"
_ALL_HEAR: Final = ", all 100 listen"
_RATES: Final = {_SQLITE: 3000, _POSTGRES: 2000}
"""Half of what each must be able to do."""


async def furnish(server: Server, channels: int = CHANNELS, users: int = SENDERS) -> None:
    """Make what must be there first: the channels, with their members, each user in one of them."""
    port = server.ports[0]
    async with Client(f"ws://127.0.0.1:{port}/ws", token=servers.token("user0")) as client:
        for channel in range(channels):
            members = [f"user{number}" for number in range(channel, users, channels)]
            await client.call(CreateChannel(name=f"Room {channel}", id=f"room{channel}", members=members))


async def chat(start: ServerOf, seconds: float, *, listeners: int, rate: int | None = None) -> Figures:
    """Start a server, make the channels, and send.

    Args:
        start: what is started.
        seconds: how long is measured.
        listeners: of each channel.
        rate: messages per second in all; None: each sender's next one leaves when the one before is answered.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(_SEND)
        file.flush()
        options: dict[str, Option] = {
            "frame": Path(file.name),
            "connections": SENDERS,
            "channels": CHANNELS,
            "listeners": listeners,
            "prefix": "chat:room",
            "seconds": seconds,
            "warmup": 0.5,
            # On any core, and asleep while nothing comes: the server has all that the load leaves.
            "cpu": -1,
            "spin": False,
            **({} if rate is None else {"rate": rate}),
        }
        async with start() as server:
            await furnish(server)
            result, used = await measured.load(server, "calls", options)
    assert result.call_ns is not None
    assert result.latency_ns is not None
    each = used.each(result.calls)
    return {
        "rate": result.calls_per_second,
        "p50": measured.milliseconds(result.call_ns.p50),
        "p99": measured.milliseconds(result.call_ns.p99),
        "seen": measured.milliseconds(result.latency_ns.p50),
        "cost": sum(each.values()),
        **(each if len(each) > 1 else {}),
    }


def _at_half(workload: str) -> str:
    return f"{workload}, {_RATES[workload]:,} a second"


def _cells(_quick: bool) -> Sequence[Cell]:
    cells = []
    for workload, start in ((_SQLITE, servers.chat), (_POSTGRES, servers.chat_topology)):
        cells += [
            _cell(workload, start, 1),
            _cell(_at_half(workload), start, 1, _RATES[workload]),
            _cell(workload + _ALL_HEAR, start, SENDERS // CHANNELS),
        ]
    return cells


def _cell(workload: str, start: ServerOf, listeners: int, rate: int | None = None) -> Cell:
    return Cell(workload, OWN, lambda seconds: chat(start, seconds, listeners=listeners, rate=rate))


QUESTION: Final = Question(
    name="chat",
    title="Chat messages",
    text="`message.send` with a key, 100 senders who are members of 10 channels: membership is checked, the message, "
    "its number, its event and its reply are committed and synced, then it is answered. One more connection listens to "
    "each channel, or each sender has one; it is proven that every message came to all of them once. Server and load "
    "share both cores.",
    columns=(
        Column("rate", "messages/s", "more"),
        Column("p50", "ms", "less"),
        Column("p99", "ms", "less"),
        Column("seen", "ms until seen (p50)", "less"),
        Column("cost", "µs CPU", "less"),
        Column("gateway", "µs CPU", "less"),
        Column("worker", "µs CPU", "less"),
        Column("redis", "µs CPU", "less"),
        Column("postgres", "µs CPU", "less"),
    ),
    cells=_cells,
    targets=[
        Target("SQLite: at least 6,000 a second", _SQLITE, "rate", None, at_least=6000),
        Target("PostgreSQL: at least 4,000 a second", _POSTGRES, "rate", None, at_least=4000),
        Target("SQLite: p99 under 50 ms at 3,000 a second", _at_half(_SQLITE), "p99", None, at_most=50),
        Target("PostgreSQL: p99 under 50 ms at 2,000 a second", _at_half(_POSTGRES), "p99", None, at_most=50),
    ],
)
