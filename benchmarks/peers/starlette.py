"""A plain broadcast in Starlette, on uvicorn: what most Python applications start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.peers.python_peer import UVICORN, UvicornPeer

__all__ = ["Starlette"]


class Starlette(UvicornPeer):
    """A set of connections per channel, and one awaited send each."""

    name = "starlette"
    title = "plain Starlette"
    dialect = "text-ws"
    packages = ("starlette", "uvicorn", "uvloop")
    script = "starlette_server.py"
    settings: ClassVar[Mapping[str, str]] = UVICORN
    why = (
        "uvicorn[standard] is uvloop and httptools; of uvicorn's WebSocket implementations this is the fastest here, "
        "and compression is what no client asks for."
    )
