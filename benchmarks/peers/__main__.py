"""Install, list or run peers by hand: `python -m benchmarks.peers install [NAME …] | list | run NAME --port P`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from benchmarks.peers import PEERS, Absent, PeerFailed, install


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one command; return the exit code: 0, or 1 where a peer to run is absent or fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Servers to compare with.")
    commands = parser.add_subparsers(dest="command", required=True)
    to_install = commands.add_parser("install", help="get them, without root; those that cannot be had are named")
    to_install.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)} (all)")
    commands.add_parser("list", help="show versions, dialects and settings")
    to_run = commands.add_parser("run", help="run one until Ctrl-C or SIGTERM")
    to_run.add_argument("name", metavar="NAME", choices=list(PEERS))
    to_run.add_argument("--port", type=int, required=True, help="on loopback; nats and mosquitto take the next one too")
    to_run.add_argument("--core", type=int, help="the core to pin it to")
    given = parser.parse_args(arguments)

    if given.command == "install":
        unknown = [name for name in given.names if name not in PEERS]
        if unknown:
            parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
        absent = install(given.names or None)
        print(f"{len(given.names or PEERS) - len(absent)} installed, {len(absent)} absent")
        return 0
    if given.command == "list":
        _list()
        return 0
    return _run(given.name, given.port, given.core)


def _list() -> None:
    for name, peer in PEERS.items():
        try:
            version = peer.version()
        except Absent as exc:
            version = f"absent: {exc}"
        print(f"{name} ({peer.title}), dialect {peer.dialect}: {version}")
        print(f"    {', '.join(f'{key}: {value}' for key, value in peer.settings.items())}")
        print(f"    {peer.why}")


def _run(name: str, port: int, core: int | None) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # unwinds, so that the server is stopped
    try:
        running = PEERS[name].start(port, core)
    except (Absent, PeerFailed) as exc:
        print(exc, file=sys.stderr)
        return 1
    with running:
        print(f"{name} listens on 127.0.0.1:{port}, process {running.pid}, log {running.log}", flush=True)
        try:
            return running.process.wait()
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
