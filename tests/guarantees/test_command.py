"""`backchannel chaos` as a process: what it prints, its exit code, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(120)

PATIENCE = 100.0


async def begin(folder: Path, *words: str) -> asyncio.subprocess.Process:
    """Start it, with a folder of its own for temporary files."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backchannel.cli", "chaos", *words,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Its exit code and what it wrote."""
    async with asyncio.timeout(PATIENCE):
        stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


def inside(folder: Path) -> list[Path]:
    """What there is in a folder."""
    return list(folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder into which PostgreSQL's own user may look."""
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    return tmp_path


async def test_a_sound_run_ends_with_0_and_leaves_nothing(folder: Path) -> None:
    """The report is JSON; no process and no file stays."""
    code, stdout, stderr = await end(await begin(folder, "--minutes", "0.05", "--faults", "none", "--json"))
    assert code == 0, stderr
    report = json.loads(stdout)
    assert report["findings"] == []
    assert report["acknowledged"] > 10
    assert inside(folder) == []


async def test_a_broken_promise_ends_with_1_and_keeps_the_logs(folder: Path) -> None:
    """And says where they are."""
    words = ("--minutes", "0.05", "--faults", "none", "--sabotage", "keys")
    code, stdout, _ = await end(await begin(folder, *words))
    assert code == 1
    assert "Promises were broken." in stdout
    (kept,) = inside(folder)
    assert str(kept / "logs") in stdout
    assert {"run.log", "gateway-1.log", "worker-1.log", "redis.log", "postgres.log"} <= {
        path.name for path in inside(kept / "logs")
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_run_that_is_ended_takes_all_its_processes_with_it(folder: Path, number: signal.Signals) -> None:
    """Gateways, workers, Redis, PostgreSQL and Node, and their files."""
    process = await begin(folder, "--minutes", "5", "--faults", "cut_clients")
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        line = await process.stderr.readline()
    assert b"cut the sockets" in line, line
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 6
    process.send_signal(number)
    code, _, _ = await end(process)
    assert code not in (0, None)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert inside(folder) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--faults", "redi"), "There is no fault 'redi'"),
        (("--workload", "nowhere:workload"), "There is no 'nowhere:workload'"),
        (("--workload", "backchannel.testing.chaos.app:app"), "derive it from Workload"),
        (("--workload", "workload"), "write module:attribute"),
    ],
)
async def test_what_cannot_be_run_ends_with_2(folder: Path, words: tuple[str, ...], told: str) -> None:
    """Before anything is started."""
    code, _, stderr = await end(await begin(folder, *words))
    assert code == 2
    assert told in " ".join(stderr.replace("│", " ").split())
