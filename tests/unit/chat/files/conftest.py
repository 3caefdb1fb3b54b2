"""Files in a sandbox: what the routes ask, without bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from backchannel import Request
from backchannel.auth.principal import Principal
from backchannel.chat import CreateUpload, FileLimits, app, file_limits
from backchannel.chat.files.internal import AppendPiece, FinishUpload
from backchannel.testing import Sandbox
from backchannel_protocol.codec import encode_data


@pytest.fixture
def ask(box: Sandbox) -> Callable[..., Awaitable[Any]]:
    """Asks as a route does, internal requests too: `await ask("alice", AppendPiece(…))`."""

    async def do(user: str, request: Request[Any]) -> Any:
        gateway = box.gateway.current
        assert gateway is not None
        name = type(request).wire_name
        principal = Principal(user=user, id=f"user:{user}")
        reply = await gateway.ask_for_app(principal, name, encode_data(request), None)
        if reply.failure is not None:
            raise reply.failure.refused()
        return msgspec.json.decode(reply.data, type=app.requests[name].reply)

    return do


@pytest.fixture
def upload(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[str]]:
    """Makes a file without bytes; returns its id."""

    async def make(user: str, size: int = 1000, name: str = "notes.txt") -> str:
        begun = await ask(user, CreateUpload(name=name, size=size, type="text/plain"))
        await ask(user, AppendPiece(id=begun.id, offset=0, size=size, place=f"main/uploads/{begun.id}/x"))
        await ask(user, FinishUpload(id=begun.id, type="text/plain", size=size, digest="d"))
        return str(begun.id)

    return make


@pytest.fixture
def bounds() -> Any:
    """Sets other limits for one test."""
    yield file_limits
    file_limits(FileLimits())
