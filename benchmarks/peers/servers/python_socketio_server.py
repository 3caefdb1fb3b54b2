"""A python-socketio server on uvicorn. Usage: `uvicorn python_socketio_server:app --port PORT`.

`sub` (channel) enters a room and is acknowledged, `pub` (channel, payload) is emitted as `m` (payload) to the room,
`echo` (payload) is acknowledged with the payload.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import socketio

# Handlers run one after the other: with `async_handlers`, the default, each is a task, and publishes change places.
server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], async_handlers=False)
application = socketio.ASGIApp(server)


async def subscribe(sid: str, channel: object) -> None:
    """Enter a channel's room."""
    await server.enter_room(sid, str(channel))


async def publish(sid: str, channel: object, payload: object) -> None:
    """Emit to a channel's room."""
    await server.emit("m", payload, room=str(channel))


async def echo(sid: str, payload: object) -> object:
    """Acknowledge with the payload."""
    return payload


server.on("sub", subscribe)
server.on("pub", publish)
server.on("echo", echo)


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Say at `/healthz` that it serves; all else is Socket.IO's."""
    if scope["type"] == "http" and scope["path"] == "/healthz":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
    else:
        await application(scope, receive, send)
