"""Two people, two real browser windows, one server that is killed between them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 150.0


@pytest.mark.timeout(200)
async def test_two_people_chat_while_the_server_dies(tmp_path: Path) -> None:
    """They chat, one reloads, the server is killed with SIGKILL and started again: nothing is missing or doubled on
    either screen, and the dashboard shows figures that move."""
    chromium = shutil.which("chromium")
    node = shutil.which("node")
    assert chromium, "chromium is needed: run scripts/setup-system"
    assert node, "Node is needed: scripts/test puts one on the PATH"
    serve = [sys.executable, "-m", "backchannel.cli", "serve", "--dev"]
    shots = tmp_path / "shots"
    shots.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
    process = await asyncio.create_subprocess_exec(
        node, str(HERE / "people.mjs"), json.dumps(serve), chromium, str(shots),
        env={**environ, "BACKCHANNEL_DATA": str(tmp_path / "data"), "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
