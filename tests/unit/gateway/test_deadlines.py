"""Many waits behind one timer."""

from __future__ import annotations

import asyncio

from backchannel.gateway.deadlines import Deadlines


async def test_expires_in_the_order_added() -> None:
    """Who is still there at the deadline expires, in order; who was discarded does not."""
    expired: list[str] = []
    done = asyncio.Event()

    def expire(item: str) -> None:
        expired.append(item)
        if item == "last":
            done.set()

    deadlines: Deadlines[str] = Deadlines(0.01, expire)
    for item in ("a", "b", "c"):
        deadlines.add(item)
    deadlines.discard("b")
    deadlines.discard("never there")
    asyncio.get_running_loop().call_later(0.005, deadlines.add, "last")
    await asyncio.wait_for(done.wait(), 5)
    assert expired == ["a", "c", "last"]
    assert not len(deadlines)


async def test_adding_again_does_not_prolong() -> None:
    """A wait runs from its first adding, and can be begun anew from within `expire`."""
    counts: list[int] = []
    done = asyncio.Event()

    def expire(item: str) -> None:
        counts.append(len(deadlines))
        if len(counts) < 3:
            deadlines.add(item)
        else:
            done.set()

    deadlines: Deadlines[str] = Deadlines(0.001, expire)
    deadlines.add("a")
    deadlines.add("a")
    assert len(deadlines) == 1
    await asyncio.wait_for(done.wait(), 5)
    assert counts == [0, 0, 0]
