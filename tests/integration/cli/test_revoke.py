"""`backchannel revoke` ends tokens, beside a running server too."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import websockets

from backchannel.auth.revocation import Revocation
from backchannel.store.sqlite import sqlite_revocations
from backchannel_protocol import CloseCode

if TYPE_CHECKING:
    from .conftest import Folder, Served

BOUND = 5.0


async def test_beside_a_server_the_connection_closes(served: Served) -> None:
    """Within 5 seconds of the command's end, with 4501; a token from afterwards is good."""

    async def session(socket: websockets.ClientConnection, token: str) -> str:
        await socket.send(json.dumps({"type": "connect", "id": 1, "token": token}))
        return str(json.loads(await socket.recv())["type"])

    async def run(*words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(served.folder.run, *words)

    token = (await run("token", "--user", "alice", "--token-id", "wall-1")).stdout.strip()
    for words in (["--token-id", "wall-1"], ["--user", "alice"]):
        async with websockets.connect(served.url) as socket:
            if words[0] == "--user":
                token = (await run("token", "--user", "alice")).stdout.strip()
            assert await session(socket, token) == "connected"
            done = await run("revoke", *words)
            assert (done.returncode, done.stdout) == (0, "")
            async with asyncio.timeout(BOUND):
                await socket.wait_closed()
            assert socket.close_code == CloseCode.REVOKED
        async with websockets.connect(served.url) as socket:
            assert await session(socket, token) == "error"
    async with websockets.connect(served.url) as socket:
        assert await session(socket, (await run("token", "--user", "alice")).stdout.strip()) == "connected"


def the_only_row(folder: Folder) -> Revocation:
    """What the database holds."""

    async def read() -> list[Revocation]:
        revocations = sqlite_revocations(folder.path / ".data" / "backchannel.db")
        try:
            return await revocations.since(0)
        finally:
            await revocations.close()

    (row,) = asyncio.run(read())
    return row


@pytest.mark.parametrize("text", ["1750000000", "2025-06-15T15:06:40Z", "2025-06-15 17:06:40+02:00"])
def test_moments_are_written_as_people_do(folder: Folder, text: str) -> None:
    """Seconds, or a date with its zone; the row has milliseconds."""
    assert folder.run("revoke", "--user", "alice", "--issued-before", text).returncode == 0
    row = the_only_row(folder)
    assert (row.user, row.issued_before) == ("alice", 1_750_000_000_000)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--user", "alice", "--token-id", "x"],
        ["--user", "a b"],
        ["--token-id", "x", "--issued-before", "1"],
        ["--user", "alice", "--issued-before", "yesterday"],
        ["--user", "alice", "--issued-before", str(time.time() + 3600)],
    ],
)
def test_nonsense_is_told(folder: Folder, words: list[str]) -> None:
    """With exit code 2 and a cure."""
    done = folder.run("revoke", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_date_without_a_zone_is_this_machines(folder: Folder) -> None:
    """As people mean it."""
    assert folder.run("revoke", "--user", "alice", "--issued-before", "2025-06-15").returncode == 0
    row = the_only_row(folder)
    assert row.issued_before == datetime(2025, 6, 15).astimezone().timestamp() * 1000
