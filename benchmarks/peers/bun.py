"""Bun: a JavaScript runtime whose server is uWebSockets, in C++."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.install import NODE, output
from benchmarks.peers.node_peer import NodePeer
from benchmarks.peers.peer import Absent

__all__ = ["Bun"]

_ARCHITECTURES = {"x86_64": "x64", "aarch64": "aarch64"}


class Bun(NodePeer):
    """Bun's native pub/sub: the channel's listeners and the sweep over them are in C++."""

    name = "bun"
    title = "Bun (uWebSockets)"
    dialect = "bun"
    package = f"@oven/bun-linux-{_ARCHITECTURES.get(platform.machine(), 'x64')}"
    script = "bun.js"
    settings: ClassVar[Mapping[str, str]] = {"development": "false", "perMessageDeflate": "false"}
    why = "Its documentation advises subscribe and publish for broadcasts, and has compression off by default."

    def version(self) -> str:
        # The binary itself is asked: on a processor that it was not built for it does not run.
        return output([str(self.runtime()), "--version"])

    def runtime(self) -> Path:
        binary = NODE / "node_modules" / self.package / "bin" / "bun"
        if not binary.exists():
            raise Absent(f"{self.package} is not here: python -m benchmarks.peers install {self.name}")
        return binary
