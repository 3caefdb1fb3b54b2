"""Gateways that end and begin."""

from __future__ import annotations

import asyncio

from backchannel.testing import Sandbox


async def test_a_restart_loses_nothing(sandbox: Sandbox) -> None:
    """Every connection breaks off; clients come back by themselves and hear what they missed, in order."""
    alice = await sandbox.client("alice", timeout=120.0)
    async with alice.subscribe("board:b") as sub:
        before = sandbox.gateway.current
        writing = asyncio.create_task(_write(alice, 50))
        for _ in range(3):
            await sandbox.advance(0.7)
            await sandbox.gateway.restart()
        await writing
        assert [(await anext(sub)).offset for _ in range(50)] == list(range(1, 51))
        assert sandbox.gateway.current is not before
        assert [event.data["text"] for event in sandbox.events("board:b")] == [str(number) for number in range(50)]


async def _write(client: object, count: int) -> None:
    for number in range(count):
        await client.call("note.write", {"channel": "board:b", "text": str(number)})  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)


async def test_a_drain_moves_clients_without_a_break(sandbox: Sandbox) -> None:
    """A rolling restart: no client is ever without a connection, and nothing is lost, doubled or out of order."""
    clients = [await sandbox.client(f"user-{number}") for number in range(5)]
    sessions = [client.session for client in clients]
    states: list[str] = []
    for client in clients:
        client.on_state(states.append)
    subs = [client.subscribe("board:b") for client in clients]
    for sub in subs:
        await sub.ready()
    writing = asyncio.create_task(_write(clients[0], 100))
    await sandbox.advance(1)
    await sandbox.gateway.drain(5.0)
    await writing
    for sub in subs:
        assert [(await anext(sub)).offset for _ in range(100)] == list(range(1, 101))
    assert states == []
    assert all(client.session != session for client, session in zip(clients, sessions, strict=True))


async def test_presence_outlives_a_restart(sandbox: Sandbox) -> None:
    """A restart within the grace is no absence."""
    alice, bob = await sandbox.client("alice"), await sandbox.client("bob")
    alice.subscribe("board:b")
    left: list[str] = []
    async with bob.subscribe("board:b", on_presence=lambda frame: left.extend(frame.left or [])):
        await sandbox.advance(1)
        await sandbox.gateway.restart()
        await sandbox.advance(30)
        assert {member.user for member in (await bob.presence("board:b")).members or ()} == {"alice", "bob"}
    assert left == []
