"""The how-to of authentication: what it shows works as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websockets

from backchannel import Server, Settings
from backchannel.demo import app as demo_app
from backchannel.settings import load

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "auth.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The page's listings in a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture
def python() -> dict[str, Any]:
    """What the Python listings define. They are a module: handlers are checked by their annotations."""
    listing = "from __future__ import annotations\n" + "\n".join(blocks("python"))
    module: dict[str, Any] = {"__name__": "howto_auth"}
    sys.modules["howto_auth"] = type(sys)("howto_auth")
    sys.modules["howto_auth"].__dict__.update(module)
    exec(compile(listing, "howto_auth", "exec"), sys.modules["howto_auth"].__dict__)
    return sys.modules["howto_auth"].__dict__


async def first_frames(url: str, token: str, *then: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The answer to `connect`, and the code with which the server closes after these frames, if there are any."""
    async with websockets.connect(f"{url.replace('http', 'ws', 1)}/ws") as socket:
        await socket.send(json.dumps({"type": "connect", "id": 1, "token": token}))
        answer: dict[str, Any] = json.loads(await socket.recv())
        for frame in then:
            await socket.send(json.dumps(frame))
        if then:
            async with asyncio.timeout(5):
                await socket.wait_closed()
        return answer, socket.close_code if then else None


async def test_the_python_listings_issue_tokens_and_ban(python: dict[str, Any], tmp_path: Path) -> None:
    """A token of the first listing opens a session of a server with that secret; the ban of the other ends it."""
    server = Server(python["app"], Settings(secret=python["SECRET"], port=0, data=str(tmp_path), drain=1.0))
    await server.start()
    try:
        ban = {"type": "call", "id": 2, "name": "user.ban", "data": {"user": "alice"}}
        answer, code = await first_frames(server.url, python["token_for"]("alice"), ban)
        assert (answer["type"], answer["user"], code) == ("connected", "alice", 4501)
    finally:
        await server.stop()


@pytest.mark.parametrize("number", range(len(blocks("toml"))))
def test_the_settings_are_settings(number: int, tmp_path: Path) -> None:
    """Each file is accepted as it stands, but for where the secrets are."""
    text = blocks("toml")[number].replace("/run/secrets", str(tmp_path))
    for name in ("backchannel", "backchannel-2"):
        (tmp_path / name).write_text(name * 3)
    file = tmp_path / "backchannel.toml"
    file.write_text(text)
    settings, warnings = load(environ={}, file=file)
    assert warnings == []
    for name, value in tomllib.loads(text).items():
        assert getattr(settings, name) == (tuple(value) if isinstance(value, list) else value)


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], str]:
    """Runs a listing in a folder, as a person with Backchannel installed would."""
    command = tmp_path / "bin" / "backchannel"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m backchannel.cli "$@"\n')
    command.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
    environ["PATH"] = f"{command.parent}:{environ['PATH']}"

    def run(listing: str) -> str:
        done = subprocess.run(
            ["sh", "-euc", listing], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


async def test_the_commands_work_beside_a_server(shell: Callable[[str], str], tmp_path: Path) -> None:
    """In the order in which they stand on the page, beside `serve --dev`."""
    server = Server(demo_app, Settings(dev=True, port=0, data=str(tmp_path / ".data"), drain=1.0))
    await server.start()
    try:
        listings = [listing.replace("http://127.0.0.1:8000", server.url) for listing in blocks("sh")]
        tokens, revoke, revoke_over_http, api_key = listings
        alice, screen = (await asyncio.to_thread(shell, tokens)).split()
        for token, user in ((alice, "alice"), (screen, "screen")):
            assert (await first_frames(server.url, token))[0]["user"] == user
        await asyncio.to_thread(shell, revoke)
        async with asyncio.timeout(5):
            for token in (alice, screen):
                # Until the server has heard of it; then for good.
                while (await first_frames(server.url, token))[0]["type"] == "connected":
                    pass
        assert "time" in json.loads(await asyncio.to_thread(shell, revoke_over_http))
        assert '{"channels":' in await asyncio.to_thread(shell, api_key)
    finally:
        await server.stop()
