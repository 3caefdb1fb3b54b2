"""Real servers with real sockets, and a plain client that knows only the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import websockets

from backchannel import Server, Settings
from backchannel.demo import app as demo_app

Frame = dict[str, Any]

PATIENCE = 10.0
"""Seconds that a test waits for what must come; nothing ever waits this long when it passes."""


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
