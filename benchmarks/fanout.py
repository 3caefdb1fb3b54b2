"""How many deliveries per second does one gateway make, and what does one cost?

One publisher, many listeners, a live channel with history; closed loop with a window, so that nothing is won by
building a backlog. Beside it run, interleaved, the floor (one `send` per delivery, no protocol at all) and a plain
Starlette broadcast. Also: latency at a fixed moderate rate, and the memory of an idle connection.

    .venv/bin/python benchmarks/fanout.py [--listeners 1000] [--seconds 2] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import psutil
import uvloop

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import load  # its folder may have to be found first

CHANNEL = "bench:wide"
FILL = "x" * 60
STAMP = re.compile(rb'"at":(\d+)')


def publication() -> dict[str, object]:
    """An event with the present instant in it, about 100 bytes of `data`."""
    data = {"at": time.monotonic_ns(), "fill": FILL}
    return {"type": "publish", "channel": CHANNEL, "name": "load.sent", "data": data}


class Result:
    """One run."""

    def __init__(self, deliveries: int, seconds: float, cpu: float) -> None:
        self.rate = deliveries / seconds
        self.cost = cpu / deliveries * 1e6 if deliveries else float("nan")


async def backchannel(listeners: int, seconds: float, window: int) -> Result:
    """Ours: published by one client on a live channel, through the whole product."""
    async with load.target() as server:
        clients = [await load.connect(server.port, f"user{n}", CHANNEL) for n in range(listeners)]
        publisher = await load.connect(server.port, "publisher")
        return await _closed_loop(
            clients,
            lambda: publisher.send(publication()),
            server.cpu,
            seconds,
            window,
        )


async def _closed_loop(
    clients: Sequence[load.Client],
    publish: Callable[[], None],
    cpu: Callable[[], float],
    seconds: float,
    window: int,
) -> Result:
    """Keep `window` publishes under way; what a publish adds to the slowest listener ends it."""
    sent = 0
    start, cpu_start = time.perf_counter(), cpu()
    while time.perf_counter() - start < seconds:
        behind = sent - min(client.events for client in clients)
        for _ in range(window - behind):
            publish()
            sent += 1
        await asyncio.sleep(0.001)
    async with asyncio.timeout(30):
        while min(client.events for client in clients) < sent:
            await asyncio.sleep(0.001)
    elapsed, used = time.perf_counter() - start, cpu() - cpu_start
    delivered = sum(client.events for client in clients)
    if delivered != sent * len(clients):
        raise SystemExit(f"{delivered} deliveries instead of {sent * len(clients)}")
    return Result(delivered, elapsed, used)


def _floor_server(port_out: multiprocessing.Queue[int]) -> None:
    """One `send` per delivery on bare TCP: what the kernel charges for not joining writes."""
    load.pin(0)
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port_out.put(listening.getsockname()[1])
    publisher, _ = listening.accept()
    count = int.from_bytes(publisher.recv(4), "big")
    sockets = [listening.accept()[0] for _ in range(count)]
    for listener in sockets:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sends = [listener.send for listener in sockets]
    message = b'{"type":"event"' + b"x" * 180
    while data := publisher.recv(65536):
        for _ in data:
            for send in sends:
                send(message)


async def floor(listeners: int, seconds: float, window: int) -> Result:
    """The floor."""
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_floor_server, args=(ports,), daemon=True)
    process.start()
    loop = asyncio.get_running_loop()
    port = await loop.run_in_executor(None, ports.get)
    publisher, _ = await loop.create_connection(_Bare, "127.0.0.1", port)
    publisher.write(listeners.to_bytes(4, "big"))
    clients = [(await loop.create_connection(_Bare, "127.0.0.1", port))[1] for _ in range(listeners)]
    for client in clients:
        client.begin()
    used = psutil.Process(process.pid)

    def cpu() -> float:
        times = used.cpu_times()
        return float(times.user + times.system)

    try:
        await asyncio.sleep(0.2)
        return await _closed_loop(clients, lambda: publisher.write(b"p"), cpu, seconds, window)
    finally:
        process.kill()
        process.join()


class _Bare(load.Client):
    """A listener of the floor."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


