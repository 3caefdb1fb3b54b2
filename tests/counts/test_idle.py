"""What a connection costs that does nothing, and what a delivery leaves behind.

| what                                                      | design | bound here           |
|-----------------------------------------------------------|--------|----------------------|
| tasks per idle connection                                 | 0      | 0                    |
| timers per idle connection                                | 0      | 0 (wheels for all)   |
| futures, events and queues of asyncio per idle connection | 0      | 0                    |
| objects that the collector looks at per idle connection   | few    | `OBJECTS`            |
| memory blocks per idle connection                         | few    | `BLOCKS`             |
| blocks that stay per delivery, once logs are full         | 0      | 0.02                 |
| bytes that are needed at a time per delivery              | few    | `PEAK`               |

A connection here has a session, a user, one channel of its own and one that all share. Bounds that are not zero are
what was measured, with a margin of a tenth; make them smaller when it becomes less.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

from backchannel.testing import Sandbox

NewPeer = Callable[..., Any]

CONNECTIONS: Final = 200
SHARED_TIMERS: Final = 3
"""Those of wheels and sweeps, which run or not by chance; not by connection."""
OBJECTS: Final = 28.0
BLOCKS: Final = 69.0
PEAK: Final = 24.0


def publish(value: int) -> dict[str, Any]:
    """The frame of a publish that wants no answer."""
    return {"type": "publish", "channel": "live:a", "name": "value.told", "data": {"value": value}}


class Census:
    """What there is of each kind."""

    def __init__(self) -> None:
        gc.collect()
        loop: Any = asyncio.get_running_loop()
        self.tasks = len(asyncio.all_tasks())
        self.timers = sum(not handle.cancelled() for handle in loop._scheduled)
        self.blocks = sys.getallocatedblocks()
        objects = gc.get_objects()
        self.waiting = sum(isinstance(one, asyncio.Future | asyncio.Event | asyncio.Queue) for one in objects)
        self.objects = len(objects)


async def test_an_idle_connection_has_no_task_no_timer_and_few_objects(box: Sandbox, new_peer: NewPeer) -> None:
    """Everything that an idle connection needs are its session's few objects; time is kept for all by one wheel."""

    peers: list[Any] = []

    async def connect(count: int) -> Census:
        for _ in range(count):
            number = len(peers)
            peers.append(await new_peer(box).open(f"user{number}", "live:all", f"live:own{number}"))
        for _ in range(4):  # pings come and are answered
            await box.advance(10)
            for peer in peers:
                peer.read({"type": "pong"})
                peer.socket.writes.clear()
            await box.settle()
        return Census()

    before = await connect(20)  # with them comes what all share
    after = await connect(CONNECTIONS)

    assert not any(peer.socket.closed for peer in peers)
    assert (after.tasks - before.tasks, after.waiting - before.waiting) == (0, 0)
    assert after.timers - before.timers <= SHARED_TIMERS
    assert (after.objects - before.objects) / CONNECTIONS <= OBJECTS
    assert (after.blocks - before.blocks) / CONNECTIONS <= BLOCKS


async def test_a_delivery_leaves_nothing_behind(box: Sandbox, new_peer: NewPeer) -> None:
    """Once the log and what is kept for resumes are full, events come and go, and memory stays as it is."""
    listeners = [await new_peer(box).open(f"user{n}", "live:a") for n in range(100)]
    sender = await new_peer(box).open("sender")

    async def deliver(rounds: int) -> int:
        for number in range(rounds):
            sender.read(*(publish(100_000 + number) for _ in range(16)))
            await box.settle()
            box.broker.published.clear()  # the sandbox keeps them for tests to look at
            for listener in listeners:
                listener.socket.writes.clear()
        return rounds * 16 * len(listeners)

    await deliver(300)
    gc.collect()
    before = sys.getallocatedblocks()
    deliveries = await deliver(20)
    gc.collect()
    assert (sys.getallocatedblocks() - before) / deliveries <= 0.02

    tracemalloc.start()
    try:
        await deliver(1)
        tracemalloc.reset_peak()
        base, _ = tracemalloc.get_traced_memory()
        deliveries = await deliver(1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (peak - base) / deliveries <= PEAK
