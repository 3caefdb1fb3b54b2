"""The command line as real processes, beside a real server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "shop.py"
COMMAND = [sys.executable, "-P", "-m", "backchannel.cli"]

PATIENCE = 30.0
"""Seconds that a command may take on a busy machine."""

Done = subprocess.CompletedProcess[str]


def environment(**variables: str) -> dict[str, str]:
    """The environment without anything that Backchannel or rich would read, but for these."""
    ours = ("BACKCHANNEL_", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables


@dataclass
class Folder:
    """A project folder, in which commands run as a person would run them."""

    path: Path

    def run(self, *words: str, stdin: str = "", **variables: str) -> Done:
        """Run `backchannel WORDS…` to its end."""
        return subprocess.run(
            [*COMMAND, *words],
            cwd=self.path,
            env=environment(**variables),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    @contextmanager
    def start(self, *words: str, **variables: str) -> Iterator[Running]:
        """Run `backchannel WORDS…` beside the test; what still runs at the end is killed."""
        errors = self.path / f"stderr-{len(list(self.path.glob('stderr-*')))}"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*COMMAND, *words],
                cwd=self.path,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                # A runner in the background may ignore Ctrl-C, and its children would inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        with process:
            try:
                yield Running(process, errors)
            finally:
                process.kill()

    @contextmanager
    def serve(self, *words: str, **variables: str) -> Iterator[Served]:
        """A server on a free port, once it serves."""
        with self.start("serve", *words, "--drain", "1", **variables) as running:
            lines = running.until("WebSocket")
            (url,) = re.findall(r"ws://\S+", lines[-1])
            yield Served(self, running, url, lines)


@dataclass
class Running:
    """A process whose output is read line by line."""

    process: subprocess.Popen[str]
    errors: Path

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self.errors.read_text()

    def until(self, text: str) -> list[str]:
        """The lines up to the one that has this text; the test's own timeout bounds the wait."""
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if text in line:
                return lines
        raise AssertionError(f"{text!r} never came: {lines}\n{self.stderr}")

    def end(self, number: int) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@dataclass
class Served:
    """A running server and the folder that it runs in."""

    folder: Folder
    running: Running
    url: str
    lines: list[str] = field(repr=False)

    def ask(self, *words: str, stdin: str = "", **variables: str) -> Done:
        """Run a client's command against it."""
        return self.folder.run(*words, "--url", self.url, stdin=stdin, **variables)


def project(path: Path) -> Folder:
    """A folder with the example shop in it."""
    shutil.copy(EXAMPLE, path / "shop.py")
    return Folder(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A fresh project folder."""
    return project(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The example shop, served in development for the tests of one file; each test has a shop of its own."""
    with project(tmp_path_factory.mktemp("served")).serve("--dev", "--port", "0", "shop:app") as served:
        yield served


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> str:
    """The name of a shop that no other test uses."""
    return re.sub(r"[^a-z0-9]", "-", request.node.name.lower())[:64]


@pytest.fixture
def order(shop: str) -> Callable[..., str]:
    """The JSON of an order in the test's shop."""
    return lambda quantity=1, item="tea": f'{{"shop": "{shop}", "item": "{item}", "quantity": {quantity}}}'
