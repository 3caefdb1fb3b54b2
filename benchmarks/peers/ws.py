"""`ws`, the WebSocket library that most of Node uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.peers.node_peer import NodePeer

__all__ = ["Ws"]


class Ws(NodePeer):
    """A loop over the clients of a channel, as its README shows for a broadcast."""

    name = "ws"
    title = "ws"
    dialect = "text-ws"
    package = "ws"
    script = "ws.js"
    settings: ClassVar[Mapping[str, str]] = {
        "native add-on": "bufferutil",
        "perMessageDeflate": "false",
    }
    why = "Its README advises the native add-on, and compression off (its default) for its cost in time and memory."
