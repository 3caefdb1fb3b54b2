"""python-socketio, on uvicorn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.peers.python_peer import UVICORN, UvicornPeer

__all__ = ["PythonSocketIO"]


class PythonSocketIO(UvicornPeer):
    """The asynchronous server as an ASGI application."""

    name = "python_socketio"
    title = "python-socketio"
    dialect = "python-socketio"
    packages = ("python-socketio", "uvicorn", "uvloop")
    script = "python_socketio_server.py"
    settings: ClassVar[Mapping[str, str]] = {"transports": "websocket", "async_handlers": "false", **UVICORN}
    why = (
        "Its deployment page runs it on uvicorn; async_handlers=False is its way to handle a client's events in "
        "order. uvicorn[standard] is uvloop and httptools."
    )
