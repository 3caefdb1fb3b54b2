"""Chat in a sandbox: real transactions on SQLite, virtual time, and a few words that most tests begin with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import pytest

from backchannel.auth.principal import Principal
from backchannel.chat import app
from backchannel.testing import Sandbox, SandboxClient, VirtualLoop
from backchannel_protocol import JSON, Refused


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time is the sandbox's."""
    return {"virtual": VirtualLoop}


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    """An installation with chat, and limits above what tests ask."""
    async with Sandbox(app, burst=100_000, calls=100_000, open_requests=10_000) as sandbox:
        yield sandbox


@pytest.fixture
def people(box: Sandbox) -> Callable[..., Awaitable[list[SandboxClient]]]:
    """Connected clients by name: `alice, bob = await people("alice", "bob")`; a name twice is a second device."""

    async def connect(*names: str) -> list[SandboxClient]:
        return [await box.client(name) for name in names]

    return connect


class Operate(Protocol):
    """Asks a request with an API key, and gives the decoded answer."""

    async def __call__(self, name: str, data: dict[str, Any] | None = None, *, user: str = "") -> Any:
        """Raises `Refused`, as clients do."""


@pytest.fixture
def operate(box: Sandbox) -> Operate:
    """The server-side API: `await operate("channel.create", {…})`, an API key for itself or on behalf of a `user`."""

    async def ask(name: str, data: dict[str, Any] | None = None, *, user: str = "") -> Any:
        gateway = box.gateway.current
        assert gateway is not None
        principal = Principal(user=user, id=f"key:K1:{user}")
        reply = await gateway.ask(principal, name, JSON.encode(data or {}), None, 10.0)
        if reply.failure is not None:
            raise reply.failure.refused()
        return JSON.decode_any(reply.data)

    return ask


@pytest.fixture
def new_channel(box: Sandbox) -> Callable[..., Awaitable[str]]:
    """Makes a channel: `await new_channel("alice", "bob", "carol")` is alice's, with bob and carol as members.

    Further fields are those of `channel.create`. What it says on the channel is done with when it returns.
    """

    async def make(owner: str, *members: str, **fields: Any) -> str:
        client = await box.client(owner)
        request = {"name": "Tea", "members": list(members), **fields}
        channel: str = (await client.call("channel.create", request))["channel"]
        await client.close()
        return channel

    return make


@pytest.fixture
def send(box: Sandbox) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Sends a message: `await send("alice", channel, "hello")`; further fields are those of `message.send`."""
    clients: dict[str, SandboxClient] = {}

    async def do(user: str, channel: str, text: str = "hello", **fields: Any) -> dict[str, Any]:
        if user not in clients:
            clients[user] = await box.client(user)
        message: dict[str, Any] = await clients[user].call("message.send", {"channel": channel, "text": text, **fields})
        return message

    return do


@pytest.fixture
def refused() -> Callable[..., Awaitable[Refused]]:
    """Awaits what must be refused: `error = await refused(alice.call(…), "forbidden", reason="role")`.

    Named details are compared; the whole refusal is the answer.
    """

    async def expect(asked: Awaitable[Any], code: str, **details: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            await asked
        error = caught.value
        assert error.code == code, error
        told = error.details or {}
        assert {name: told.get(name) for name in details} == details, error
        return error

    return expect
