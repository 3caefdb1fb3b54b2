"""What every broker does with events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backchannel.broker.broker import Envelope, LogBounds, LogHead

Make = Callable[..., Envelope]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

CHANNEL = "metrics:host-1"
OTHER = "metrics:host-2"
BOUNDS = LogBounds(size=100, age=3600.0)


async def test_what_is_published_is_received_in_order_once_listening_is_confirmed(end: Any, event: Make) -> None:
    """After `listen` has returned, every event is received, in the order published."""
    await end.broker.listen(CHANNEL)

    for n in range(50):
        end.broker.publish([event(CHANNEL, 2 * n), event(CHANNEL, 2 * n + 1)])

    assert [e.data for e in await end.events(CHANNEL, 100)] == [b'{"n":%d}' % n for n in range(100)]
    assert end.broker.hears()


async def test_an_event_arrives_with_all_it_had(end: Any, event: Make) -> None:
    """Nothing of an envelope is lost on the way, durable or ephemeral."""
    await end.broker.listen(CHANNEL)
    durable = event(CHANNEL, 1, epoch="e1", offset=2**40, user="älice", key="k", subject="s", ends=["bob", "*"])
    ephemeral = event(CHANNEL, 2)

    end.broker.publish([durable, ephemeral])

    assert await end.events(CHANNEL, 2) == [durable, ephemeral]


async def test_only_what_is_listened_to_is_received(end: Any, event: Make) -> None:
    """An event of another channel, or of one that is not listened to any more, does not arrive."""
    await end.broker.listen(CHANNEL)
    await end.broker.listen(OTHER)
    end.broker.unlisten(OTHER)

    end.broker.publish([event(OTHER), event("metrics:host-3"), event(CHANNEL)])

    await end.events(CHANNEL, 1)
    assert {e.channel for e in end.envelopes} == {CHANNEL}


async def test_a_channel_can_be_listened_to_again(end: Any, event: Make) -> None:
    """`unlisten` is no farewell for ever."""
    await end.broker.listen(CHANNEL)
    end.broker.unlisten(CHANNEL)
    await end.broker.listen(CHANNEL)

    end.broker.publish([event(CHANNEL)])

    assert len(await end.events(CHANNEL, 1)) == 1


async def test_any_thread_may_publish(end: Any, event: Make) -> None:
    """The events of one thread come in its order; an append and a question are answered there too."""
    await end.broker.listen(CHANNEL)

    def elsewhere() -> LogHead:
        end.broker.publish([event(CHANNEL, 1)])
        end.broker.publish([event(CHANNEL, 2)])

        async def ask() -> LogHead:
            assert (await end.broker.presence(CHANNEL)).members == []
            head: LogHead = await end.broker.append(event(OTHER), BOUNDS)
            return head

        return asyncio.run(ask())

    head = await asyncio.to_thread(elsewhere)

    assert threading.current_thread() is threading.main_thread()
    assert [e.data for e in await end.events(CHANNEL, 2)] == [b'{"n":1}', b'{"n":2}']
    assert head.offset == 1


# Live logs


async def test_an_append_gives_the_next_offset_and_publishes(end: Any, event: Make) -> None:
    """Offsets are dense, the event carries epoch and offset, and the log has it as it was published."""
    await end.broker.listen(CHANNEL)
    sent = [event(CHANNEL, n, user="alice", key=f"k{n}", subject=f"s{n}") for n in range(3)]

    heads = [await end.broker.append(envelope, BOUNDS) for envelope in sent]

    assert [head.offset for head in heads] == [1, 2, 3]
    assert {(head.epoch, head.first) for head in heads} == {(heads[0].epoch, 1)}
    received = await end.events(CHANNEL, 3)
    assert [e.offset for e in received] == [1, 2, 3]
    assert {e.epoch for e in received} == {heads[0].epoch}
    assert [(e.data, e.user, e.key, e.subject, e.time, e.ends) for e in received] == [
        (e.data, e.user, e.key, e.subject, e.time, e.ends) for e in sent
    ]
    assert await end.broker.read(CHANNEL, 0, 10) == (heads[-1], received)


async def test_appends_at_once_have_dense_offsets(end: Any, event: Make) -> None:
    """No two appends get one offset, and none is left out; they are published in offset order."""
    await end.broker.listen(CHANNEL)

    heads = await asyncio.gather(*[end.broker.append(event(CHANNEL, n), BOUNDS) for n in range(60)])

    assert sorted(head.offset for head in heads) == list(range(1, 61))
    assert [e.offset for e in await end.events(CHANNEL, 60)] == list(range(1, 61))


async def test_a_repeated_append_gets_the_same_offset(end: Any, event: Make) -> None:
    """The same publication is appended and published once."""
    await end.broker.listen(CHANNEL)

    first = await end.broker.append(event(CHANNEL, 1), BOUNDS, "p1")
    await end.broker.append(event(CHANNEL, 2), BOUNDS, "p2")
    again = await end.broker.append(event(CHANNEL, 1), BOUNDS, "p1")
    await end.broker.append(event(CHANNEL, 3), BOUNDS)

    assert (again.epoch, again.offset) == (first.epoch, first.offset) == (first.epoch, 1)
    assert [e.data for e in await end.events(CHANNEL, 3)] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
    assert (await end.broker.head(CHANNEL)).offset == 3


async def test_a_publication_that_is_repeated_at_once_is_one(end: Any, event: Make) -> None:
    """Also among appends that travel together the same publication is appended and published once."""
    await end.broker.listen(CHANNEL)
    publications = ["p1", None, "p2", "p1", None, "p2", "p3"]

    heads = await asyncio.gather(*[end.broker.append(event(CHANNEL, n), BOUNDS, p) for n, p in enumerate(publications)])

    assert [head.offset for head in heads] == [1, 2, 3, 1, 4, 3, 5]
    assert [e.data for e in await end.events(CHANNEL, 5)] == [b'{"n":%d}' % n for n in (0, 1, 2, 4, 6)]


async def test_publications_are_told_apart_by_channel(end: Any, event: Make) -> None:
    """The same publication id on another channel is another publication."""
    await end.broker.append(event(CHANNEL), BOUNDS, "p1")
    await end.broker.append(event(CHANNEL), BOUNDS, "p2")

    assert (await end.broker.append(event(OTHER), BOUNDS, "p2")).offset == 1


async def test_a_log_keeps_so_many_events(end: Any, event: Make) -> None:
    """Beyond its size the oldest are trimmed, and the head says from where it can be read."""
    for n in range(5):
        head = await end.broker.append(event(CHANNEL, n), LogBounds(3, 3600.0), f"p{n}")

    assert (head.offset, head.first) == (5, 3)
    found, events = await end.broker.read(CHANNEL, 0, 10)
    assert found == head
    assert [e.offset for e in events] == [3, 4, 5]


@pytest.mark.parametrize("named", [True, False])
async def test_a_log_that_is_to_keep_fewer_lets_go_of_all_that_is_over(end: Any, event: Make, named: bool) -> None:
    """A bound that became smaller holds from the next event on, however far above it the log is."""
    many = LogBounds(10_000, 3600.0)
    appends = [end.broker.append(event(CHANNEL, n), many, f"p{n}" if named else None) for n in range(2500)]
    await asyncio.gather(*appends)

    head = await end.broker.append(event(CHANNEL), LogBounds(3, 3600.0))

    assert (head.offset, head.first) == (2501, 2499)
    assert [e.offset for e in (await end.broker.read(CHANNEL, 0, 10))[1]] == [2499, 2500, 2501]


async def test_a_log_keeps_events_so_long(end: Any, event: Make, eventually: Eventually) -> None:
    """What has aged out is not read any more; the epoch and the next offset stay."""
    await end.broker.listen(CHANNEL)
    before = await end.broker.append(event(CHANNEL), LogBounds(10, 0.05), "p1")

    async def aged_out() -> bool:
        head: LogHead = await end.broker.head(CHANNEL)
        return head.first == 2

    await eventually(aged_out)

    assert await end.broker.read(CHANNEL, 0, 10) == (LogHead(before.epoch, 1, 2), [])
    assert (await end.broker.append(event(CHANNEL), BOUNDS)) == LogHead(before.epoch, 2, 2)


async def test_a_page_begins_behind_an_offset_and_has_a_limit(end: Any, event: Make) -> None:
    """`read` returns the events after an offset, in order, at most so many."""
    for n in range(10):
        await end.broker.append(event(CHANNEL, n), LogBounds(8, 3600.0))

    async def offsets(after: int, limit: int) -> list[int]:
        _, events = await end.broker.read(CHANNEL, after, limit)
        return [e.offset for e in events]

    assert await offsets(0, 3) == [3, 4, 5]
    assert await offsets(5, 3) == [6, 7, 8]
    assert await offsets(8, 100) == [9, 10]
    assert await offsets(10, 100) == []
    assert await offsets(99, 100) == []


async def test_a_channel_without_a_log_has_an_epoch(end: Any, event: Make) -> None:
    """Who asks first settles the epoch: the first event is in it."""
    head = await end.broker.head(CHANNEL)

    assert (head.offset, head.first) == (0, 1)
    assert head.epoch
    assert await end.broker.head(CHANNEL) == head
    assert await end.broker.append(event(CHANNEL), BOUNDS) == LogHead(head.epoch, 1, 1)
    assert (await end.broker.head(OTHER)).epoch != head.epoch


async def test_appends_that_wait_together_keep_their_order(end: Any, event: Make) -> None:
    """Appends begin with their calls: many that nobody has awaited yet get dense offsets in the order of the calls,
    on each channel, and arrive in it; one that is repeated among them gets its first offset and arrives once."""
    await end.broker.listen(CHANNEL)
    await end.broker.listen(OTHER)
    before = {channel: await end.broker.head(channel) for channel in (CHANNEL, OTHER)}

    appending = [
        end.broker.append(event((CHANNEL, OTHER)[n % 2], n), LogBounds(size=500, age=3600.0), f"p{n % 250}")
        for n in range(300)
    ]
    heads = [await one for one in appending]

    for parity, channel in enumerate((CHANNEL, OTHER)):
        assert [head.offset for head in heads[parity:250:2]] == list(range(1, 126))
        assert [head.offset for head in heads[250 + parity :: 2]] == list(range(1, 26))
        assert {head.epoch for head in heads[parity::2]} == {before[channel].epoch}
        arrived = await end.events(channel, 125)
        assert [envelope.offset for envelope in arrived] == list(range(1, 126))
        assert [envelope.data for envelope in arrived] == [b'{"n":%d}' % n for n in range(parity, 250, 2)]


async def test_an_append_that_nobody_waits_for_happens(end: Any, event: Make) -> None:
    """Whoever gives up waiting takes nothing back, and harms none of those that were appended with it."""
    await end.broker.listen(CHANNEL)

    first = asyncio.ensure_future(end.broker.append(event(CHANNEL, 1), BOUNDS))
    second = asyncio.ensure_future(end.broker.append(event(CHANNEL, 2), BOUNDS))
    first.cancel()

    assert (await second).offset == 2
    assert [envelope.data for envelope in await end.events(CHANNEL, 2)] == [b'{"n":1}', b'{"n":2}']
