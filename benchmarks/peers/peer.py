"""A peer: another server that is asked the same questions, run as its own documentation advises.

What the generator's dialects expect of every server:

- `text-ws` and `bun` (plain WebSocket): `GET /sub?channel=N` listens to channel N; on `GET /pub` a text message
  `N payload` is broadcast, as the payload alone, to all who listen to N; `GET /echo` answers each message with
  itself.
- `socketio` and `python-socketio` (WebSocket transport only): the events `sub` (channel; a room; acknowledged) and
  `pub` (channel, payload), which is emitted as `m` (payload) to the room; `echo` (payload) is acknowledged with the
  payload.
- `nats`: its protocol over WebSocket on the port, over TCP on the next; subjects `c.N`.
- `mqtt`: MQTT over WebSocket (path `/mqtt`, subprotocol `mqtt`) on the port, over TCP on the next; topics `c/N`,
  quality of service 0.
- `nchan`: `GET /sub/N` is a WebSocket that listens, `POST /pub/N` publishes the body, and what is sent on the
  WebSocket `GET /echo/N` comes back on it.

Those that serve HTTP answer `GET /healthz` with 200.
"""

from __future__ import annotations

import http.client
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, Self

__all__ = ["SERVERS", "Absent", "Dialect", "Peer", "PeerFailed", "Progress", "Running"]

Dialect = Literal["text-ws", "bun", "socketio", "python-socketio", "nats", "mqtt", "nchan"]
"""How the generator connects, subscribes and publishes."""

Progress = Callable[[str], None]
"""Takes one line on what is being done now."""

SERVERS = Path(__file__).parent / "servers"
"""The servers' own code and configuration."""

# How long a server may take to answer or to end, in seconds.
_START = 30.0
_STOP = 10.0


class Absent(Exception):
    """A peer that cannot be had on this machine; the message says why, and the cure where there is one."""


class PeerFailed(Exception):
    """A peer that is there did not start; the message has the last of its log."""


class Running:
    """A peer's server process, in a process group and a temporary folder of its own.

    Leaving the context stops it; so does our own end, however that comes.

    Attributes:
        pid: the process that was started; what the server starts itself are its children.
        port: where it listens, on loopback.
        log: what it wrote, standard output and error.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.port = port
        self.log = folder / "log"
        self._folder = folder
        # It reads until we close the pipe, which the kernel does for us if we are killed.
        script = 'read -r _; kill -TERM "-$1"; rm -rf "$2"'
        keeper = ["sh", "-c", script, "sh", str(process.pid), str(folder)]
        self._keeper = subprocess.Popen(
            keeper, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def stop(self) -> None:
        """End the server and what it started, wait for that, and remove its folder. Harmless when repeated."""
        self._keeper.kill()
        self._keeper.communicate()
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


class Peer(ABC):
    """One peer: how to get it, how to run it, and why it is run like that."""

    name: ClassVar[str]
    """What it is called on the command line, in the JSON and in file names."""
    title: ClassVar[str]
    """What it is called in tables."""
    dialect: ClassVar[Dialect]
    settings: ClassVar[Mapping[str, str]]
    """What differs from its defaults, and to which value."""
    why: ClassVar[str]
    """One or two sentences: who advises these settings."""
    path: ClassVar[str | None] = "/healthz"
    """What answers 200 over HTTP once it serves; None: it serves no HTTP, and a connection must do."""

    ports: ClassVar[int] = 1
    """How many it takes, one after the other."""

    @abstractmethod
    def install(self, progress: Progress) -> None:
        """Get it, unless that was done before.

        Raises:
            Absent: it cannot be had here.
        """

    @abstractmethod
    def version(self) -> str:
        """The version that is installed, with that of its runtime where that matters.

        Raises:
            Absent: it is not installed.
        """

    @abstractmethod
    def command(self, port: int, folder: Path) -> Sequence[str | Path]:
        """What to run so that it listens on `port`; `folder` is its own, and its working directory.

        Raises:
            Absent: it is not installed.
        """

    def variables(self) -> Mapping[str, str]:
        """What its environment has besides ours."""
        return {}

    def start(self, port: int, core: int | None = None) -> Running:
        """Start it on loopback, pinned to `core` (None: wherever the kernel likes), and return once it answers.

        It may open as many files as the hard limit allows. A server of two `ports` takes `port` and the next.

        Raises:
            Absent: it is not installed.
            PeerFailed: a port is taken, it ended, or does not answer in time.
        """
        # Else whoever listens there would be taken for the server while that is still failing.
        for one in self._own(port):
            if _is_open(one):
                raise PeerFailed(f"{self.name} cannot start: port {one} is taken; choose another, or end what has it.")
        folder = Path(tempfile.mkdtemp(prefix=f"backchannel-{self.name}-"))
        try:
            command = [*_limits(core), *map(str, self.command(port, folder))]
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**os.environ, **self.variables()},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        running = Running(process, port, folder)
        try:
            self._wait(running)
        except BaseException:
            running.stop()
            raise
        return running

    def _own(self, port: int) -> range:
        return range(port, port + self.ports)

    def _wait(self, running: Running) -> None:
        end = time.monotonic() + _START
        while not self._answers(running.port):
            if running.process.poll() is not None:
                raise PeerFailed(f"{self.name} ended at once:\n{_last_of(running.log)}")
            if time.monotonic() > end:
                raise PeerFailed(f"{self.name} does not answer on port {running.port}:\n{_last_of(running.log)}")
            time.sleep(0.02)

    def _answers(self, port: int) -> bool:
        if self.path is None:
            return all(_is_open(one) for one in self._own(port))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _limits(core: int | None) -> list[str]:
    """The programs before the server's: all of the files that the hard limit allows, one core."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = "unlimited" if files == resource.RLIM_INFINITY else str(files)
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    return ["prlimit", f"--nofile={most}:{most}", *pinned]


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _last_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-20:]) or "(it wrote nothing)"
