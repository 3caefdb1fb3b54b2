"""The servers that are asked, each started anew for each run: ours, the floor, the peers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from backchannel.auth.tokens import issue_token
from backchannel.testing.services import PostgresServer, RedisServer, free_port
from benchmarks import native, usage
from benchmarks.peers import PEERS, Absent, PeerFailed, Running
from benchmarks.question import OWN

__all__ = [
    "FLOOR",
    "OWN",
    "SETTINGS",
    "Server",
    "ServerOf",
    "backchannel",
    "chat",
    "chat_topology",
    "floor",
    "installed",
    "peer",
    "peers",
    "token",
    "tokens",
    "topology",
]

FLOOR: Final = "floor"
"""What it is called in tables."""

SETTINGS: Final = {
    "calls": "1000000",
    "burst": "1000000",
    "open_requests": "100000",
    "connections_per_user": "100000",
    "connections_per_address": "100000",
}
"""Limits set above the load; everything else is the default. They are told with every result."""

_CORE: Final = 0
"""Where servers run; the load runs on another core."""
_APP: Final = "benchmarks.app:app"
_CHAT: Final = "backchannel.chat:app"
_ROOT: Final = Path(__file__).parent.parent
_SECRET: Final = "benchmark-secret-benchmark-secret-"
_TRIES: Final = 2


class Server(NamedTuple):
    """One that runs, or several processes that are one installation."""

    ports: tuple[int, ...]
    dialect: str
    pids: Mapping[str, int]
    """Its processes, by the part that they play."""

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU used so far by each part, with all that it started."""
        return {part: usage.cpu(pid) for part, pid in self.pids.items()}

    def resident(self) -> int:
        """Bytes of user space in memory."""
        return sum(usage.resident(pid) for pid in self.pids.values())


ServerOf = Callable[[], AbstractAsyncContextManager[Server]]


@functools.cache
def tokens(count: int = 12_000) -> Path:
    """A file with one good token a line, for as many users."""
    native.BUILD.mkdir(exist_ok=True)
    file = native.BUILD / f"tokens-{count}"
    with tempfile.NamedTemporaryFile("w", dir=native.BUILD, delete=False) as made:
        made.write("".join(f"{token(f'user{n}')}\n" for n in range(count)))
    Path(made.name).replace(file)  # whoever reads an older one keeps it
    return file


def token(user: str) -> str:
    """A good token."""
    return issue_token(_SECRET.encode(), user, lifetime=86_400)


@contextlib.asynccontextmanager
async def backchannel(settings: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Server]:
    """The whole product in one process: tokens, offsets, recovery, limits, metrics; with `settings` besides."""
    with tempfile.TemporaryDirectory(prefix="backchannel-bench-") as folder:
        async with _process("serve", _CORE, {"data": folder, "port": "0", **settings}) as (pid, port):
            yield Server((port,), "backchannel", {"process": pid})


@contextlib.asynccontextmanager
async def topology() -> AsyncIterator[Server]:
    """Two gateways on the servers' core; two workers, Redis and a synced PostgreSQL on any."""
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        postgres = stack.enter_context(PostgresServer(durable=True))
        around = {"redis": redis.url, "postgres": postgres.create_database()}
        pids, ports = {"redis": redis.pid, "postgres": postgres.pid}, []
        for number in (1, 2):
            worker = _process("worker", None, {**around, "health_port": str(free_port())})
            pids[f"worker {number}"], _ = await stack.enter_async_context(worker)
        for number in (1, 2):
            gateway = _process("gateway", _CORE, {**around, "port": "0"})
            pids[f"gateway {number}"], port = await stack.enter_async_context(gateway)
            ports.append(port)
        yield Server(tuple(ports), "backchannel", pids)


@contextlib.asynccontextmanager
async def chat() -> AsyncIterator[Server]:
    """The chat app in one process with SQLite, which shares both cores with the load."""
    with tempfile.TemporaryDirectory(prefix="backchannel-bench-") as folder:
        async with _process("serve", None, {"data": folder, "port": "0"}, _CHAT) as (pid, port):
            yield Server((port,), "backchannel", {"process": pid})


@contextlib.asynccontextmanager
async def chat_topology() -> AsyncIterator[Server]:
    """The chat app in one gateway and one worker with Redis and a synced PostgreSQL; they share both cores with the
    load."""
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        postgres = stack.enter_context(PostgresServer(durable=True))
        around = {"redis": redis.url, "postgres": postgres.create_database()}
        worker = _process("worker", None, {**around, "health_port": str(free_port())}, _CHAT)
        worker_pid, _ = await stack.enter_async_context(worker)
        gateway = _process("gateway", None, {**around, "port": "0"}, _CHAT)
        gateway_pid, port = await stack.enter_async_context(gateway)
        pids = {"gateway": gateway_pid, "worker": worker_pid, "redis": redis.pid, "postgres": postgres.pid}
        yield Server((port,), "backchannel", pids)


@contextlib.asynccontextmanager
async def floor(join: int = 1) -> AsyncIterator[Server]:
    """One `send` per delivery in C, or for up to `join` of them, and nothing else."""
    async with native.floor(cpu=_CORE, join=join) as running:
        yield Server((running.port,), "floor", {"process": running.pid})


def peer(name: str) -> ServerOf:
    """A peer, as `benchmarks/peers` starts it."""

    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Server]:
        running = await asyncio.to_thread(_started, name)
        try:
            yield Server((running.port,), PEERS[name].dialect, {"process": running.pid})
        finally:
            await asyncio.to_thread(running.stop)

    return start


def _started(name: str) -> Running:
    """A peer's server. Some need the next port too, which only they can tell is free: a few are tried."""
    for _ in range(_TRIES):
        with contextlib.suppress(PeerFailed):
            return PEERS[name].start(free_port(), _CORE)
    return PEERS[name].start(free_port(), _CORE)


@contextlib.asynccontextmanager
async def _process(
    role: str, core: int | None, settings: Mapping[str, str], app: str = _APP
) -> AsyncIterator[tuple[int, int]]:
    """One process of ours: its pid, and the port that it told."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")},
        **{f"BACKCHANNEL_{name.upper()}": value for name, value in {**SETTINGS, **settings}.items()},
        "BACKCHANNEL_SECRET": _SECRET,
        "BACKCHANNEL_LOG_FORMAT": "json",
    }
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    process = subprocess.Popen(
        [*pinned, sys.executable, "-m", "backchannel.cli", role, app],
        cwd=_ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    drained: asyncio.Future[str] | None = None
    try:
        for line in process.stdout:
            lines.append(line)
            if (port := _port_in(line)) is not None:
                break
        else:
            raise native.Failed(f"The {role} did not start:\n" + "".join(lines))
        # A full pipe would stop it.
        drained = asyncio.get_running_loop().run_in_executor(None, process.stdout.read)
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        if drained is not None:
            await drained
        process.stdout.close()


def _port_in(line: str) -> int | None:
    _, found, after = line.partition("http://127.0.0.1:")
    digits = after[: len(after) - len(after.lstrip("0123456789"))]
    return int(digits) if found and digits else None


def peers(only: Collection[str] | None = None) -> dict[str, ServerOf]:
    """The peers that are installed, by name, in the order of tables; `only` these of them."""
    return {name: peer(name) for name in PEERS if installed(name) and (only is None or name in only)}


def installed(name: str) -> bool:
    """Whether a peer can be started here."""
    try:
        PEERS[name].version()
    except Absent:
        return False
    return True
