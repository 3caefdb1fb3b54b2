"""A server's configuration file, filled in."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from benchmarks.peers.peer import SERVERS

__all__ = ["open_files", "write_configuration"]


def write_configuration(name: str, folder: Path, **values: object) -> Path:
    """Write `servers/NAME` into a folder, with each `@KEY@` replaced by the value of `key`; return its path.

    `@NEXT@` is the port after `@PORT@`; `@USER@` keeps a server that root starts root, so that it may use the folder.
    """
    port = values.get("port")
    known = {**values, "user": "user root;" if name.startswith("nginx") else "user root"}
    if os.geteuid() != 0:
        known["user"] = ""
    if isinstance(port, int):
        known["next"] = port + 1
    text = (SERVERS / name).read_text()
    for key, value in known.items():
        text = text.replace(f"@{key.upper()}@", str(value))
    path = folder / name
    path.write_text(text)
    return path


def open_files() -> int:
    """How many files a server may open: the hard limit, and no more than any of our runs needs."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 65536 if most == resource.RLIM_INFINITY else min(most, 65536)
