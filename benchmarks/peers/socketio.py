"""Socket.IO, on Node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.peers.node_peer import NodePeer

__all__ = ["SocketIO"]


class SocketIO(NodePeer):
    """The `socket.io` package over its default WebSocket engine, `ws`."""

    name = "socketio"
    title = "Socket.IO"
    dialect = "socketio"
    package = "socket.io"
    script = "socketio.js"
    settings: ClassVar[Mapping[str, str]] = {
        "transports": "websocket",
        "native add-on": "bufferutil",
        "first HTTP request": "discarded",
        "serveClient": "false",
    }
    why = (
        "Socket.IO's pages on performance tuning and memory usage advise ws's native add-ons (today's Node does the "
        "other's work itself) and to discard the first HTTP request; compression is off by default."
    )
