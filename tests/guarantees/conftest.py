"""Runs of the chaos runner: real processes, killed, stopped and restarted while clients write and listen."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from backchannel.testing.chaos import ChaosOptions, ChaosReport, run_chaos

CLIENT = Path(__file__).parents[2] / "client_js"

RunChaos = Callable[..., Awaitable[ChaosReport]]


@pytest.fixture(scope="session")
def typescript_client() -> Path:
    """The built package `@backchannel/client`."""
    if not (CLIENT / "dist" / "index.js").is_file():
        npm = shutil.which("npm")
        assert npm, "Node is needed: scripts/test puts one on the PATH"
        subprocess.run([npm, "run", "--silent", "build"], cwd=CLIENT, check=True)
    return CLIENT


@pytest.fixture
def run(typescript_client: Path) -> RunChaos:
    """Makes one run; what it finds is printed, so that a test that fails tells all of it."""

    async def once(*, bound: float, **options: Any) -> ChaosReport:
        lines: list[str] = []
        async with asyncio.timeout(bound):
            report = await run_chaos(ChaosOptions(package=typescript_client, **options), told=lines.append)
        print("\n".join(lines), report, sep="\n")
        return report

    return once
