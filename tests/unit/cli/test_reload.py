"""`serve --reload` replaces the server when the source changes, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import backchannel.cli.reload as reloading
from backchannel.cli.reload import Supervisor, folders_of
from backchannel.settings import ConfigurationError

# A server that says when it starts, and ends well when it is told to; with the exit code in `fate.py`, at once.
CHILD = """
import pathlib, signal, sys
fate = pathlib.Path("fate.py").read_text().strip()
def stop(*_):
    print("stopped", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print(f"started {fate}", flush=True)
if fate.isdigit():
    sys.exit(int(fate))
signal.pause()
"""

# A supervisor as a process of its own: it has signals to handle.
SUPERVISOR = """
import sys
from pathlib import Path
from backchannel.cli.reload import Supervisor
sys.exit(Supervisor([sys.executable, "-u", "child.txt"], [Path.cwd()], interval=0.02).run())
"""


class Supervised:
    """A running supervisor over a folder of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "child.txt").write_text(CHILD)
        self.write("serve", 1)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def write(self, fate: str, moment: int, name: str = "fate.py") -> None:
        """Change a file, at a moment of its own however coarse the file system's clock is."""
        file = self.folder / name
        draft = self.folder / "draft"
        draft.write_text(fate)
        os.utime(draft, (moment, moment))
        draft.rename(file)

    def until(self, text: str) -> list[str]:
        """Read its output up to this line."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.strip())
            if text in line:
                return lines
        raise AssertionError(f"{text!r} never came: {lines}")

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit code and the rest of the output."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=20)
        return self.process.returncode, rest


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Supervised]:
    """A supervisor whose server has started."""
    running = Supervised(tmp_path)
    with running.process:
        running.until("started serve")
        yield running
        running.process.terminate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_well(running: Supervised, number: int) -> None:
    """The server is told once, may drain, and its exit code is the supervisor's."""
    assert running.end(number) == (0, "stopped\n")


def test_a_change_starts_the_server_anew(running: Supervised) -> None:
    """The old one stops first, since it holds the port and the database."""
    running.write("again", 2)
    lines = running.until("started again")
    assert [line for line in lines if "fate.py" not in line] == ["stopped", "started again"]
    assert any("fate.py changed" in line for line in lines)
    assert running.end(signal.SIGTERM) == (0, "stopped\n")


def test_after_a_crash_it_waits_for_a_change(running: Supervised) -> None:
    """A syntax error is not started again and again; correcting it is enough."""
    running.write("3", 2)
    running.until("exit code 3")
    running.write("corrected", 3)
    assert running.until("started corrected")[-1] == "started corrected"
    assert running.end(signal.SIGTERM) == (0, "stopped\n")


def test_the_exit_code_of_a_crashed_server_is_kept(running: Supervised) -> None:
    """Ended while there is no server, the supervisor tells how the last one ended."""
    running.write("3", 2)
    running.until("exit code 3")
    assert running.end(signal.SIGTERM) == (3, "")


def seen(folder: Path) -> set[str]:
    """The names of the files that are watched in a folder."""
    return {Path(path).name for path in Supervisor([], [folder])._times()}


def test_only_source_is_watched(tmp_path: Path) -> None:
    """Python files at any depth; not what tools, environments and the server itself write."""
    for name in (
        "app.py",
        "deep/er/module.py",
        "notes.txt",
        ".venv/lib/x.py",
        ".data/x.py",
        ".git/hooks/x.py",
        "node_modules/x/x.py",
        "__pycache__/x.py",
        "venv/x.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert seen(tmp_path) == {"app.py", "module.py"}
    assert seen(tmp_path / "app.py") == {"app.py"}
    assert seen(tmp_path / "gone") == set()


def test_the_apps_package_is_watched_where_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder always; the outermost package of an installed app beside it; nothing is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "only_here.py").write_text("raise SystemExit")
    assert folders_of("only_here") == [tmp_path]
    assert folders_of("backchannel.demo.app") == [tmp_path, Path(reloading.__file__).parents[1]]
    with pytest.raises(ConfigurationError, match="no module 'gone'"):
        folders_of("gone.app")


def test_the_server_gets_the_same_command_without_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a short drain, unless one was chosen."""
    commands = []

    def run(self: Supervisor) -> int:
        commands.append(list(self._command[2:]))
        return 0

    monkeypatch.setattr(Supervisor, "run", run)
    monkeypatch.setattr(sys, "argv", ["backchannel", "serve", "--dev", "--reload", "shop:app", "--port", "1"])
    reloading.supervise("backchannel", drain_is_set=False)
    reloading.supervise("backchannel", drain_is_set=True)
    words = ["backchannel.cli", "serve", "--dev", "shop:app", "--port", "1"]
    assert commands == [[*words, "--drain", "1"], words]
