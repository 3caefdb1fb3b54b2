"""What do many processes cost: the hop through Redis, per event and per call?

Two gateways and two workers around Redis and a synced PostgreSQL, beside one embedded process, interleaved in one run
on the same cores. Events are published by one client on a live channel with history; calls are a query that reads
nothing and a durable command.

    .venv/bin/python benchmarks/topology.py [--listeners 1000] [--seconds 2] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import uvloop

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import call, fanout, load  # their folder may have to be found first

Used = dict[str, float]


class Installation:
    """What is under load: where clients connect, and what each part has used."""

    def __init__(self, ports: list[int], cpu: Callable[[], Used]) -> None:
        self.ports = ports
        self.cpu = cpu

    async def connect(self, number: int, *channels: str) -> load.Client:
        """Client `number`, on one of the gateways in turn."""
        return await load.connect(self.ports[number % len(self.ports)], f"user{number}", *channels)


@contextlib.asynccontextmanager
async def embedded() -> AsyncIterator[Installation]:
    """One process, SQLite, nothing between."""
    async with load.target() as server:
        yield Installation([server.port], lambda: {"process": server.cpu()})


@contextlib.asynccontextmanager
async def around_redis() -> AsyncIterator[Installation]:
    """Two gateways, two workers, Redis and PostgreSQL."""
    async with load.topology() as topology:
        yield Installation([gateway.port for gateway in topology.gateways], topology.cpu)


INSTALLATIONS = {"embedded": embedded, "2 gateways, 2 workers": around_redis}


class Row:
    """One measurement: how many per second, milliseconds where they were taken, CPU microseconds of each part."""

    def __init__(self, rate: float, times: list[float], used: Used) -> None:
        self.rate = rate
        self.p50 = load.percentile(times, 0.5) * 1e3
        self.p99 = load.percentile(times, 0.99) * 1e3
        self.used = used


def _each(before: Used, after: Used, count: int) -> Used:
    return {part: (after[part] - before[part]) / max(1, count) * 1e6 for part in after}


async def fan_out(under: Installation, listeners: int, seconds: float, window: int) -> Row:
    """Deliveries per second at the greatest rate, and the CPU of each; nothing may be missing."""
    clients = [await under.connect(number, fanout.CHANNEL) for number in range(listeners)]
    publisher = await under.connect(listeners)
    before, start, sent = under.cpu(), time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        behind = sent - min(client.events for client in clients)
        for _ in range(window - behind):
            publisher.send(fanout.publication())
            sent += 1
        await asyncio.sleep(0.001)
    async with asyncio.timeout(30):
        while min(client.events for client in clients) < sent:
            await asyncio.sleep(0.001)
    elapsed = time.perf_counter() - start
    delivered = sum(client.events for client in clients)
    if delivered != sent * listeners:
        raise SystemExit(f"{delivered} deliveries instead of {sent * listeners}")
    return Row(delivered / elapsed, [], _each(before, under.cpu(), delivered))


async def calls(
    under: Installation, frame: Callable[[int], dict[str, object]], connections: int, seconds: float
) -> Row:
    """Calls per second with one under way on each connection."""
    clients = [await under.connect(number) for number in range(connections)]
    before = under.cpu()
    times = await call.measure(clients, frame, seconds, 1)
    return Row(len(times) / seconds, times, _each(before, under.cpu(), len(times)))


async def at_rest(under: Installation, seconds: float) -> Row:
    """Milliseconds from publish to arrival, 50 events a second to one listener on another gateway."""
    times: list[float] = []

    def note(_client: load.Client, data: bytes) -> None:
        now = time.monotonic_ns()
        times.extend((now - int(at)) / 1e9 for at in fanout.STAMP.findall(data))

    listener = await under.connect(1, fanout.CHANNEL)
    listener.on_read = note
    publisher = await under.connect(0)
    before = under.cpu()
    for _ in range(int(seconds * 50)):
        publisher.send(fanout.publication())
        await asyncio.sleep(0.02)
    async with asyncio.timeout(10):
        while len(times) < int(seconds * 50):
            await asyncio.sleep(0.001)
    return Row(50, times, _each(before, under.cpu(), len(times)))


async def main() -> None:
    """Run it all and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args()
    load.pin(1)
    questions: dict[str, Callable[[Installation], Awaitable[Row]]] = {
        f"events to {chosen.listeners} listeners": lambda under: fan_out(
            under, chosen.listeners, chosen.seconds, chosen.window
        ),
        "events to 1 listener": lambda under: fan_out(under, 1, chosen.seconds, chosen.window),
        "event at rest, 50 a second": lambda under: at_rest(under, chosen.seconds),
        "query, 1 connection": lambda under: calls(under, call.query, 1, chosen.seconds),
        f"query, {chosen.connections} connections": lambda under: calls(
            under, call.query, chosen.connections, chosen.seconds
        ),
        f"durable command, {chosen.connections} connections": lambda under: calls(
            under, call.command, chosen.connections, chosen.seconds
        ),
    }
    results: dict[str, dict[str, list[Row]]] = {question: {} for question in questions}
    for run in range(chosen.runs):
        for question, ask in questions.items():
            for name, install in INSTALLATIONS.items():
                if not chosen.json:
                    print(f"run {run + 1} of {chosen.runs}: {question}: {name} …", flush=True)
                async with install() as under:
                    results[question].setdefault(name, []).append(await ask(under))
    if chosen.json:
        print(json.dumps({q: {n: _medians(rows) for n, rows in found.items()} for q, found in results.items()}))
        return
    for question, found in results.items():
        load.report(question, [(name, _line(_medians(rows))) for name, rows in found.items()])
    load.report("Settings above the defaults", list(load.SETTINGS.items()))


def _medians(rows: list[Row]) -> dict[str, float]:
    figures = {name: statistics.median(getattr(row, name) for row in rows) for name in ("rate", "p50", "p99")}
    return figures | {part: statistics.median(row.used[part] for row in rows) for part in rows[0].used}


def _line(figures: dict[str, float]) -> str:
    parts = ", ".join(f"{name} {value:.2f}" for name, value in figures.items() if name not in ("rate", "p50", "p99"))
    times = "" if figures["p50"] != figures["p50"] else f"p50 {figures['p50']:6.2f} ms  p99 {figures['p99']:6.2f} ms  "
    return f"{figures['rate']:>12,.0f}/s  {times}µs CPU each: {parts}"


if __name__ == "__main__":
    uvloop.run(main())
