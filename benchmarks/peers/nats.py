"""NATS: a message system in Go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.configuration import write_configuration
from benchmarks.peers.debian_peer import DebianPeer
from benchmarks.peers.install import output

__all__ = ["Nats"]


class Nats(DebianPeer):
    """Debian's nats-server, core NATS: listeners over WebSocket, publishers over TCP on the next port."""

    name = "nats"
    title = "NATS"
    dialect = "nats"
    packages = ("nats-server",)
    binary = "nats-server"
    settings: ClassVar[Mapping[str, str]] = {"websocket": "no_tls, no compression (its default)"}
    why = (
        "Its defaults, but for TLS, which a WebSocket listener has to be told to do without; its Go runtime takes as "
        "many threads as it may use cores."
    )
    path = None
    ports = 2

    def version(self) -> str:
        return output([str(self.program()), "--version"]).rpartition("v")[2]

    def command(self, port: int, folder: Path) -> Sequence[str | Path]:
        return [self.program(), "-c", write_configuration("nats.conf", folder, port=port)]
