"""An echo behind every WebSocket door, for the Autobahn|Testsuite to try: `python echo_server.py`.

Prints one line of JSON, each door's port by its name, then serves until its standard input ends. The doors are the ones
that a gateway uses; only what stands behind them is an echo.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import nullcontext
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

from backchannel.gateway.deflate import deflated
from backchannel.gateway.framing import BINARY, TEXT, frame
from backchannel.gateway.routes import websocket_routes
from backchannel.gateway.transport import Transport
from backchannel.gateway.upgrade import http_protocol
from backchannel.gateway.websocket import Door, websocket_protocol
from backchannel_protocol import Codec

LIMIT: Final = 1024 * 1024
"""Bytes in the largest message; the suite sends 256 KiB."""


class Echo:
    """A connection that sends every message back."""

    def __init__(self, transport: Transport, codec: Codec, compress_from: int) -> None:
        self._transport = transport
        self._opcode = BINARY if codec.binary else TEXT
        self._compress_from = compress_from
        self._out: list[bytes] = []

    def receive(self, message: bytes) -> None:
        """Keep the answer for `flush`."""
        framed = frame(message, self._opcode)
        self._out.append(deflated(framed, self._compress_from) if self._compress_from else framed)

    def flush(self) -> None:
        """Answer what one read brought."""
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def paused(self) -> None:
        """Write on: the suite reads everything."""

    def resumed(self) -> None:
        """Nothing waits."""

    def lost(self) -> None:
        """Nothing is kept."""


class EchoGateway:
    """Takes everybody."""

    frame_limit = LIMIT
    max_queued = 4 * LIMIT

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """From everywhere."""
        return True

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Echo:
        """A new echo."""
        return Echo(transport, codec, compress_from)


def servers() -> dict[str, uvicorn.Server]:
    """A server per door."""
    gateway = EchoGateway()
    door = Door(gateway, compression=1)
    doors: dict[str, dict[str, Any]] = {
        "takeover": {"http": http_protocol(door), "ws": websocket_protocol(door)},
        "uvicorn": {"http": "httptools", "ws": websocket_protocol(door)},
        "asgi": {"http": "httptools", "ws": "websockets-sansio"},
    }
    app = Starlette(routes=websocket_routes(gateway))
    made = {}
    for name, own in doors.items():
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            lifespan="off",
            log_config=None,
            ws_max_size=LIMIT,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            timeout_graceful_shutdown=1,
            **own,
        )
        made[name] = uvicorn.Server(config)
        made[name].capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    return made


async def serve() -> None:
    """Serve behind every door until the standard input ends."""
    ports: dict[str, int] = {}
    running = servers()
    async with asyncio.TaskGroup() as tasks:
        for name, server in running.items():
            server.config.load()
            server.lifespan = server.config.lifespan_class(server.config)
            await server.startup()
            tasks.create_task(server.main_loop())
            ports[name] = server.servers[0].sockets[0].getsockname()[1]
        print(json.dumps(ports), flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
        for server in running.values():
            server.should_exit = True
    for server in running.values():
        await server.shutdown()


if __name__ == "__main__":
    asyncio.run(serve())
