"""The peers: other servers that are asked the same questions in the same run. `peer.py` says what one is."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.peers.bun import Bun
from benchmarks.peers.mosquitto import Mosquitto
from benchmarks.peers.nats import Nats
from benchmarks.peers.nchan import Nchan
from benchmarks.peers.peer import Absent, Dialect, Peer, PeerFailed, Progress, Running
from benchmarks.peers.python_socketio import PythonSocketIO
from benchmarks.peers.socketio import SocketIO
from benchmarks.peers.starlette import Starlette
from benchmarks.peers.websockets import Websockets
from benchmarks.peers.ws import Ws

__all__ = ["PEERS", "Absent", "Dialect", "Peer", "PeerFailed", "Progress", "Running", "install"]

PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Bun(),
        Nats(),
        Nchan(),
        Mosquitto(),
        Ws(),
        SocketIO(),
        Websockets(),
        Starlette(),
        PythonSocketIO(),
    )
}
"""Every peer by its name, in the order of tables."""


def install(names: list[str] | None = None, *, progress: Progress = print) -> dict[str, str]:
    """Install peers (None: all), and return why those that cannot be had are absent, by name.

    `progress` is told each step and each result. What was installed before is not installed again.
    """
    absent: dict[str, str] = {}
    for name in names or list(PEERS):
        peer = PEERS[name]

        def tell(line: str, name: str = name) -> None:
            progress(f"{name}: {line}")

        try:
            peer.install(tell)
            tell(peer.version())
        except Absent as exc:
            absent[name] = str(exc)
            tell(f"absent: {exc}")
    return absent
