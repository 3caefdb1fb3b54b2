"""One server process: found, started, waited for, paused, killed, and cleaned up behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["NotInstalled", "Service", "ServiceFailed", "free_port", "program"]

# How long a server may take to answer or to end, in seconds.
_START = 30.0
_STOP = 10.0


class NotInstalled(Exception):
    """A program that is needed is not on this machine; the message tells how to get it."""


class ServiceFailed(Exception):
    """A server did not start, or did not end; the message has the last of its log."""


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(*names: str, folders: Sequence[Path | str] = (), package: str) -> str:
    """The path of the first of these programs that is installed.

    Raises:
        NotInstalled: none is.
    """
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise NotInstalled(f"{names[0]} is needed and not installed: apt-get install {package}, or ./scripts/setup-system.")


class Service(ABC):
    """A server on loopback, in a temporary folder, in a process of its own.

    Attributes:
        folder: where it keeps its files and its log; gone after `stop`.
        port: where it listens, the same after every start.

    Subclasses say what to run (`_command`) and when it answers (`_answers`).
    """

    stop_signal = signal.SIGTERM
    normal_user: str | None = None
    """Whom it runs as where the caller is root; None: the caller."""

    def __init__(self, *, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="backchannel-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user = self.normal_user if os.geteuid() == 0 else None
        if self._user is not None:
            # Everybody may pass through the folder of temporary files, and this user owns its own.
            account = pwd.getpwnam(self._user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The program and its arguments; writes its configuration before."""

    def _answers(self) -> bool:
        """Whether it serves now; asked again and again while it starts."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def pid(self) -> int:
        """Its process id. Raises `ServiceFailed` while it does not run."""
        if self._process is None:
            raise ServiceFailed(f"{type(self).__name__} does not run: start it.")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.folder / "log"

    def start(self) -> None:
        """Start it and return once it answers.

        Raises:
            ServiceFailed: it ended, or does not answer in time.
        """
        if self._process is not None:
            raise ServiceFailed(f"{type(self).__name__} runs already.")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._as_user(self._command()), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + _START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise ServiceFailed(f"{type(self).__name__} did not start:\n{self._last_of_log()}")
            time.sleep(0.02)

    def run(self, words: Sequence[str]) -> None:
        """Run a program that ends, as the server's user. Raises `ServiceFailed` with what it said."""
        done = subprocess.run(self._as_user(words), cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"{words[0]} failed:\n{done.stdout}{done.stderr}")

    def _as_user(self, words: Sequence[str]) -> list[str]:
        # It dies with whoever started it, so that a test run that is killed leaves nothing behind.
        wrapper = [program("setpriv", package="util-linux"), "--pdeathsig", "KILL"]
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            wrapper += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
        return [*wrapper, *words]

    def end(self, number: signal.Signals | None = None) -> None:
        """Let it end by a signal, and keep its folder: `start` goes on from there.

        Raises:
            ServiceFailed: it does not end; it was killed then.
        """
        if self._process is None:
            return
        self._process.send_signal(number or self.stop_signal)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServiceFailed(f"{type(self).__name__} did not end:\n{self._last_of_log()}") from None
        self._process = None

    def kill(self) -> None:
        """Kill it (SIGKILL), and keep its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): it holds its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it for good and remove its folder; safe to call twice."""
        try:
            with contextlib.suppress(ServiceFailed):
                self.end()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _last_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