def _starlette_server(port_out: multiprocessing.Queue[int]) -> None:
    """A broadcast as most would write it."""
    load.pin(0)
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    listeners: set[WebSocket] = set()

    async def listen(socket: WebSocket) -> None:
        await socket.accept()
        listeners.add(socket)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await socket.receive_text()
        listeners.discard(socket)

    async def publish(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            for listener in list(listeners):
                await listener.send_text(text)

    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port_out.put(listening.getsockname()[1])
    app = Starlette(routes=[WebSocketRoute("/ws", listen), WebSocketRoute("/publish", publish)])
    config = uvicorn.Config(app, loop="uvloop", log_level="error", ws_per_message_deflate=False, ws_ping_interval=None)
    uvicorn.Server(config).run(sockets=[listening])


async def starlette(listeners: int, seconds: float, window: int) -> Result:
    """The peer."""
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_starlette_server, args=(ports,), daemon=True)
    process.start()
    loop = asyncio.get_running_loop()
    port = await loop.run_in_executor(None, ports.get)
    used = psutil.Process(process.pid)

    def cpu() -> float:
        times = used.cpu_times()
        return float(times.user + times.system)

    async def opened(path: str) -> load.Client:
        _, client = await loop.create_connection(lambda: load.Client(path=path), "127.0.0.1", port)
        await client.until(b"\r\n\r\n")
        client.begin()
        return client

    try:
        clients = [await opened("/ws") for _ in range(listeners)]
        publisher = await opened("/publish")
        event: dict[str, object] = {"type": "event", "fill": "x" * 165}
        return await _closed_loop(clients, lambda: publisher.send(event), cpu, seconds, window)
    finally:
        process.kill()
        process.join()


async def latency(listeners: int, rate: int, seconds: float) -> tuple[list[float], float]:
    """Milliseconds from publish to arrival at a fixed rate, and the CPU microseconds per delivery."""
    times: list[float] = []

    def note(_client: load.Client, data: bytes) -> None:
        now = time.monotonic_ns()
        times.extend((now - int(at)) / 1e6 for at in STAMP.findall(data))

    async with load.target() as server:
        clients = [await load.connect(server.port, f"user{n}", CHANNEL, on_read=note) for n in range(listeners)]
        publisher = await load.connect(server.port, "publisher")
        cpu_start = server.cpu()
        start = time.perf_counter()
        for n in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + n / rate - time.perf_counter()))
            publisher.send(publication())
        wanted = int(rate * seconds) * listeners
        async with asyncio.timeout(30):
            while sum(client.events for client in clients) < wanted:
                await asyncio.sleep(0.01)
        return times, (server.cpu() - cpu_start) / wanted * 1e6


async def idle(connections: int) -> float:
    """Kilobytes of resident memory per idle connection: authenticated, one shared channel and one of its own."""
    async with load.target() as server:
        warm = [await load.connect(server.port, f"warm{n}", CHANNEL) for n in range(50)]
        before = server.memory()
        clients = [await load.connect(server.port, f"user{n}", CHANNEL) for n in range(connections)]
        after = server.memory()
        for client in [*warm, *clients]:
            client.transport.abort()
        return (after - before) / connections / 1024


async def main() -> None:
    """Run it all and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=int, default=2000)
    chosen = parser.parse_args()
    load.pin(1)
    kinds = {"backchannel": backchannel, "floor, one send per delivery": floor, "Starlette broadcast": starlette}
    results: dict[str, list[Result]] = {name: [] for name in kinds}
    for run in range(chosen.runs):
        for name, kind in kinds.items():
            window = chosen.window if kind is backchannel else min(8, chosen.window)
            print(f"run {run + 1} of {chosen.runs}: {name} …", flush=True)
            results[name].append(await kind(chosen.listeners, chosen.seconds, window))
    ours = statistics.median(result.rate for result in results["backchannel"])
    rows = []
    for name, runs in results.items():
        rate = statistics.median(result.rate for result in runs)
        cost = statistics.median(result.cost for result in runs)
        spread = f"{min(r.rate for r in runs):,.0f} to {max(r.rate for r in runs):,.0f}"
        rows.append(
            (name, f"{rate:>12,.0f} deliveries/s ({spread})  {cost:6.2f} µs CPU each  ours is {ours / rate:6.1f} times")
        )
    load.report(f"Fan-out: 1 channel, {chosen.listeners} listeners, {chosen.window} publishes under way", rows)
    times, cost = await latency(chosen.listeners, 50, 4.0)
    load.report(
        f"Latency: 50 events/s to {chosen.listeners} listeners",
        [
            ("p50", f"{load.percentile(times, 0.5):.2f} ms"),
            ("p99", f"{load.percentile(times, 0.99):.2f} ms"),
            ("CPU per delivery", f"{cost:.2f} µs"),
        ],
    )
    kilobytes = await idle(chosen.idle)
    load.report(
        f"Memory: {chosen.idle} idle connections, two channels each",
        [("per connection", f"{kilobytes:.1f} KB resident")],
    )
    load.report("Settings above the defaults", list(load.SETTINGS.items()))


if __name__ == "__main__":
    uvloop.run(main())
