"""Durable logs: dense offsets, epochs, and what a gateway reads of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from backchannel.broker.broker import Envelope, LogHead
from backchannel.store.store import Store
from backchannel_protocol import BackchannelError

Opener = Callable[..., AbstractAsyncContextManager[Store]]


def event(channel: str, data: bytes = b"{}", **fields: Any) -> Envelope:
    """An event as a handler declared it: no epoch, no offset."""
    return Envelope(channel=channel, name="thing.done", data=data, **fields)


async def append(store: Store, *envelopes: Envelope) -> list[Envelope]:
    """Append in a transaction of its own."""
    transaction = await store.begin([])
    complete = await transaction.append(envelopes)
    await transaction.commit()
    return complete


async def test_offsets_are_dense_per_channel(store: Store) -> None:
    """Each channel counts from 1 without holes, over several appends and transactions, in the order given."""
    transaction = await store.begin([])
    one = await transaction.append([event("c:a"), event("c:b"), event("c:a")])
    two = await transaction.append([event("c:b"), event("c:a")])
    await transaction.commit()
    three = await append(store, event("c:b"), event("c:a"))
    assert [(e.channel, e.offset) for e in (*one, *two, *three)] == [
        ("c:a", 1), ("c:b", 1), ("c:a", 2), ("c:b", 2), ("c:a", 3), ("c:b", 3), ("c:a", 4),
    ]  # fmt: skip


async def test_append_leaves_what_it_was_given_alone(store: Store) -> None:
    """The envelopes that come back are copies: a batch that runs again begins with clean ones."""
    given = event("c:a")
    (complete,) = await append(store, given)
    assert (given.epoch, given.offset) == ("", 0)
    assert complete.epoch
    assert msgspec.structs.replace(complete, epoch="", offset=0) == given


async def test_an_event_is_read_back_as_it_was_appended(store: Store) -> None:
    """Every field comes back, the data byte for byte."""
    data = msgspec.json.encode({"text": 'ä"\\ \u2028\x00 \U0001f600', "n": [2**53 - 1, 0.1, None, True]})
    complete = await append(
        store,
        event("c:a", data, user="alice", key="k" * 8, subject="s", time=123, ends=["bob", "*"]),
        event("c:a", b'"\\ud800"', ends=[]),
        event("c:a", b"x" * 100_000),
    )
    reader = store.log_reader()
    head, read = await reader.read("c:a", 0, 10)
    await reader.close()
    assert read == complete
    assert head == LogHead(complete[0].epoch, 3, 1)


async def test_read_begins_after_an_offset_and_is_limited(store: Store) -> None:
    """`read` returns the oldest events behind the offset, in order, at most `limit`, with the head."""
    await append(store, *(event("c:a", b"%d" % i) for i in range(1, 21)), event("c:b"))
    reader = store.log_reader()
    head, some = await reader.read("c:a", 7, 5)
    _, rest = await reader.read("c:a", 18, 100)
    _, none = await reader.read("c:a", 20, 100)
    await reader.close()
    assert head.offset == 20
    assert [(e.offset, e.data) for e in some] == [(i, b"%d" % i) for i in range(8, 13)]
    assert [e.offset for e in rest] == [19, 20]
    assert none == []


async def test_a_channel_that_was_never_used_has_the_epoch_of_its_first_event(open_store: Opener) -> None:
    """Who subscribes to an empty channel holds a position that its first event continues: no reset."""
    async with open_store() as store:
        reader = store.log_reader()
        before = await reader.head("c:new")
        assert (await reader.read("c:new", 0, 5)) == (before, [])
        await reader.close()
    async with open_store() as store:
        reader = store.log_reader()
        assert await reader.head("c:new") == before
        (first,) = await append(store, event("c:new"))
        after = await reader.head("c:new")
        await reader.close()
    assert before == LogHead(first.epoch, 0, 1)
    assert after == LogHead(first.epoch, 1, 1)


async def test_heads_asked_in_one_tick(store: Store) -> None:
    """Many channels may be asked at once, one of them twice, and one by somebody who gave up."""
    await append(store, *(event(f"c:{i}") for i in range(300)), event("c:7"))
    reader = store.log_reader()
    asked = [asyncio.ensure_future(reader.head(f"c:{i}")) for i in (*range(300), 7, 999)]
    await asyncio.sleep(0)
    asked[0].cancel()
    heads = await asyncio.gather(*asked, return_exceptions=True)
    await reader.close()
    assert isinstance(heads[0], asyncio.CancelledError)
    expected = [2 if i == 7 else 1 for i in range(1, 300)] + [2, 0]
    assert [head.offset for head in heads[1:] if isinstance(head, LogHead)] == expected


async def test_heads_of_several_are_those_of_each(store: Store) -> None:
    """Also of those that nobody ever used, of one that is named twice, and of none."""
    await append(store, *(event(f"c:{i}") for i in range(3)), event("c:1"))
    reader = store.log_reader()
    channels = ["c:1", "c:new", "c:2", "c:1"]
    assert await reader.heads(channels) == {channel: await reader.head(channel) for channel in channels}
    assert await reader.heads([]) == {}
    await reader.close()


async def test_a_reader_sees_commits_only(store: Store) -> None:
    """An event is in the log for a gateway once it is committed, not before."""
    reader = store.log_reader()
    transaction = await store.begin([])
    await transaction.append([event("c:a")])
    assert (await reader.head("c:a")).offset == 0
    assert (await reader.read("c:a", 0, 5))[1] == []
    await transaction.commit()
    assert (await reader.head("c:a")).offset == 1
    assert len((await reader.read("c:a", 0, 5))[1]) == 1
    await reader.close()


async def test_changed_tells_the_heads_that_moved_since(store: Store, clock: Any) -> None:
    """`changed` names every channel that got an event at or after an instant, and no other."""
    start = clock.now
    await append(store, event("c:old"), event("c:both"))
    clock.now += 1000
    await append(store, event("c:both"), event("c:new"))
    reader = store.log_reader()
    assert {c: h.offset for c, h in (await reader.changed(clock.now)).items()} == {"c:both": 2, "c:new": 1}
    assert set(await reader.changed(start)) == {"c:old", "c:both", "c:new"}
    assert await reader.changed(clock.now + 1) == {}
    # A clock that is set back does not hide an earlier change.
    clock.now -= 5000
    await append(store, event("c:new"))
    assert set(await reader.changed(start + 1000)) == {"c:both", "c:new"}
    await reader.close()


async def test_positions_in_a_transaction_and_in_a_snapshot(store: Store) -> None:
    """A transaction's positions include its own events; a snapshot's are those of when it began."""
    await append(store, event("c:a"))
    snapshot = await store.snapshot()
    transaction = await store.begin([])
    await transaction.append([event("c:a")])
    assert await transaction.positions(["c:a", "c:none"]) == {"c:a": 2, "c:none": 0}
    await transaction.commit()
    assert await snapshot.positions(["c:a", "c:none"]) == {"c:a": 1, "c:none": 0}
    await snapshot.close()


async def test_readers_on_other_loops(store: Store) -> None:
    """A gateway's loop is not the worker's: a log reader works on any thread's loop."""
    await append(store, event("c:a"))

    async def gateway() -> int:
        reader = store.log_reader()
        try:
            return (await reader.head("c:a")).offset
        finally:
            await reader.close()

    assert await asyncio.to_thread(asyncio.run, gateway()) == 1


