"""A base install, which has msgspec, typer and websockets, offers the client's commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SERVER_PACKAGES = (
    "alembic", "hiredis", "httptools", "jwt", "mako", "prometheus_client", "psutil", "redis", "sqlalchemy",
    "starlette", "structlog", "uvicorn", "uvloop",
)  # fmt: skip

# `None` in sys.modules makes an import fail as if nothing were installed.
PROGRAM = f"""
import sys
for name in {SERVER_PACKAGES!r}:
    sys.modules[name] = None
from backchannel.cli import main
main()
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a base install would."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=50)


@pytest.mark.parametrize("words", [["--help"], ["version"], ["serve", "--help"], ["keys", "create", "--help"]])
def test_help_and_version_need_nothing_more(tmp_path: Path, words: list[str]) -> None:
    """Importing all commands loads none of the server's packages."""
    done = run(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("words", [["call", "channel.list"], ["listen", "chat:lobby"]])
def test_clients_commands_work_as_far_as_the_network(tmp_path: Path, words: list[str]) -> None:
    """They fail for want of a server, not of a package."""
    done = run(tmp_path, *words, "--url", "ws://127.0.0.1:1/ws", "--token", "t")
    assert done.returncode == 1
    assert "Cannot connect" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--dev"],
        ["migrate"],
        ["keys", "list"],
        ["token", "--user", "alice"],
        ["call", "a.b", "--user", "alice"],
        ["listen", "chat:lobby", "--user", "alice"],
    ],
    ids=" ".join,
)
def test_other_commands_say_what_to_install(tmp_path: Path, words: list[str]) -> None:
    """One line with the cure, exit code 2, no traceback and no trace on disk."""
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'backchannel[server]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
