"""Asking: sending a request, and waiting for its answer."""

from __future__ import annotations

import asyncio

from .relay import Relay, Reply, Request

__all__ = ["ask"]


async def ask(relay: Relay, request: Request) -> Reply:
    """Send a request through a relay and wait for the answer. Cancelling the wait cancels the request."""
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def on_reply(reply: Reply) -> None:
        if not future.done():
            future.set_result(reply)

    relay.send(request, on_reply)
    try:
        return await future
    except asyncio.CancelledError:
        relay.cancel(request.id)
        raise
