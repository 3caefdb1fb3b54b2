"""Revocations in the database: per tenant, beside an open store, and gone when they are over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backchannel.store.revocations import Revocations, forget_revocations
from backchannel.store.sqlite import open_sqlite, sqlite_revocations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file."""
    return tmp_path / "store.db"


@pytest.fixture
def revocations(path: Path) -> Iterator[Revocations]:
    """The tenant `main`'s."""
    revocations = sqlite_revocations(path)
    yield revocations
    revocations.close()


async def test_what_is_added_is_read(revocations: Revocations) -> None:
    """With everything that was said, oldest first, and from a moment on."""
    before = time.time_ns() // 1_000_000
    revocations.add(user="alice")
    revocations.add(token_id="t1", expires=before + 100_000)
    alice, token = await revocations.since(0)
    assert before <= alice.time <= token.time
    assert (alice.user, alice.token_id, alice.issued_before) == ("alice", None, alice.time + 1)
    assert (token.user, token.token_id, token.expires) == (None, "t1", before + 100_000)
    assert await revocations.since(token.time + 1) == []


async def test_tenants_do_not_meet(path: Path, revocations: Revocations) -> None:
    """A user of one is not the user of the same name in another."""
    other = sqlite_revocations(path, "other")
    other.add(user="alice")
    other.close()
    assert await revocations.since(0) == []


async def test_what_is_over_is_forgotten(path: Path, revocations: Revocations) -> None:
    """By its own time, or by the longest lifetime of a token; of this tenant alone, however many there are."""
    store = open_sqlite(path)
    other = sqlite_revocations(path, "other")
    try:
        other.add(user="alice")
        revocations.add(user="alice")
        now = time.time_ns() // 1_000_000
        for _ in range(3):
            revocations.add(token_id="short", expires=now + 1000)
        await forget_revocations(store, "main", 3600, now)
        assert len(await revocations.since(0)) == 4
        await forget_revocations(store, "main", 3600, now + 60_000)
        assert [row.user for row in await revocations.since(0)] == ["alice"]
        await forget_revocations(store, "main", 3600, now + 3_700_000)
        assert await revocations.since(0) == []
        assert len(await other.since(0)) == 1
    finally:
        other.close()
        await store.close()
