"""Servers of any app, the official tools that read its documents, and folders for what they make."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from backchannel import App, Server, Settings
from backchannel.store.sqlite import sqlite_api_keys

ROOT = Path(__file__).parents[3]
PATIENCE = 120.0
"""Seconds that a tool may take on a busy machine."""


@dataclass
class Tools:
    """Programs for Python's and TypeScript's side."""

    bin_py: Path
    node_modules: Path

    async def run(self, *words: str | Path, cwd: Path) -> str:
        """Run a program to its end, with the event loop free for the server that it asks; returns what it wrote.

        A failure fails the test.
        """
        process = await asyncio.create_subprocess_exec(
            *map(str, words),
            cwd=cwd,
            env={**os.environ, "PATH": f"{self.bin_py}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        text = output.decode()
        assert process.returncode == 0, text[-4000:]
        return text

    async def py(self, program: str, *words: str | Path, cwd: Path) -> str:
        """Run a program of the Python tools."""
        return await self.run(self.bin_py / program, *words, cwd=cwd)

    async def js(self, program: str, *words: str | Path, cwd: Path) -> str:
        """Run a program of the TypeScript tools."""
        return await self.run(self.node_modules / ".bin" / program, *words, cwd=cwd)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The tools, installed where they were not."""
    done = subprocess.run(
        [ROOT / "scripts" / "setup-contract-tools"], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Tools(Path(sys.prefix) / "contract-tools" / "bin", Path(__file__).parent / "tools" / "node_modules")


@dataclass
class Served:
    """A running server."""

    server: Server

    @property
    def url(self) -> str:
        """Its HTTP address."""
        return self.server.url

    def token(self, user: str = "alice") -> str:
        """A user's token."""
        return self.server.issue_token(user, lifetime=600)[0]

    async def api_key(self) -> str:
        """A fresh API key."""
        keys = sqlite_api_keys(self.server.settings.database)
        try:
            return (await keys.create("test"))[1]
        finally:
            await keys.close()


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., contextlib.AbstractAsyncContextManager[Served]]:
    """Serves an app, on a free port and fresh data."""

    @contextlib.asynccontextmanager
    async def served(app: App, **settings: Any) -> AsyncIterator[Served]:
        server = Server(
            app, Settings(**{"dev": True, "port": 0, "data": str(tmp_path / "data"), "drain": 1.0, **settings})
        )
        await server.start()
        try:
            yield Served(server)
        finally:
            await server.stop()

    return served


@pytest.fixture(scope="session")
def todo() -> App:
    """The example app of three commands."""
    spec = spec_from_file_location("todo", ROOT / "examples" / "todo.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["todo"] = module  # where its annotations and its source are looked for
    spec.loader.exec_module(module)
    app = module.app
    assert isinstance(app, App)
    return app
