"""Where commands and queries go while workers come and go, and in which order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from backchannel.relay.refusals import BUSY, NO_WORKER, UNSERVED
from backchannel.relay.relay import Failure, Reply, Request

if TYPE_CHECKING:
    from tests.unit.relay.redis.conftest import Bench


def ask(relay: Any, request: Request) -> asyncio.Task[Reply]:
    return asyncio.create_task(relay.ask(request))


def failure_of(reply: Reply) -> Failure:
    assert reply.failure is not None
    return reply.failure


async def test_lane_has_one_worker_on_all_gateways(bench: Bench) -> None:
    """Commands of one lane reach one worker, whichever gateway they come through; many lanes reach all."""
    relays = [await bench.gateway(), await bench.gateway()]
    workers = [await bench.worker() for _ in range(3)]
    lanes = [f"orders:{i % 40}" for i in range(400)]
    await asyncio.gather(*(relays[i % 2].ask(bench.request(lane=lane)) for i, lane in enumerate(lanes)))
    owners = {lane: {w.relay._worker for w in workers if lane in {r.lane for r in w.requests}} for lane in lanes}
    assert all(len(found) == 1 for found in owners.values())
    assert len(set.union(*owners.values())) == 3


async def test_queries_go_to_the_least_loaded(bench: Bench) -> None:
    """Queries spread evenly over idle workers, and avoid one that has much to do for another gateway."""
    relay, other = await bench.gateway(), await bench.gateway()
    first, second = await bench.worker(), await bench.worker()
    first.at_once = second.at_once = False
    waiting = [ask(relay, bench.query()) for _ in range(100)]
    await bench.loop.settle()
    assert (len(first.requests), len(second.requests)) == (50, 50)
    first.answer_all()
    await bench.loop.advance(1.0)
    waiting += [ask(other, bench.query()) for _ in range(50)]
    await bench.loop.settle()
    assert (len(first.requests), len(second.requests)) == (100, 50)
    for worker in (first, second):
        worker.answer_all()
    await asyncio.gather(*waiting)


async def test_random_routing(bench: Bench) -> None:
    """With routing `random` the commands of one lane go to all workers."""
    relay = await bench.gateway(routing="random", chance=random.Random(7))
    workers = [await bench.worker() for _ in range(3)]
    await asyncio.gather(*(relay.ask(bench.request()) for _ in range(90)))
    assert all(len(worker.requests) > 15 for worker in workers)


async def test_no_worker_at_all(bench: Bench) -> None:
    """Without a worker a request is refused at once, and nothing happened."""
    relay = await bench.gateway()
    began = bench.loop.time()
    assert failure_of(await relay.ask(bench.command())) == NO_WORKER
    assert not relay.ready()
    assert bench.loop.time() == began


async def test_name_that_nobody_serves(bench: Bench) -> None:
    """Where workers are there and none serves the name, that is told at once; and it goes to the one that does."""
    relay, worker = await bench.gateway(), await bench.worker(["order.get"])
    assert failure_of(await relay.ask(bench.command())) == UNSERVED
    assert (await relay.ask(bench.query())).failure is None
    newer = await bench.worker(["order.get", "order.place"])
    assert (await relay.ask(bench.command())).failure is None
    assert ([r.name for r in worker.requests], [r.name for r in newer.requests]) == (["order.get"], ["order.place"])


async def test_bound_in_flight(bench: Bench) -> None:
    """Past the bound a command is refused at once, to be asked again soon, and nothing happened; a query goes to a
    worker that has room, while there is one."""
    relay = await bench.gateway(in_flight=10)
    first = await bench.worker()
    first.at_once = False
    waiting = [ask(relay, bench.request()) for _ in range(10)]
    await bench.loop.settle()
    assert failure_of(await relay.ask(bench.request())) == BUSY
    assert failure_of(await relay.ask(bench.query())) == BUSY
    second = await bench.worker()
    second.at_once = False
    waiting += [ask(relay, bench.query()) for _ in range(10)]
    await bench.loop.settle()
    assert len(second.requests) == 10
    assert failure_of(await relay.ask(bench.query())) == BUSY
    first.answer(first.requests[0])
    await bench.loop.settle()
    waiting.append(ask(relay, bench.request()))
    await bench.loop.settle()
    assert len(first.requests) == 11
    first.answer_all()
    second.answer_all()
    assert [(await one).failure for one in waiting] == [None] * 21


async def test_open_commands_keep_their_lane(bench: Bench) -> None:
    """A worker that comes does not get a lane before its open commands are answered where they are."""
    relay, first = await bench.gateway(), await bench.worker()
    first.at_once = False
    lanes = [f"orders:{i}" for i in range(20)]
    waiting = [ask(relay, bench.request(lane=lane)) for lane in lanes]
    await bench.loop.settle()
    second = await bench.worker()
    waiting += [ask(relay, bench.request(lane=lane)) for lane in lanes]
    await bench.loop.settle()
    assert second.requests == []
    first.answer_all()
    await asyncio.gather(*waiting)
    first.at_once = True
    await asyncio.gather(*(relay.ask(bench.request(lane=lane)) for lane in lanes))
    assert 4 < len(second.requests) < 16


async def test_order_while_a_worker_leaves(bench: Bench) -> None:
    """Commands of one lane wait until the worker that leaves has answered or handed back the earlier ones, and then
    take effect in the order sent."""
    relay, first = await bench.gateway(), await bench.worker()
    first.at_once = False
    asked = [bench.request() for _ in range(9)]
    waiting = [ask(relay, one) for one in asked[:6]]
    await bench.loop.settle()
    second = await bench.worker()
    first.relay.detach()
    await bench.loop.settle()
    waiting += [ask(relay, one) for one in asked[6:8]]
    await bench.loop.settle()
    first.answer(*first.requests[:3])
    await bench.loop.settle()
    assert second.requests == []
    first.failure = Failure("unavailable", "This worker stops.", retry=True, outcome="none", retry_after=1.0)
    first.answer(first.requests[4], first.requests[3])
    await bench.loop.settle()
    assert second.requests == []
    waiting.append(ask(relay, asked[8]))
    first.answer(first.requests[5])
    assert [(await one).failure for one in waiting] == [None] * 9
    assert second.seen == [one.data for one in asked[3:]]


async def test_what_waits_for_its_lane_is_bounded_and_can_be_cancelled(bench: Bench) -> None:
    """No more wait for one lane than may be with one worker; who is cancelled there did not happen."""
    relay, first = await bench.gateway(in_flight=5), await bench.worker()
    first.at_once = False
    waiting = [ask(relay, bench.request())]
    await bench.loop.settle()
    second = await bench.worker()
    first.relay.detach()
    await bench.loop.settle()
    asked = [bench.request() for _ in range(5)]
    waiting += [ask(relay, one) for one in asked]
    await bench.loop.settle()
    assert failure_of(await relay.ask(bench.request())) == BUSY
    relay.cancel(asked[2].id)
    assert failure_of(await waiting.pop(3)).outcome == "none"
    first.answer_all()
    assert [(await one).failure for one in waiting] == [None] * 5
    assert second.seen == [asked[i].data for i in (0, 1, 3, 4)]


async def test_lanes_are_forgotten(bench: Bench) -> None:
    """What is known of lanes that have nothing open is bounded."""
    relay = await bench.gateway()
    await bench.worker()
    await bench.worker()
    for begin in range(0, 25_000, 1000):
        await asyncio.gather(*(relay.ask(bench.request(lane=f"user:{begin + i}")) for i in range(1000)))
    assert len(relay._routing._lanes) <= 20_000


async def test_one_message_each_way_per_tick(bench: Bench) -> None:
    """What leaves in one tick for one worker is one message, and so are its replies: no receipt is needed then."""
    relay = await bench.gateway()
    await bench.worker()
    bench.redis.messages.clear()
    await asyncio.gather(*(relay.ask(bench.request(lane=f"orders:{i}")) for i in range(100)))
    told = Counter(bench.redis.messages)
    assert (told[b"worker:{w1}"], told[b"gateway:{g1}"]) == (1, 1)
