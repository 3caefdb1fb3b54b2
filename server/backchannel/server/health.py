"""Health of a process that serves nothing else over HTTP: `/healthz`, `/readyz`, `/version` and `/metrics`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from starlette.applications import Starlette

from ..gateway.routes import operation_routes
from .http import HttpServer

__all__ = ["serve_health"]


class _Health:
    """Whoever has reasons not to be ready."""

    def __init__(self, readiness: Callable[[], dict[str, str]]) -> None:
        self.readiness = readiness


async def serve_health(
    readiness: Callable[[], dict[str, str]], sockets: Sequence[socket.socket], stack: AsyncExitStack
) -> None:
    """Serve the routes of operations on these sockets for as long as the stack is open; none: nothing is done.

    Args:
        readiness: what keeps the process from serving, part by part; empty: it is ready.
    """
    for listening in sockets:
        stack.callback(listening.close)
    if sockets:
        http = HttpServer(Starlette(routes=operation_routes(_Health(readiness))))
        stack.push_async_callback(http.stop)
        await http.start(sockets)
