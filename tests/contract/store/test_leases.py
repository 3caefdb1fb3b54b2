"""Leases: what one of many may do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from backchannel.store.store import Store

Opener = Callable[..., AbstractAsyncContextManager[Store]]


async def test_one_holder_has_a_lease(store: Store) -> None:
    """Who has it keeps it for as long as it is renewed; nobody else gets it; each name is for itself."""
    assert await store.lease("job", "one", 60)
    assert not await store.lease("job", "two", 60)
    assert await store.lease("job", "one", 60)
    assert await store.lease("other job", "two", 60)


async def test_of_many_at_once_one_gets_it(store: Store) -> None:
    """However many ask at the same time."""
    got = await asyncio.gather(*(store.lease("job", f"worker {n}", 60) for n in range(8)))
    assert sum(got) == 1


async def test_a_lease_that_is_given_back_is_free(store: Store) -> None:
    """With 0 seconds its holder lets go; who does not hold it changes nothing by that."""
    assert await store.lease("job", "one", 60)
    assert not await store.lease("job", "two", 0)
    assert not await store.lease("job", "two", 60)
    assert await store.lease("job", "one", 0)
    assert await store.lease("job", "two", 60)


async def test_a_lease_ends(store: Store, clock: Any) -> None:
    """When its holder did not renew it in time, another one gets it, and the late one does not."""
    assert await store.lease("job", "one", 0.05)
    async with asyncio.timeout(10):
        while not await store.lease("job", "two", 60):
            clock.now += 10
    assert not await store.lease("job", "one", 60)


async def test_leases_belong_to_their_app(open_store: Opener) -> None:
    """Another app's lease of the same name is another one."""
    async with open_store("one") as store:
        assert await store.lease("job", "a worker", 60)
    async with open_store("two") as store:
        assert await store.lease("job", "another", 60)
