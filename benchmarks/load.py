"""The load: a server in a process of its own on one core, many raw clients in this one on another.

The clients speak just enough WebSocket to be cheap: frames are masked with zeros, and deliveries are counted by a
marker without parsing them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import cast

import psutil

from backchannel.auth.tokens import issue_token
from backchannel.testing.services import PostgresServer, RedisServer, free_port

__all__ = [
    "SETTINGS",
    "Client",
    "Target",
    "Topology",
    "connect",
    "percentile",
    "pin",
    "report",
    "target",
    "topology",
]

ROOT = Path(__file__).parent.parent
SECRET = "benchmark-secret-benchmark-secret-"

SETTINGS = {
    "calls": "1000000",
    "burst": "1000000",
    "open_requests": "100000",
    "connections_per_user": "100000",
    "connections_per_address": "100000",
}
"""Limits set above the load; everything else is the default. They are printed with every result."""

_MARKER = b'{"type":"event"'


class Target:
    """A server process under load."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = psutil.Process(process.pid)
        self.port = port

    def cpu(self) -> float:
        """Seconds of CPU used so far, by the kernel's accounting."""
        used = self._process.cpu_times()
        return used.user + used.system

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._process.memory_info().rss)


class Topology:
    """Gateways and workers around Redis and PostgreSQL."""

    def __init__(self, gateways: list[Target], workers: list[Target], redis: RedisServer) -> None:
        self.gateways = gateways
        self.workers = workers
        self._redis = psutil.Process(redis.pid)

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU used so far, part by part."""
        redis = self._redis.cpu_times()
        return {
            "gateways": sum(gateway.cpu() for gateway in self.gateways),
            "workers": sum(worker.cpu() for worker in self.workers),
            "redis": redis.user + redis.system,
        }


def pin(core: int) -> None:
    """Keep this process on one core."""
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})


@contextlib.asynccontextmanager
async def target(app: str = "benchmarks.app:app", **settings: str) -> AsyncIterator[Target]:
    """A server of one process on core 0, with its data in a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="backchannel-bench-") as folder:
        async with _process("serve", app, 0, {"data": folder, "port": "0", **settings}) as server:
            yield server


@contextlib.asynccontextmanager
async def topology(
    gateways: int = 2, workers: int = 2, app: str = "benchmarks.app:app", **settings: str
) -> AsyncIterator[Topology]:
    """Processes around a Redis and a synced PostgreSQL of their own; gateways on core 0, the rest on any."""
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        postgres = stack.enter_context(PostgresServer(durable=True))
        around = {"redis": redis.url, "postgres": postgres.create_database(), **settings}
        started: dict[str, list[Target]] = {"worker": [], "gateway": []}
        for role, number, core in (("worker", workers, None), ("gateway", gateways, 0)):
            for _ in range(number):
                ports = {"port": "0"} if role == "gateway" else {"health_port": str(free_port())}
                started[role].append(await stack.enter_async_context(_process(role, app, core, {**around, **ports})))
        yield Topology(started["gateway"], started["worker"], redis)


@contextlib.asynccontextmanager
async def _process(role: str, app: str, core: int | None, settings: Mapping[str, str]) -> AsyncIterator[Target]:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")},
        **{f"BACKCHANNEL_{name.upper()}": value for name, value in {**SETTINGS, **settings}.items()},
        "BACKCHANNEL_SECRET": SECRET,
        "BACKCHANNEL_LOG_FORMAT": "json",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "backchannel.cli", role, app],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=None if core is None else lambda: pin(core),
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if (port := _port_in(line)) is not None:
                break
        else:
            raise SystemExit(f"The {role} did not start:\n" + "".join(lines))
        drain = asyncio.get_running_loop().run_in_executor(None, process.stdout.read)
        yield Target(process, port)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    await drain


def _port_in(line: str) -> int | None:
    _, found, after = line.partition("http://127.0.0.1:")
    digits = after[: len(after) - len(after.lstrip("0123456789"))]
    return int(digits) if found and digits else None


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


class Client(asyncio.Protocol):
    """One raw client."""

    def __init__(self, on_read: Callable[[Client, bytes], None] | None = None, *, path: str = "/ws") -> None:
        self.transport: asyncio.Transport
        self._path = path
        self.on_read = on_read
        self.events = 0
        self._tail = b""
        self._seen: bytes | None = b""
        self._wanted = b""
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" % self._path.encode()
        )

    def data_received(self, data: bytes) -> None:
        """Count events, also those whose marker two reads share."""
        if self._seen is not None:
            self._seen += data
            if self._waiter is not None and self._wanted in self._seen and not self._waiter.done():
                self._waiter.set_result(None)
        if self.on_read is not None:
            self.on_read(self, data)
        border = len(_MARKER) - 1
        self.events += data.count(_MARKER) + (self._tail + data[:border]).count(_MARKER)
        self._tail = data[-border:]

    async def until(self, wanted: bytes) -> None:
        """Wait for these bytes; what came before them is forgotten."""
        assert self._seen is not None
        self._wanted = wanted
        if wanted not in self._seen:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._waiter, 30)
            self._waiter = None
        self._seen = self._seen.partition(wanted)[2]

    def begin(self) -> None:
        """From now on events are counted and bytes are no longer kept."""
        self._seen = None
        self.events = 0

    def send(self, frame: dict[str, object]) -> None:
        """Send a frame."""
        self.transport.write(_frame(json.dumps(frame, separators=(",", ":")).encode()))


async def connect(
    port: int, user: str, *channels: str, on_read: Callable[[Client, bytes], None] | None = None
) -> Client:
    """A client that is connected as a user and listens to these channels."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(), "127.0.0.1", port)
    await client.until(b"\r\n\r\n")
    token = issue_token(SECRET.encode(), user, lifetime=3600)
    client.send({"type": "connect", "id": 1, "token": token})
    await client.until(b'"type":"subscribed","channel":"user:')
    for number, channel in enumerate(channels, 2):
        client.send({"type": "subscribe", "id": number, "channel": channel})
        await client.until(b'"type":"subscribed","channel":"%b"' % channel.encode())
    client.on_read = on_read
    client.begin()
    return client


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")


def report(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a block of results."""
    width = max(len(name) for name, _ in rows)
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
