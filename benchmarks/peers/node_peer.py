"""What the peers that npm has share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.install import NODE, npm, output, program
from benchmarks.peers.peer import SERVERS, Absent, Peer, Progress

__all__ = ["NodePeer"]

_PACKAGES = NODE / "node_modules"


class NodePeer(Peer):
    """A server in JavaScript on this machine's Node."""

    package: ClassVar[str]
    script: ClassVar[str]

    def install(self, progress: Progress) -> None:
        npm(progress)
        self.version()

    def version(self) -> str:
        return f"{self.package_version()}, Node {output([str(self.runtime()), '--version']).removeprefix('v')}"

    def command(self, port: int, folder: Path) -> Sequence[str | Path]:
        self.package_version()
        return [self.runtime(), SERVERS / self.script, str(port)]

    def variables(self) -> Mapping[str, str]:
        return {"NODE_ENV": "production", "NODE_PATH": str(_PACKAGES)}

    def package_version(self) -> str:
        """The version of its package. Raises `Absent` where that is not installed."""
        try:
            return str(json.loads((_PACKAGES / self.package / "package.json").read_text())["version"])
        except FileNotFoundError:
            raise Absent(f"{self.package} is not here: python -m benchmarks.peers install {self.name}") from None

    def runtime(self) -> Path:
        """The program that runs the script. Raises `Absent` where there is none."""
        return program("node", package="nodejs")
