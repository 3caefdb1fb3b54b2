"""Gateways and workers as processes of the real command line, around a real Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backchannel.auth.tokens import issue_token
from backchannel.testing.services import PostgresServer, RedisServer, free_port
from backchannel_client import Client, Transport, open_websocket
from backchannel_protocol import Codec

SECRET = "processes-test-secret-processes-test-secret"

PATIENCE = 30.0
"""Seconds that a test waits for what must come, on a busy machine; nothing ever waits this long when it passes."""


class Part:
    """One `backchannel …` process, whose output is read as it comes."""

    def __init__(
        self, folder: Path, environ: dict[str, str], words: Sequence[str], inherit: Sequence[int] = ()
    ) -> None:
        self.words = words
        self._inherit = inherit
        self._folder = folder
        self._environ = environ
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._threads: list[threading.Thread] = []
        self.health_port = 0
        """Of a worker."""

    def start(self) -> None:
        """Start it; `until_ready` waits for it."""
        self._lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "backchannel.cli", *self.words],
            cwd=self._folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=self._inherit,
            # A runner in the background may ignore Ctrl-C, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        thread = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def start_again(self) -> None:
        """Start it if it has ended."""
        if self._process is None or self._process.poll() is not None:
            self.kill()
            self.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What it wrote, on both streams."""
        with self._changed:
            return "\n".join(self._lines)

    def until(self, wanted: Callable[[str], bool] | str) -> str:
        """The first line that has a text, or is as wanted; wait for it."""
        found = (lambda line: wanted in line) if isinstance(wanted, str) else wanted
        end = time.monotonic() + PATIENCE
        with self._changed:
            for index in itertools.count():
                while index >= len(self._lines):
                    left = end - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        raise AssertionError(f"{wanted!r} never came:\n" + "\n".join(self._lines))
                if found(self._lines[index]):
                    return self._lines[index]
        raise AssertionError("unreachable")

    @property
    def port(self) -> int:
        """Where it serves; waits until it has told."""
        line = self.until("http://127.0.0.1:")
        return int(line.partition("http://127.0.0.1:")[2].partition("/")[0])

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    async def get(self, path: str, port: int = 0) -> tuple[int, Any]:
        """Status and body (JSON, else text) of a GET; status 0 where nobody answers."""
        return await request("GET", port or self.health_port or self.port, path)

    async def until_ready(self) -> None:
        """Return once `/readyz` says so."""
        await self.until_readiness(lambda reasons: not reasons)

    async def until_readiness(self, wanted: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Wait until the reasons not to be ready are as wanted; returns them."""
        port = self.health_port or await asyncio.to_thread(lambda: self.port)

        async def look() -> dict[str, str] | None:
            status, body = await request("GET", port, "/readyz")
            assert self._process is not None
            assert self._process.poll() is None, self.output
            reasons: dict[str, str] = body["reasons"] if status == 503 else {}
            return reasons if status and wanted(reasons) else None

        found: dict[str, str] = await eventually(look)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for the end, and for all that it wrote; returns the exit code."""
        assert self._process is not None
        code = self._process.wait(patience)
        while self._threads:
            self._threads.pop().join(patience)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    async def end(self, number: signal.Signals = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Send a signal and wait for the end, beside the test's loop; returns the exit code."""
        self.send(number)
        return await asyncio.to_thread(self.ended, patience)

    def kill(self) -> None:
        """Kill it if it still runs, and whatever it has started."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._process is not None:
            self.ended()


async def eventually(look: Callable[[], Awaitable[Any]], patience: float = PATIENCE) -> Any:
    """Ask until the answer is something, and return it; there is no event for what other processes do."""
    end = time.monotonic() + patience
    while (found := await look()) is None:
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.05)
    return found


async def request(
    method: str, port: int, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and body of a plain HTTP request, as curl would send it; status 0 where nobody answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0, None
    try:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
    except OSError:
        return 0, None
    finally:
        writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    if b"transfer-encoding: chunked" in head.lower():
        raise AssertionError("a chunked answer; read it with a real client")
    return status, json.loads(content) if b"json" in head else content.decode()


class Installation:
    """Processes of one installation: they share Redis, PostgreSQL and the secret."""

    def __init__(self, folder: Path, redis: str, prefix: str, postgres: str) -> None:
        ours = ("BACKCHANNEL_", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS")
        self.folder = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "NO_COLOR": "1",
            "BACKCHANNEL_REDIS": redis,
            "BACKCHANNEL_REDIS_PREFIX": prefix,
            "BACKCHANNEL_POSTGRES": postgres,
            "BACKCHANNEL_SECRET": SECRET,
            "BACKCHANNEL_DATA": str(folder / "data"),
            "BACKCHANNEL_DRAIN": "4",
            "BACKCHANNEL_POSTGRES_POOL": "4",
            "BACKCHANNEL_CALLS": "100000",
        }
        self.inherit: list[int] = []
        """Open descriptors that parts inherit."""
        self._parts: list[Part] = []

    def part(self, *words: str, **variables: str) -> Part:
        """Start `backchannel WORDS…`, with settings as variables."""
        environ = self.environ | {f"BACKCHANNEL_{name.upper()}": value for name, value in variables.items()}
        part = Part(self.folder, {name: value for name, value in environ.items() if value}, words, self.inherit)
        self._parts.append(part)
        part.start()
        return part

    def gateway(self, *words: str, **variables: str) -> Part:
        """A gateway on a free port."""
        return self.part("gateway", *words, "--port", "0", **variables)

    def worker(self, *words: str, **variables: str) -> Part:
        """A worker whose health is on a free port."""
        port = free_port()
        part = self.part("worker", *words, "--health-port", str(port), **variables)
        part.health_port = port
        return part

    async def ready(self, *parts: Part) -> None:
        """Return once all of these are."""
        await asyncio.gather(*(part.until_ready() for part in parts))

    def kill(self) -> None:
        """Kill what still runs."""
        for part in self._parts:
            part.kill()


def token(user: str) -> str:
    """A token that these processes accept."""
    return issue_token(SECRET.encode(), user, lifetime=3600)


def client(user: str, *urls: str) -> Client:
    """A client whose connections go round these URLs, as a balancer without stickiness would send them."""
    turn = itertools.cycle(urls)

    async def connect(_url: str, codec: Codec) -> Transport:
        return await open_websocket(next(turn), codec)

    return Client(urls[0], token=token(user), connector=connect)


@pytest.fixture(name="token", scope="session")
def token_fixture() -> Callable[[str], str]:
    """Makes tokens for users."""
    return token


@pytest.fixture(name="client", scope="session")
def client_fixture() -> Callable[..., Client]:
    """Makes a client of a user, whose connections go round these URLs."""
    return client


@pytest.fixture(name="request_http", scope="session")
def request_fixture() -> Callable[..., Awaitable[tuple[int, Any]]]:
    """Sends a plain HTTP request."""
    return request


@pytest.fixture(name="eventually", scope="session")
def eventually_fixture() -> Callable[..., Awaitable[Any]]:
    """Asks until there is an answer."""
    return eventually


@pytest.fixture(scope="session")
def make_installation() -> Callable[..., Installation]:
    """Makes an installation: folder, URL and prefix of Redis, URL of PostgreSQL."""
    return Installation


@pytest.fixture
def installation(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str, database_url: str
) -> Iterator[Installation]:
    """An installation on the shared Redis and a database of its own."""
    made = Installation(tmp_path, redis_server.url, redis_prefix, database_url)
    yield made
    made.kill()


@pytest.fixture
def own_installation(
    tmp_path: Path, own_redis: RedisServer, own_postgres: PostgresServer, redis_prefix: str
) -> Iterator[Installation]:
    """An installation on a Redis and a PostgreSQL that the test may break."""
    made = Installation(tmp_path, own_redis.url, redis_prefix, own_postgres.create_database())
    yield made
    made.kill()
