"""A server on `websockets.broadcast`. Usage: `python websockets_server.py PORT`.

A text message `N payload` to `/pub` goes, as the payload alone, to all on `/sub?channel=N`; `/echo` answers each
message with itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import sys
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

listening: defaultdict[str, set[ServerConnection]] = defaultdict(set)
"""Who listens, by channel."""


async def subscribe(connection: ServerConnection, channel: str) -> None:
    """Listen to a channel until the client leaves."""
    listeners = listening[channel]
    listeners.add(connection)
    try:
        await connection.wait_closed()
    finally:
        listeners.discard(connection)


async def publish(connection: ServerConnection) -> None:
    """Broadcast each message to its channel."""
    async for message in connection:
        if isinstance(message, str):
            channel, _, payload = message.partition(" ")
            broadcast(listening[channel], payload)


async def echo(connection: ServerConnection) -> None:
    """Answer each message with itself."""
    async for message in connection:
        await connection.send(message)


async def route(connection: ServerConnection) -> None:
    """Serve one connection by its path."""
    assert connection.request is not None
    url = urlsplit(connection.request.path)
    if url.path == "/sub":
        await subscribe(connection, parse_qs(url.query)["channel"][0])
    elif url.path == "/pub":
        with contextlib.suppress(ConnectionClosed):  # without a closing handshake, as many clients leave
            await publish(connection)
    elif url.path == "/echo":
        with contextlib.suppress(ConnectionClosed):
            await echo(connection)
    else:
        await connection.close(1008, "no such path")


def healthz(connection: ServerConnection, request: Request) -> Response | None:
    """Say that it serves, where this is asked and no WebSocket wanted."""
    return connection.respond(http.HTTPStatus.OK, "ok\n") if request.path == "/healthz" else None


async def main() -> None:
    """Serve until cancelled."""
    port = int(sys.argv[1])
    async with serve(route, "127.0.0.1", port, compression=None, process_request=healthz, backlog=16384) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
