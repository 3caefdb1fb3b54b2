"""The plugin for pytest, in a pytest of its own: beside pytest-asyncio in both modes, and beside other loops."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

CONFTEST = 'pytest_plugins = ["backchannel.testing.pytest"]\n'

TESTS = """
import asyncio

import pytest

from backchannel import App
from backchannel.testing import Sandbox, VirtualLoop, sandboxed

app = App("empty")
pytestmark = pytest.mark.asyncio


@pytest.mark.sandbox(app, ping=5.0)
async def test_virtual(sandbox):
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    await sandbox.client("alice")
    await sandbox.advance(3600)
    assert sandbox.settings.ping == 5.0


async def test_real():
    assert not isinstance(asyncio.get_running_loop(), VirtualLoop)


async def test_without_an_app(sandbox):
    pass
"""

PLAIN = """
from backchannel import App
from backchannel.testing import sandboxed


@sandboxed(App("empty"))
async def test_decorated(box, tmp_path):
    assert tmp_path.exists()
    await box.advance(3600)
"""

LOOPS = """
import asyncio


class Loop(asyncio.SelectorEventLoop):
    pass


def pytest_asyncio_loop_factories(config, item):
    return {"own": Loop}
"""


def run_pytest(folder: Path, *options: str) -> dict[str, int]:
    """Run what is in a folder; returns how many tests passed, failed and so on."""
    path = os.pathsep.join(str(ROOT / name) for name in ("server", "protocol", "client_py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", *options]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    words = done.stdout.strip().splitlines()[-1].replace(",", "").split()
    counts = {word: int(number) for number, word in pairwise(words) if number.isdigit()}
    assert counts, done.stdout + done.stderr
    if counts.get("error"):
        assert "needs an app" in done.stdout
    return counts


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_it_gives_virtual_time_to_whoever_has_a_sandbox(tmp_path: Path, mode: str) -> None:
    """And real time to the others; a test that names no app is told how."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    assert run_pytest(tmp_path, f"--asyncio-mode={mode}") == {"passed": 2, "error": 1}


def test_other_loops_stay(tmp_path: Path) -> None:
    """A project's own loop factories hold for tests without a sandbox."""
    (tmp_path / "conftest.py").write_text(CONFTEST + LOOPS)
    own = 'assert type(asyncio.get_running_loop()).__name__ == "Loop"'
    (tmp_path / "test_it.py").write_text(
        TESTS.replace("assert not isinstance(asyncio.get_running_loop(), VirtualLoop)", own)
    )
    assert run_pytest(tmp_path) == {"passed": 2, "error": 1}


@pytest.mark.parametrize("plugins", [(), ("-p", "no:asyncio")])
def test_the_decorator_needs_no_plugin(tmp_path: Path, plugins: tuple[str, ...]) -> None:
    """A plain function for every runner; fixtures still come by their names."""
    (tmp_path / "test_it.py").write_text(PLAIN)
    assert run_pytest(tmp_path, *plugins) == {"passed": 1}
