"""`websockets`, the WebSocket library for asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.peers.python_peer import PythonPeer

__all__ = ["Websockets"]


class Websockets(PythonPeer):
    """Its own `broadcast`, which encodes a message once and waits for nobody."""

    name = "websockets"
    title = "websockets.broadcast"
    dialect = "text-ws"
    packages = ("websockets", "uvloop")
    script = "websockets_server.py"
    settings: ClassVar[Mapping[str, str]] = {"loop": "uvloop", "compression": "None"}
    why = "Its pages on broadcasting and on memory advise broadcast(), and compression off where memory or time count."
