"""A plain Starlette broadcast on uvicorn, as a first chat has it. Usage: `uvicorn starlette_server:app --port PORT`.

A text message `N payload` to `/pub` goes, as the payload alone, to all on `/sub?channel=N`, one awaited send after
the other; `/echo` answers each message with itself.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

listening: defaultdict[str, set[WebSocket]] = defaultdict(set)
"""Who listens, by channel."""


async def subscribe(websocket: WebSocket) -> None:
    """Listen to a channel until the client leaves."""
    await websocket.accept()
    listeners = listening[websocket.query_params["channel"]]
    listeners.add(websocket)
    try:
        async for _ in websocket.iter_text():
            pass
    finally:
        listeners.discard(websocket)


async def publish(websocket: WebSocket) -> None:
    """Broadcast each message to its channel."""
    await websocket.accept()
    async for message in websocket.iter_text():
        channel, _, payload = message.partition(" ")
        for listener in tuple(listening[channel]):
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it left, and its own task takes note
                await listener.send_text(payload)


async def echo(websocket: WebSocket) -> None:
    """Answer each message with itself."""
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


async def healthz(request: Request) -> PlainTextResponse:
    """Say that it serves."""
    return PlainTextResponse("ok")


app = Starlette(
    routes=[
        Route("/healthz", healthz),
        WebSocketRoute("/sub", subscribe),
        WebSocketRoute("/pub", publish),
        WebSocketRoute("/echo", echo),
    ]
)
