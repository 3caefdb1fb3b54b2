"""`serve --reload`: a process that starts the server anew whenever the source changes.

It looks at times of modification, which works on every file system and needs no dependency.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from ..settings import ConfigurationError
from .loading import make_current_folder_importable
from .output import stderr

__all__ = ["Supervisor", "folders_of", "supervise"]

_INTERVAL: Final = 0.5
# A look at a large tree must not keep a core busy: it takes at most this share of the time.
_SHARE: Final = 0.05
# A developer does not wait for the usual drain.
_DRAIN: Final = ("--drain", "1")
# How long a server may take to stop before it is killed.
_PATIENCE: Final = 45.0
_IGNORED: Final = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})

Times = dict[str, int]


def supervise(module: str, *, drain_is_set: bool) -> int:
    """Run this same command without `--reload`, again and again, until a signal ends it.

    Args:
        module: the module of the app, whose package is watched beside the current folder.
        drain_is_set: whether the command line says how long to drain.

    Returns:
        The exit code of the last server.
    """
    words = [word for word in sys.argv[1:] if word != "--reload"]
    command = [sys.executable, "-m", "backchannel.cli", *words, *(() if drain_is_set else _DRAIN)]
    return Supervisor(command, folders_of(module)).run()


def folders_of(module: str) -> list[Path]:
    """The current folder and where the module's outermost package is. Nothing is imported.

    Raises:
        ConfigurationError: there is no such package.
    """
    make_current_folder_importable()
    package = module.partition(".")[0]
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ConfigurationError(f"There is no module {package!r} in {Path.cwd()} or among what is installed.")
    here = Path.cwd()
    places = [Path(place) for place in spec.submodule_search_locations or ([spec.origin] if spec.origin else [])]
    return [here, *(place for place in places if not place.resolve().is_relative_to(here.resolve()))]


class Supervisor:
    """Keeps one server process running, and replaces it when a watched file changes."""

    def __init__(self, command: Sequence[str], places: Sequence[Path], interval: float = _INTERVAL) -> None:
        """`places` are files, or folders whose `*.py` are watched at any depth; `interval` is in seconds."""
        self._command = command
        self._places = places
        self._interval = interval
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; the server is told once and given time to drain."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        code = 0
        try:
            times = self._times()
            self._start()
            while not self._is_stopping:
                started = time.monotonic()
                now = self._times()
                took = time.monotonic() - started
                if now != times:
                    self._say(f"{_changed(times, now)} changed: starting anew")
                    self._end()
                    times = now
                    self._start()
                elif self._child is not None and (ended := self._child.poll()) is not None:
                    self._child = None
                    code = ended
                    self._say(f"The server ended with exit code {ended}; it starts again when a file changes")
                time.sleep(max(self._interval, took / _SHARE))
        finally:
            code = self._end(code)
            for number, handler in before.items():
                signal.signal(number, handler)
        return code

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True

    def _start(self) -> None:
        # In a session of its own: the terminal's Ctrl-C reaches it once, through us.
        self._child = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603  # our own command

    def _end(self, code: int = 0) -> int:
        """Stop the server if it runs; its exit code, else `code`."""
        if self._child is None:
            return code
        self._child.terminate()
        try:
            return self._child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def _say(self, text: str) -> None:
        stderr().print(text, style="dim", markup=False)

    def _times(self) -> Times:
        return {path: entry for place in self._places for path, entry in _sources(str(place))}


def _sources(place: str) -> Iterator[tuple[str, int]]:
    """The Python files at a place, with when each was changed (nanoseconds)."""
    try:
        if not os.path.isdir(place):
            yield place, os.stat(place).st_mtime_ns
            return
        entries = list(os.scandir(place))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _IGNORED:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                yield entry.path, entry.stat().st_mtime_ns
        except OSError:
            continue  # it went away in between


def _changed(before: Times, now: Times) -> str:
    """One file that differs, by its path from here."""
    path = next(path for path in {**now, **before} if before.get(path) != now.get(path))
    return os.path.relpath(path)
