"""Who is there, over a real Redis: registration, refusals, bounds, gateways that go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backchannel.relay.refusals import NO_WORKER, UNSERVED

if TYPE_CHECKING:
    from tests.integration.relay.conftest import Site


async def test_new_gateway_knows_all_workers_at_once(site: Site) -> None:
    """A gateway that starts finds the workers in Redis and need not wait for their next sign of life."""
    hands = [await site.worker(), await site.worker()]
    gate = await site.gateway()
    assert gate.ready()
    assert all(site.knows(gate, hand.relay._worker) for hand in hands)
    assert (await gate.ask(site.place("tea"))).failure is None


async def test_no_worker_and_no_name_are_told_at_once(site: Site) -> None:
    """Neither is a time-out, and nothing happened."""
    gate = await site.gateway()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await gate.ask(site.place("tea", timeout=60.0))).failure == NO_WORKER
    await site.worker()
    assert (await gate.ask(site.place("tea", name="order.other", timeout=60.0))).failure == UNSERVED
    assert loop.time() - began < 5.0


async def test_killed_worker_leaves_the_registry(site: Site) -> None:
    """A killed worker is unknown to gateways after 2 s, and to those that start then."""
    gate, hand = await site.gateway(), await site.worker()
    await hand.kill()
    await site.until(lambda: not gate.ready() and len(gate._registry) == 0, 5.0)
    later = await site.gateway()
    assert len(later._registry) == 0


async def test_worker_that_leaves_is_out_at_once(site: Site) -> None:
    """A worker that stops is not in the registry any more when it has."""
    gate, hand = await site.gateway(), await site.worker()
    await hand.stop()
    later = await site.gateway()
    assert len(later._registry) == 0
    await site.until(lambda: len(gate._registry) == 0, 1.5)


async def test_cancelled_query_stops_at_the_worker(site: Site) -> None:
    """Cancelling crosses Redis: the handler is cancelled."""
    gate = await site.gateway()
    await site.worker()
    waiting = asyncio.create_task(gate.ask(site.wait(1)))
    await site.until(lambda: site.waiting == 1)
    waiting.cancel()
    await site.until(lambda: site.stopped == 1)


async def test_queries_of_a_gateway_that_died(site: Site) -> None:
    """What a killed gateway asked is of use to nobody: its queries are cancelled within seconds."""
    gate = await site.gateway()
    hand = await site.worker()
    waiting = [asyncio.create_task(gate.ask(site.wait(number, timeout=60.0))) for number in range(3)]
    await site.until(lambda: site.waiting == 3)
    gate.bus.stand()
    site.gates.remove(gate)
    await gate.bus.close()
    await site.until(lambda: site.stopped == 3, 12.0)
    await site.until(lambda: not hand.relay._gateways)
    for task in waiting:
        task.cancel()


async def test_bound_in_flight(site: Site) -> None:
    """A worker gets no more at once than the bound; what is over it is refused, to be asked again soon."""
    gate = await site.gateway(in_flight=4)
    await site.worker()
    waiting = [asyncio.create_task(gate.ask(site.wait(number))) for number in range(4)]
    await site.until(lambda: site.waiting == 4)
    refused = (await gate.ask(site.wait(9))).failure
    assert refused is not None
    assert (refused.code, refused.outcome, refused.retry_after is not None) == ("unavailable", "none", True)
    site.let_go.set()
    assert [(await one).data for one in waiting] == [b"0", b"1", b"2", b"3"]
    assert (await gate.ask(site.wait(9))).data == b"9"


async def test_garbage_on_the_topics(site: Site) -> None:
    """Anybody may publish anything: it is counted, and the relay goes on."""
    gate, hand = await site.gateway(), await site.worker()
    stranger = await site.bus()
    topics = [
        stranger.key("worker", hand.relay._worker),
        stranger.key("gateway", gate._gateway),
        stranger.key("beats", "workers"),
    ]
    for topic in topics:
        stranger.publish(topic, b"\xc1 no message")
    await stranger.call("HSET", stranger.key("workers", "living"), "ghost", "no number", key=b"x")
    await stranger.call("HSET", stranger.key("workers", "living"), "other", "9999999999999 \xc1", key=b"x")
    assert (await gate.ask(site.place("tea"))).failure is None
    await site.until(lambda: hand.relay.counters.garbled >= 1 and gate.counters.garbled >= 3)
    assert gate.ready()
    await stranger.close()


async def test_the_dead_are_taken_out_of_redis(site: Site) -> None:
    """The registry's script keeps no dead: what fell silent is taken out of Redis, too."""
    gate, hand = await site.gateway(), await site.worker()
    key = gate.bus.key("workers", "living")
    assert await gate.bus.call("HLEN", key, key=key) == 1
    await hand.kill()
    await site.until(lambda: len(gate._registry) == 0, 5.0)
    assert await gate.bus.call("HLEN", key, key=key) == 0
