"""uvicorn on a loop of our own: no signal handling, and it tells when it serves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette

from ..settings import ConfigurationError
from .listening import BACKLOG

__all__ = ["HttpServer"]

# How long a request that is being answered may take when the server stops, in seconds.
_GRACE = 5


class HttpServer:
    """Serves one ASGI application on listening sockets, which are its own from then on. Use it on one loop.

    `options` are further ones of `uvicorn.Config`.
    """

    def __init__(self, asgi: Starlette, **options: Any) -> None:
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                asgi,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=_GRACE,
                **options,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Return once it serves.

        Raises:
            ConfigurationError: the application's lifespan failed.
        """
        self._task = asyncio.create_task(self._uvicorn.serve(sockets=list(sockets)))
        serving = asyncio.create_task(self._uvicorn.serving.wait())
        await asyncio.wait([self._task, serving], return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        if self._task.done():
            self._task.result()
            raise ConfigurationError("The HTTP server did not start; the log has the reason.")

    def stop_accepting(self) -> None:
        """Close the listening sockets, so that new connections go to who else listens on them; serve those that are."""
        for server in self._uvicorn.servers:
            server.close()

    async def stop(self) -> None:
        """Let what is being answered end, and stop."""
        self._uvicorn.should_exit = True
        if self._task is not None:
            await self._task


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handling: the process drains first, then stops it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell who waits."""
        await super().startup(sockets=sockets)
        self.serving.set()
