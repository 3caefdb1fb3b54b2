"""How does a chat feel, and what does it cost, when hundreds do everything that people do in one?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import measured, servers
from benchmarks.chat import furnish
from benchmarks.native import Option, Times
from benchmarks.question import Cell, Column, Figures, Question
from benchmarks.servers import ServerOf

__all__ = ["ACTIONS", "QUESTION", "mixed"]

ROOMS: Final = 20
MEMBERS: Final = 20
RATE: Final = 1000

_CHANNEL: Final = '"channel":"chat:room@CHANNEL@"'


def _call(name: str, data: str, key: str = "") -> str:
    return f'{{"type":"call","id":@ID@,"name":"{name}"{key},"data":{{{data}}}}}'


ACTIONS: Final = {
    "send": (20, _call("message.send", f'{_CHANNEL},"text":"@STAMP@ is what there is to say."', ',"key":"@KEY@"')),
    "typing": (40, _call("typing.start", _CHANNEL, ',"key":"@KEY@"')),
    "messages": (15, _call("message.list", f'{_CHANNEL},"limit":20')),
    "log": (10, '{"type":"history","id":@ID@,"channel":"chat:room@CHANNEL@","limit":20}'),
    "members": (15, _call("channel.members", _CHANNEL)),
}
"""What people do, how many in a hundred, and the frame that does it."""


async def mixed(start: ServerOf, seconds: float, *, rooms: int, members: int, rate: float) -> Figures:
    """Start a chat server, make the rooms, and let their members act, so many times a second in all."""
    with tempfile.NamedTemporaryFile("w", suffix=".frames") as file:
        file.write("".join(f"{weight} {frame}\n" for weight, frame in ACTIONS.values()))
        file.flush()
        async with start() as server:
            await furnish(server, rooms, rooms * members)
            options: dict[str, Option] = {
                "frame": Path(file.name),
                "channels": rooms,
                "listeners": members,
                "prefix": "chat:room",
                "rate": rate,
                "seconds": seconds,
            }
            result, used = await measured.load(server, "mixed", options)
    times = dict(zip(ACTIONS, result.action_ns, strict=True))
    return {
        "send p50": _p50(times["send"]),
        "send p99": _p99(times["send"]),
        "seen p50": _p50(result.latency_ns),
        "seen p99": _p99(result.latency_ns),
        **{f"{name} p99": _p99(found) for name, found in times.items() if name != "send"},
        "cores": sum(used.each(1).values()) / 1e6 / result.seconds,
        **measured.busy(result),
    }


def _p50(times: Times | None) -> float:
    return measured.milliseconds(times.p50) if times else 0.0


def _p99(times: Times | None) -> float:
    return measured.milliseconds(times.p99) if times else 0.0


def _cells(quick: bool) -> Sequence[Cell]:
    installations = {"SQLite": servers.chat}
    if not quick:
        installations["PostgreSQL and Redis"] = servers.chat_topology
    return [_cell(name, start) for name, start in installations.items()]


def _cell(name: str, start: ServerOf) -> Cell:
    async def run(seconds: float) -> Figures:
        return await mixed(start, seconds, rooms=ROOMS, members=MEMBERS, rate=RATE)

    return Cell(f"{ROOMS * MEMBERS} people, {RATE:,} actions a second", name, run)


QUESTION: Final = Question(
    name="mixed",
    title="Mixed chat load",
    text=f"{ROOMS} rooms of {MEMBERS} people, each on a connection that listens to its room. All act at a fixed rate, "
    f"{RATE:,} times a second: "
    + ", ".join(f"{weight} % {name}" for name, (weight, _) in ACTIONS.items())
    + ". A send is durable and acknowledged after its commit, *seen* is from the send to its arrival at each of the "
    "room's people, all proven. With PostgreSQL there are a gateway, a worker and Redis. Typing is an ephemeral "
    "event to the room; messages and members are queries of the store, log is a page of the channel's history. "
    "Server and load share both cores. No peer has the parts to do the same (a log, a store, rights), so there is "
    "nothing beside it.",
    columns=(
        *(Column(name, "ms", "less") for name in ("send p50", "send p99", "seen p50", "seen p99")),
        *(Column(f"{name} p99", "ms", "less") for name in ACTIONS if name != "send"),
        Column("cores", "used", "less"),
    ),
    cells=_cells,
    seconds=2.0,
)
