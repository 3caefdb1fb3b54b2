"""What a handler may do to connections and tokens, against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import websockets

from backchannel import App, Command, Context, Event, Refused, RegistrationError, Server, Settings
from backchannel.store.sqlite import sqlite_revocations
from backchannel_protocol import CloseCode

BOUND = 5.0
"""Seconds within which what was revoked must be closed."""

judge = App("judge")


@judge.command("user.kick", errors=["no_reason"])
class Kick(Command[str]):
    """Throw a user out."""

    user: str
    how: str


@judge.handle(Kick)
async def kick(ctx: Context, kick: Kick) -> str:
    """Close the connections, end the tokens, or think better of it."""
    if kick.how == "disconnect":
        ctx.disconnect(kick.user)
    else:
        ctx.revoke(kick.user)
    if kick.how == "not":
        raise Refused("no_reason", "Tell why.")
    return "done"


@pytest.fixture
async def judging(tmp_path: Path) -> AsyncIterator[Callable[[str], Any]]:
    """A server of that app; the fixture opens a session with a token and returns the socket and the answer."""
    server = Server(judge, Settings(dev=True, port=0, data=str(tmp_path), drain=1.0))
    await server.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)

        async def session(token: str) -> tuple[websockets.ClientConnection, dict[str, Any]]:
            socket = await stack.enter_async_context(websockets.connect(f"ws://127.0.0.1:{server.port}/ws"))
            await socket.send(json.dumps({"type": "connect", "id": 1, "token": token}))
            return socket, json.loads(await socket.recv())

        session.server = server  # type: ignore[attr-defined]
        yield session


async def ask_to_kick(socket: websockets.ClientConnection, user: str, how: str) -> dict[str, Any]:
    """The answer to the command."""
    call = {"type": "call", "id": 2, "name": "user.kick", "data": {"user": user, "how": how}}
    await socket.send(json.dumps(call))
    while True:
        frame: dict[str, Any] = json.loads(await socket.recv())
        if frame.get("id") == 2:
            return frame


async def test_a_handler_disconnects_and_revokes(judging: Any) -> None:
    """`ctx.disconnect` closes what the user has open, and the token stays good; `ctx.revoke` ends that too."""
    token = judging.server.issue_token("alice", lifetime=60)[0]
    socket, _ = await judging(judging.server.issue_token("judge", lifetime=60)[0])
    for how, then in (("disconnect", "connected"), ("revoke", "error")):
        alice, answer = await judging(token)
        assert answer["type"] == "connected"
        assert (await ask_to_kick(socket, "alice", how))["data"] == "done"
        async with asyncio.timeout(BOUND):
            await alice.wait_closed()
        assert alice.close_code == CloseCode.REVOKED
        assert (await judging(token))[1]["type"] == then
    assert socket.close_code is None


async def test_a_refused_command_revokes_nothing(judging: Any) -> None:
    """What a handler declares counts only if it succeeds: nothing is in the store, and the connection goes on."""
    socket, _ = await judging(judging.server.issue_token("alice", lifetime=60)[0])
    assert (await ask_to_kick(socket, "alice", "not"))["code"] == "no_reason"
    revocations = sqlite_revocations(judging.server.settings.database)
    try:
        assert await revocations.since(0) == []
    finally:
        await revocations.close()
    assert (await ask_to_kick(socket, "bob", "revoke"))["type"] == "reply"


mine = App("mine")


@mine.command("auth.revoke")
class Mine(Command[str]):
    """What the server itself has."""


@mine.handle(Mine)
async def answer_mine(ctx: Context, mine: Mine) -> str:
    """Never asked."""
    return ""


def test_an_app_cannot_take_the_servers_names() -> None:
    """`auth.revoke` and `user.disconnected` are the server's own; whoever declares them is told at once."""
    with pytest.raises(RegistrationError, match=r"auth\.revoke"):
        Server(mine)
    with pytest.raises(RegistrationError, match=r"user\.disconnected"):
        mine.event("user.disconnected")(type("Gone", (Event,), {}))
