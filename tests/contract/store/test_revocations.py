"""Revocations in the database: per tenant, beside an open store, and gone when they are over."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from backchannel.store.postgres import postgres_revocations
from backchannel.store.revocations import Revocations, forget_revocations
from backchannel.store.sqlite import sqlite_revocations
from backchannel.store.store import Store

Opener = Callable[..., Awaitable[Revocations]]


@pytest.fixture
async def open_revocations(database: str, store: Store) -> AsyncGenerator[Opener]:
    """Opens the revocations of the database that `store` has open, for an app."""
    opened: list[Revocations] = []

    async def open_it(app: str = "main") -> Revocations:
        postgres = "://" in database
        opened.append(await postgres_revocations(database, app) if postgres else sqlite_revocations(database, app))
        return opened[-1]

    yield open_it
    for revocations in opened:
        await revocations.close()


@pytest.fixture
async def revocations(open_revocations: Opener) -> Revocations:
    """The tenant `main`'s."""
    return await open_revocations()


async def test_what_is_added_is_read(revocations: Revocations) -> None:
    """With everything that was said, oldest first, and from a moment on."""
    before = time.time_ns() // 1_000_000
    await revocations.add(user="alice")
    await revocations.add(token_id="t1", expires=before + 100_000)
    alice, token = await revocations.since(0)
    assert before <= alice.time <= token.time
    assert (alice.user, alice.token_id, alice.issued_before) == ("alice", None, alice.time + 1)
    assert (token.user, token.token_id, token.expires) == (None, "t1", before + 100_000)
    assert await revocations.since(token.time + 1) == []


async def test_tenants_do_not_meet(revocations: Revocations, open_revocations: Opener) -> None:
    """A user of one is not the user of the same name in another."""
    other = await open_revocations("other")
    await other.add(user="alice")
    assert await revocations.since(0) == []


async def test_what_is_over_is_forgotten(store: Store, revocations: Revocations, open_revocations: Opener) -> None:
    """By its own time, or by the longest lifetime of a token; of this tenant alone, however many there are."""
    other = await open_revocations("other")
    await other.add(user="alice")
    await revocations.add(user="alice")
    now = time.time_ns() // 1_000_000
    for _ in range(3):
        await revocations.add(token_id="short", expires=now + 1000)
    await forget_revocations(store, "main", 3600, now)
    assert len(await revocations.since(0)) == 4
    await forget_revocations(store, "main", 3600, now + 60_000)
    assert [row.user for row in await revocations.since(0)] == ["alice"]
    await forget_revocations(store, "main", 3600, now + 3_700_000)
    assert await revocations.since(0) == []
    assert len(await other.since(0)) == 1
