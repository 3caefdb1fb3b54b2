"""Real servers with real sockets, and a plain client that knows only the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import websockets

from backchannel import Server, Settings
from backchannel.auth.tokens import issue_token
from backchannel.demo import app as demo_app

Frame = dict[str, Any]

PATIENCE = 10.0
"""Seconds that a test waits for what must come; nothing ever waits this long when it passes."""

PROCESS_PATIENCE = 30.0
"""The same for a process to start or to end, on a busy machine."""

SECRET = "process-test-secret-process-test-secret"


class Wire:
    """One WebSocket to a server, frame by frame. What arrives is kept until somebody asks for it."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self._ids = itertools.count(101)
        self._kept: list[Frame] = []

    async def send(self, type_: str, **fields: Any) -> int:
        """Send a frame with a fresh id; returns the id."""
        frame_id = fields.pop("id", None) or next(self._ids)
        await self.socket.send(json.dumps({"type": type_, "id": frame_id, **fields}))
        return int(frame_id)

    async def raw(self, data: str | bytes) -> None:
        """Send whatever this is."""
        await self.socket.send(data)

    async def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The next frame like this; others are kept for later."""
        for index, frame in enumerate(self._kept):
            if wanted(frame):
                return self._kept.pop(index)
        async with asyncio.timeout(PATIENCE):
            while True:
                frame = json.loads(await self.socket.recv())
                if wanted(frame):
                    return dict(frame)
                self._kept.append(frame)

    async def answer(self, request_id: int) -> Frame:
        """The answer to a request."""
        return await self.until(lambda frame: frame.get("id") == request_id)

    async def ask(self, type_: str, **fields: Any) -> Frame:
        """Send a request and return its answer."""
        return await self.answer(await self.send(type_, **fields))

    async def call(self, name: str, data: Any, **fields: Any) -> Any:
        """Call and return the reply's data; a refusal fails the test."""
        answer = await self.ask("call", name=name, data=data, **fields)
        assert answer["type"] == "reply", answer
        return answer["data"]

    async def event(self, name: str, channel: str | None = None) -> Frame:
        """The next event of this name."""
        return await self.until(
            lambda f: f["type"] == "event" and f["name"] == name and channel in (None, f["channel"])
        )

    async def closed(self) -> int:
        """The code with which the server closes."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code

    def kept(self) -> list[Frame]:
        """What arrived and was not asked for."""
        return self._kept


@dataclass
class Running:
    """A server with the door that a test uses."""

    server: Server
    ws_url: str
    url: str
    _stack: contextlib.AsyncExitStack

    def token(self, user: str, **claims: Any) -> str:
        """A token for a user."""
        return self.server.issue_token(user, lifetime=600, **claims)[0]

    async def socket(self, **options: Any) -> websockets.ClientConnection:
        """A bare WebSocket; it closes with the test."""
        options.setdefault("subprotocols", ["backchannel.v1.json"])
        return await self._stack.enter_async_context(websockets.connect(self.ws_url, **options))

    async def wire(self, user: str | None = None, **connect: Any) -> Wire:
        """A connection, with the session open if there is a user."""
        wire = Wire(await self.socket())
        if user is not None:
            answer = await wire.ask("connect", token=self.token(user), **connect)
            assert answer["type"] == "connected", answer
            await wire.until(lambda f: f["type"] == "subscribed" and f["channel"] == f"user:{user}")
        return wire


@contextlib.asynccontextmanager
async def running(folder: Path, door: str, **settings: Any) -> AsyncIterator[Running]:
    """A server in this process, behind one of its doors."""
    settings = {"dev": True, "port": 0, "data": str(folder), "drain": 1.0, **settings}
    async with contextlib.AsyncExitStack() as stack:
        server = Server(demo_app, Settings(**settings))
        await server.start()
        stack.push_async_callback(server.stop)
        port = server.port
        if door == "asgi":
            port = await _serve_asgi(server, stack)
        yield Running(server, f"ws://127.0.0.1:{port}/ws", f"http://127.0.0.1:{port}", stack)


async def _serve_asgi(server: Server, stack: contextlib.AsyncExitStack) -> int:
    """The same server behind uvicorn's own protocols, as any ASGI server would run it."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    stack.callback(listening.close)
    config = uvicorn.Config(
        server.asgi, http="h11", ws="websockets-sansio", lifespan="on", log_config=None, timeout_graceful_shutdown=1
    )
    http = uvicorn.Server(config)
    http.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(http.serve(sockets=[listening]))

    async def stop() -> None:
        http.should_exit = True
        await task

    stack.push_async_callback(stop)
    return int(listening.getsockname()[1])


@pytest.fixture(params=["takeover", "asgi"])
def door(request: pytest.FixtureRequest) -> str:
    """Every door that a WebSocket can come through."""
    return str(request.param)


@pytest.fixture
async def running_server(tmp_path: Path, door: str) -> AsyncIterator[Running]:
    """A server with default settings, once per door."""
    async with running(tmp_path, door) as server:
        yield server


@pytest.fixture
def start_server(tmp_path: Path, door: str) -> Callable[..., contextlib.AbstractAsyncContextManager[Running]]:
    """Starts servers with settings of one's own; called again, on the same data."""
    return lambda **settings: running(tmp_path, door, **settings)


class Process:
    """A `backchannel serve` of one's own, in a process that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        self.output: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    async def start(self, *words: str) -> None:
        """Start, on the same port as before, and return once it is ready; `words` are flags, or the app and flags."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "backchannel.cli", "serve", "--port", str(self.port), *words,
            cwd=self.folder,
            env={**environ, "BACKCHANNEL_SECRET": SECRET, "BACKCHANNEL_DATA": str(self.folder), "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        serving = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(serving))
        self.port = await asyncio.wait_for(serving, PROCESS_PATIENCE)

    async def _read(self, serving: asyncio.Future[int]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode()
            self.output.append(text)
            _, found, after = text.partition("http://127.0.0.1:")
            if found and not serving.done():
                serving.set_result(int(after[: len(after) - len(after.lstrip("0123456789"))]))
        if not serving.done():
            serving.set_exception(AssertionError("it did not start:\n" + "".join(self.output)))

    async def end(self, number: int) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; returns the exit status."""
        assert self._process is not None
        assert self._reading is not None
        status = await asyncio.wait_for(self._process.wait(), PROCESS_PATIENCE)
        await self._reading
        return status

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    def token(self, user: str, lifetime: float = 3600.0) -> str:
        """A token that it accepts; `lifetime` is in seconds."""
        return issue_token(SECRET.encode(), user, lifetime=lifetime)


@pytest.fixture
async def make_process(tmp_path: Path) -> AsyncIterator[Callable[[], Process]]:
    """Makes server processes on one data folder; those that still run at the end are killed."""
    made: list[Process] = []

    def make() -> Process:
        made.append(Process(tmp_path))
        return made[-1]

    yield make
    for process in made:
        await process.end(signal.SIGKILL)


@pytest.fixture
async def process(make_process: Callable[[], Process]) -> Process:
    """A server process that serves the demo."""
    made = make_process()
    await made.start()
    return made
