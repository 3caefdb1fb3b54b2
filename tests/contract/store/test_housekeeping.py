"""Trimming logs, and letting old replies go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.broker.broker import Envelope, LogHead
from backchannel.store import tables
from backchannel.store.store import KeyRow, Store

DAY = 86_400_000


async def fill(store: Store, channel: str, times: list[int]) -> None:
    """Append events of these instants."""
    transaction = await store.begin([])
    await transaction.append([Envelope(channel=channel, name="x.y", data=b"1", time=time) for time in times])
    await transaction.commit()


async def log(store: Store, channel: str) -> tuple[LogHead, list[int]]:
    """A log's head and the offsets that can be read."""
    reader = store.log_reader()
    head, events = await reader.read(channel, 0, 100_000)
    await reader.close()
    return head, [event.offset for event in events]


async def test_logs_are_trimmed_by_count(store: Store) -> None:
    """The newest events stay, as many as the namespace keeps; `first` follows; other namespaces are left alone."""
    for channel in ("c:a", "c:b", "cc:a", "b:z", "c-d:a"):
        await fill(store, channel, [100] * 12)
    await store.housekeeping({"c": (5, 1000.0)}, 100)
    for channel in ("c:a", "c:b"):
        head, offsets = await log(store, channel)
        assert (head.offset, head.first, offsets) == (12, 8, [8, 9, 10, 11, 12])
    for channel in ("cc:a", "b:z", "c-d:a"):
        head, offsets = await log(store, channel)
        assert (head.first, len(offsets)) == (1, 12)


async def test_logs_are_trimmed_by_age_from_the_beginning(store: Store) -> None:
    """Events older than the namespace's age go, but never one behind a younger one: what is left is dense."""
    await fill(store, "c:a", [1000, 2000, 9000, 2000, 9500])
    await store.housekeeping({"c": (100, 5.0)}, 8000)
    head, offsets = await log(store, "c:a")
    assert (head.first, offsets) == (3, [3, 4, 5])


async def test_a_log_may_become_empty_and_goes_on(store: Store) -> None:
    """When all events are too old, `first` is behind the last one, and the next event gets the next offset."""
    await fill(store, "c:a", [1, 2, 3])
    await store.housekeeping({"c": (100, 1.0)}, 10_000)
    head, offsets = await log(store, "c:a")
    assert (head.offset, head.first, offsets) == (3, 4, [])
    await fill(store, "c:a", [9_999])
    await store.housekeeping({"c": (100, 1.0)}, 10_000)
    assert (await log(store, "c:a"))[1] == [4]


@pytest.mark.parametrize(("size", "age"), [(7, 1e9), (10_000, 5.0)])
async def test_much_is_trimmed_in_steps_that_let_others_write(store: Store, size: int, age: float) -> None:
    """However much there is to delete, whoever waits to write gets a turn before it is done."""
    await fill(store, "c:a", [1] * 2900 + [9999] * 7)
    turns = 0
    keeping = asyncio.create_task(store.housekeeping({"c": (size, age)}, 10_000))
    while not keeping.done():
        transaction = await store.begin([])
        await transaction.set_counters({"n": turns})
        await transaction.commit()
        turns += 1
        await asyncio.sleep(0)
    await keeping
    head, offsets = await log(store, "c:a")
    assert (head.first, offsets) == (2901, list(range(2901, 2908)))
    assert turns >= 5


async def test_all_channels_of_a_namespace_are_looked_at(store: Store) -> None:
    """A namespace of many channels is trimmed to its last one."""
    transaction = await store.begin([])
    channels = [f"c:{i}" for i in range(1203)]
    await transaction.append([Envelope(channel=c, name="x.y", data=b"1", time=1) for c in channels for _ in range(2)])
    await transaction.commit()
    await store.housekeeping({"c": (1, 1e9)}, 1)
    snapshot = await store.snapshot()
    rows = await snapshot.rows(sa.select(tables.events.c.offset))
    await snapshot.close()
    assert [row.offset for row in rows] == [2] * 1203


async def test_old_replies_go_and_their_keys_stay(store: Store) -> None:
    """After 30 days a key's reply is let go; the key and its digest stay for ever."""
    now = 100 * DAY
    transaction = await store.begin([])
    await transaction.save_keys([KeyRow("p", f"old{i}", b"d", b"r", now - 30 * DAY - 1) for i in range(1100)])
    await transaction.save_keys([KeyRow("p", "young", b"d", b"r", now - 30 * DAY)])
    await transaction.commit()
    await store.housekeeping({}, now)
    transaction = await store.begin([])
    wanted: list[Any] = [("p", f"old{i}") for i in range(1100)]
    assert {(k.digest, k.reply) for k in (await transaction.keys(wanted)).values()} == {(b"d", None)}
    assert len(await transaction.keys(wanted)) == 1100
    assert (await transaction.keys([("p", "young")]))["p", "young"].reply == b"r"
    await transaction.rollback()


async def test_housekeeping_of_nothing(store: Store) -> None:
    """An empty store is kept in order too."""
    await store.housekeeping({"c": (1, 1.0)}, 1)