async def test_a_closed_reader_says_so(store: Store) -> None:
    """After `close` a log reader refuses; closing twice is harmless."""
    reader = store.log_reader()
    await reader.head("c:a")
    await reader.close()
    await reader.close()
    with pytest.raises(BackchannelError, match="closed"):
        await reader.head("c:a")
    with pytest.raises(BackchannelError, match="closed"):
        await reader.read("c:a", 0, 1)


async def test_many_logs_in_one_snapshot(store: Store) -> None:
    """Of each channel come the events behind its own offset, at most `limit`, with the head; a new channel is empty."""
    await append(store, *(event(f"c:{name}", user="alice", ends=["bob"]) for name in "aababa"))
    snapshot = await store.snapshot()
    await append(store, event("c:a"), event("c:new"))
    logs = await snapshot.logs({"c:a": 1, "c:b": 0, "c:new": 0, "c:odd'\"{": 5}, 2)
    assert {channel: [e.offset for e in events] for channel, (_, events) in logs.items()} == {
        "c:a": [2, 3], "c:b": [1, 2], "c:new": [], "c:odd'\"{": [],
    }  # fmt: skip
    assert {channel: (head.offset, head.first) for channel, (head, _) in logs.items()} == {
        "c:a": (4, 1), "c:b": (2, 1), "c:new": (0, 1), "c:odd'\"{": (0, 1),
    }  # fmt: skip
    assert len({head.epoch for head, _ in logs.values()} - {""}) == 1
    reader = store.log_reader()
    assert logs["c:b"][1] == (await reader.read("c:b", 0, 10))[1]
    await reader.close()
    assert await snapshot.logs({}, 10) == {}
    await snapshot.close()
