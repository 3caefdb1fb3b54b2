"""The TypeScript client, as it is published, against real servers: its own suite in `client_js/test-real/`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client_js"
PATIENCE = 280.0


@pytest.mark.timeout(300)
async def test_the_typescript_client_against_real_servers() -> None:
    """It chats, resumes after SIGKILL, fills gaps, moves on SIGTERM, refreshes its token and stays the same guest, in
    JSON and in MessagePack; the packed tarball works for modules and CommonJS, in a worker, and as the README says."""
    npm = shutil.which("npm")
    assert npm, "Node is needed: scripts/test puts one on the PATH"
    process = await asyncio.create_subprocess_exec(
        npm, "run", "--silent", "test:real",
        cwd=CLIENT,
        env={**os.environ, "TEST_PYTHON": sys.executable, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
    assert process.returncode == 0, output.decode()
