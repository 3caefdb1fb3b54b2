"""Read-only snapshots."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from backchannel.store.store import Store
from backchannel_protocol import BackchannelError


async def write(store: Store, items: sa.Table, name: str) -> None:
    """Commit an item."""
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": name}])
    await transaction.commit()


async def test_a_snapshot_stays_as_it_began(store: Store, items: sa.Table) -> None:
    """What is committed after a snapshot began is not in it, even if it had read nothing; a later one has it."""
    await write(store, items, "a")
    snapshot = await store.snapshot()
    await write(store, items, "b")
    assert [row.id for row in await snapshot.rows(sa.select(items))] == ["a"]
    assert await snapshot.get(items, {"id": "b"}) is None
    row = await snapshot.get(items, {"id": "a"})
    assert row is not None
    assert row.id == "a"
    await snapshot.close()
    later = await store.snapshot()
    assert len(await later.rows(sa.select(items))) == 2
    await later.close()


async def test_a_snapshot_cannot_write(store: Store, items: sa.Table) -> None:
    """A query changes nothing, whatever statement it slips in."""
    snapshot = await store.snapshot()
    with pytest.raises((BackchannelError, sa.exc.DatabaseError)):
        await snapshot.rows(sa.insert(items).values(app="main", id="a").returning(items.c.id))  # type: ignore[arg-type]
    await snapshot.close()
    again = await store.snapshot()
    assert await again.rows(sa.select(items)) == []
    await again.close()


async def test_a_closed_snapshot_says_so(store: Store, items: sa.Table) -> None:
    """After `close` a snapshot refuses, and closing twice is harmless to whoever uses its connection next."""
    snapshot = await store.snapshot()
    await snapshot.close()
    other = await store.snapshot()
    await snapshot.close()
    assert await other.rows(sa.select(items)) == []
    with pytest.raises(BackchannelError, match="begin another"):
        await snapshot.rows(sa.select(items))
    await other.close()


async def test_more_snapshots_than_there_are_connections(store: Store, items: sa.Table, snapshots: int) -> None:
    """A hundred queries at once are all answered; those that find no connection wait, and one may give up waiting."""
    await write(store, items, "a")
    held = [await store.snapshot() for _ in range(snapshots)]

    async def query() -> int:
        snapshot = await store.snapshot()
        try:
            return len(await snapshot.rows(sa.select(items)))
        finally:
            await snapshot.close()

    waiting = [asyncio.create_task(query()) for _ in range(100 - snapshots)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert not any(task.done() for task in waiting[1:])
    for snapshot in held:
        await snapshot.close()
    assert await asyncio.gather(*waiting[1:]) == [1] * (99 - snapshots)
