"""What the peers that PyPI has share."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.peers.install import PYTHON, output, pypi
from benchmarks.peers.peer import SERVERS, Absent, Peer, Progress

__all__ = ["UVICORN", "PythonPeer", "UvicornPeer"]

UVICORN: Final = {
    "loop": "uvloop",
    "http": "httptools",
    "ws": "websockets-sansio",
    "ws-per-message-deflate": "false",
    "log-level": "warning",
    "backlog": "16384",
}
"""Options of uvicorn: `uvicorn[standard]` is uvloop and httptools; of its WebSocket implementations this is the fastest
here; compression is what no client asks for."""

_ASK = "import sys, json, importlib.metadata as m; print(json.dumps([m.version(name) for name in sys.argv[1:]]))"


class PythonPeer(Peer):
    """A server in Python, in an environment of its own with what is pinned, or in one that is given."""

    packages: ClassVar[Sequence[str]]
    """What its version is made of, the peer itself first."""
    script: ClassVar[str]

    def __init__(self, python: Path = PYTHON / "bin" / "python") -> None:
        self._python = python

    def install(self, progress: Progress) -> None:
        pypi(progress)
        self.version()

    def version(self) -> str:
        versions = json.loads(output([str(self._installed()), "-c", _ASK, *self.packages]))
        others = [f"{name} {version}" for name, version in zip(self.packages[1:], versions[1:], strict=True)]
        return ", ".join([versions[0], *others, f"Python {platform.python_version()}"])

    def command(self, port: int, folder: Path) -> Sequence[str | Path]:
        # -P: a module of this name must not be looked for beside the script.
        return [self._installed(), "-P", SERVERS / self.script, str(port)]

    def _installed(self) -> Path:
        if not self._python.exists():
            raise Absent(f"{self.packages[0]} is not here: python -m benchmarks.peers install {self.name}")
        return self._python


class UvicornPeer(PythonPeer):
    """An ASGI application, named `app` in its script, on uvicorn."""

    def command(self, port: int, folder: Path) -> Sequence[str | Path]:
        """uvicorn with `UVICORN`'s options."""
        options = [word for name, value in UVICORN.items() for word in (f"--{name}", value)]
        target = f"{self.script.removesuffix('.py')}:app"
        where = ["--app-dir", str(SERVERS), "--port", str(port), "--no-access-log"]
        return [self._installed(), "-P", "-m", "uvicorn", target, *where, *options]
