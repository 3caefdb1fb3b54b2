"""How many calls per second does one process answer, and how long does each take?

A query that reads nothing and a durable command (one event in a log, committed and synced before its reply), over
connections with one or several calls under way. Beside them, interleaved, the floor: a bare WebSocket echo on the
`websockets` library.

    .venv/bin/python benchmarks/call.py [--connections 100] [--seconds 2] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import uvloop

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import load  # its folder may have to be found first

_ID = re.compile(rb'"id":(\d+)')


class Caller:
    """One connection that keeps some calls under way."""

    def __init__(self, client: load.Client, frame: Callable[[int], dict[str, object]], times: list[float]) -> None:
        self._client = client
        self._frame = frame
        self._times = times
        self._sent: dict[int, float] = {}
        self._ids = itertools.count(1000)
        self.going = True

    def start(self, under_way: int) -> None:
        """Send the first calls; each answer sends the next."""
        self._client.on_read = self._read
        for _ in range(under_way):
            self._next()

    def _next(self) -> None:
        number = next(self._ids)
        self._sent[number] = time.perf_counter()
        self._client.send(self._frame(number))

    def _read(self, _client: load.Client, data: bytes) -> None:
        now = time.perf_counter()
        if b'"type":"error"' in data:
            raise SystemExit(f"refused: {data!r}")
        for found in _ID.findall(data):
            sent = self._sent.pop(int(found), None)
            if sent is not None:
                self._times.append(now - sent)
                if self.going:
                    self._next()


async def measure(
    clients: list[load.Client], frame: Callable[[int], dict[str, object]], seconds: float, under_way: int
) -> list[float]:
    """Round trips, in seconds."""
    times: list[float] = []
    callers = [Caller(client, frame, times) for client in clients]
    for caller in callers:
        caller.start(under_way)
    await asyncio.sleep(0.3)
    times.clear()
    await asyncio.sleep(seconds)
    taken = list(times)
    for caller in callers:
        caller.going = False
    await asyncio.sleep(0.2)
    return taken


def query(number: int) -> dict[str, object]:
    """A query that reads nothing."""
    return {"type": "call", "id": number, "name": "echo.ask", "data": {"value": number}}


def command(number: int) -> dict[str, object]:
    """A durable command, one of a hundred lanes."""
    data = {"channel": f"log:lane{number % 100}", "value": number}
    return {"type": "call", "id": number, "name": "log.append", "data": data}


class Row:
    """One run."""

    def __init__(self, times: list[float], seconds: float, cpu: float) -> None:
        self.rate = len(times) / seconds
        self.cost = cpu / max(1, len(times)) * 1e6
        self.p50 = load.percentile(times, 0.5) * 1e3
        self.p99 = load.percentile(times, 0.99) * 1e3


async def ours(kind: Callable[[int], dict[str, object]], connections: int, seconds: float, under_way: int) -> Row:
    """Through session, relay, worker and typed handler."""
    async with load.target() as server:
        clients = [await load.connect(server.port, f"user{n}") for n in range(connections)]
        before = server.cpu()
        times = await measure(clients, kind, seconds, under_way)
        return Row(times, seconds, server.cpu() - before)


def _echo_server(port_out: multiprocessing.Queue[int]) -> None:
    load.pin(0)
    import websockets.asyncio.server as ws

    async def echo(socket: Any) -> None:
        async for message in socket:
            await socket.send(message)

    async def main() -> None:
        async with ws.serve(echo, "127.0.0.1", 0, compression=None) as server:
            port_out.put(next(iter(server.sockets)).getsockname()[1])
            await asyncio.get_running_loop().create_future()

    uvloop.run(main())


async def bare_echo(connections: int, seconds: float, under_way: int) -> Row:
    """The peer: no session, no handler, no validation."""
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_echo_server, args=(ports,), daemon=True)
    process.start()
    loop = asyncio.get_running_loop()
    port = await loop.run_in_executor(None, ports.get)
    used = psutil.Process(process.pid)
    try:
        clients = []
        for _ in range(connections):
            _, client = await loop.create_connection(load.Client, "127.0.0.1", port)
            await client.until(b"\r\n\r\n")
            client.begin()
            clients.append(client)
        before = used.cpu_times()
        times = await measure(clients, query, seconds, under_way)
        after = used.cpu_times()
        return Row(times, seconds, after.user + after.system - before.user - before.system)
    finally:
        process.kill()
        process.join()


async def main() -> None:
    """Run it all and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args()
    load.pin(1)
    cases: dict[str, Callable[[], Any]] = {
        "query, 1 under way": lambda: ours(query, chosen.connections, chosen.seconds, 1),
        "query, 8 under way": lambda: ours(query, chosen.connections, chosen.seconds, 8),
        "durable command, 1 under way": lambda: ours(command, chosen.connections, chosen.seconds, 1),
        "bare echo on `websockets`, 1 under way": lambda: bare_echo(chosen.connections, chosen.seconds, 1),
    }
    results: dict[str, list[Row]] = {name: [] for name in cases}
    for run in range(chosen.runs):
        for name, case in cases.items():
            if not chosen.json:
                print(f"run {run + 1} of {chosen.runs}: {name} …", flush=True)
            results[name].append(await case())

    def median(rows: list[Row], field: str) -> float:
        return float(statistics.median(getattr(row, field) for row in rows))

    if chosen.json:
        fields = ("rate", "cost", "p50", "p99")
        print(json.dumps({name: {f: median(rows, f) for f in fields} for name, rows in results.items()}))
        return
    echo = median(results["bare echo on `websockets`, 1 under way"], "rate")
    load.report(
        f"Calls: {chosen.connections} connections",
        [
            (
                name,
                f"{median(rows, 'rate'):>10,.0f} calls/s  p50 {median(rows, 'p50'):6.2f} ms  "
                f"p99 {median(rows, 'p99'):6.2f} ms  {median(rows, 'cost'):6.1f} µs CPU each  "
                f"{median(rows, 'rate') / echo:5.2f} of the bare echo",
            )
            for name, rows in results.items()
        ],
    )
    load.report("Settings above the defaults", list(load.SETTINGS.items()))


if __name__ == "__main__":
    uvloop.run(main())
