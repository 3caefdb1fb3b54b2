"""The worker's end: ids, receipts, gateways that go, and what is no message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from backchannel.relay.messages import ToWorker, encode
from backchannel.relay.redis import RedisRelay
from backchannel.relay.relay import Failure, Reply, Request
from backchannel.telemetry.metrics import measure

if TYPE_CHECKING:
    from tests.unit.relay.redis.conftest import Bench


def ask(relay: Any, request: Request) -> asyncio.Task[Reply]:
    return asyncio.create_task(relay.ask(request))


async def test_same_ids_of_two_gateways(bench: Bench) -> None:
    """Requests of two gateways have the same ids and are not confused, nor are their cancellations."""
    relays = [await bench.gateway(), await bench.gateway()]
    worker = await bench.worker()
    worker.at_once = False
    asked = [bench.command(id=7, data=b"first"), bench.command(id=7, data=b"second")]
    waiting = [ask(relay, one) for relay, one in zip(relays, asked, strict=True)]
    await bench.loop.settle()
    assert len({one.id for one in worker.requests}) == 2
    relays[0].cancel(7)
    await bench.loop.settle()
    assert worker.cancelled == [one.id for one in worker.requests if one.data == b"first"]
    worker.answer(*reversed(worker.requests))
    replies = await asyncio.gather(*waiting)
    assert replies[0].failure is not None
    assert (replies[1].id, replies[1].data) == (7, b"second")


async def test_gateway_that_is_gone(bench: Bench) -> None:
    """The queries of a gateway that fell silent are cancelled and nobody is told their answers; its commands go on, and
    nothing of it is kept."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = [ask(relay, bench.query(timeout=60.0)), ask(relay, bench.command(timeout=60.0))]
    await bench.loop.settle()
    bench.bus(relay).kill()
    await bench.loop.advance(12.0)
    query, command = worker.requests
    assert worker.cancelled == [query.id]
    worker.answer_all()
    await bench.loop.advance(1.0)
    assert worker.relay.counters.unheard == 2
    assert worker.relay._gateways == {}
    assert worker.relay._open == {}
    assert command.key is not None
    for one in waiting:
        one.cancel()
    bench.bus(relay).go()


async def test_gateway_that_hears_nothing(bench: Bench) -> None:
    """A gateway that hears no message in a row for a second is gone, whatever the registry still says."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = [ask(relay, bench.query(timeout=60.0)) for _ in range(5)]
    await bench.loop.settle()
    bench.bus(relay).kill()
    for one in worker.requests[:4]:
        worker.answer(one)
        await asyncio.sleep(0.5)
    assert worker.cancelled == [one.id for one in worker.requests[3:]]
    for task in waiting:
        task.cancel()
    bench.bus(relay).go()


async def test_worker_that_stood_still_forgets_no_gateway(bench: Bench) -> None:
    """Silence that was the worker's own is not the gateway's."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.query(timeout=60.0))
    await bench.loop.settle()
    bench.bus(relay).stop()
    bench.loop.stall(30.0)
    await bench.loop.advance(1.0)
    assert bench.redis.hashes[b"gateways:{living}"]["g1"][0] < bench.loop.time()
    bench.bus(relay).go()
    await bench.loop.advance(1.0)
    assert worker.cancelled == []
    worker.answer_all()
    assert (await waiting).failure is None


@pytest.mark.parametrize(
    "garbage", [b"", b"\xc1", b"\x93", b"\x91\xa2g9\x00", b"\x80", encode([1, 2, 3]), b"\xff" * 99]
)
async def test_garbage_on_every_topic(bench: Bench, garbage: bytes) -> None:
    """What is no message is counted and dropped, on every topic; what follows is heard."""
    relay, worker = await bench.gateway(), await bench.worker()
    await bench.loop.settle()
    stranger: Any = bench.bus(worker.relay)
    before = relay.counters.garbled, worker.relay.counters.garbled
    for topic in (b"worker:{w1}", b"gateway:{g1}", b"beats:{workers}"):
        stranger.publish(topic, garbage)
    bench.redis.hashes[b"workers:{living}"]["stranger"] = (bench.loop.time() + 1.0, garbage)
    await bench.loop.settle()
    # A message without content is one, if it names a worker; a short array does not.
    assert worker.relay.counters.garbled + relay.counters.garbled >= sum(before) + 2
    assert (await relay.ask(bench.command())).failure is None
    await bench.loop.advance(1.0)
    assert relay.ready()


async def test_time_that_is_none(bench: Bench) -> None:
    """A request whose timeout is not a number of seconds that anybody could wait is garbage."""
    worker = await bench.worker()
    bus: Any = bench.bus(worker.relay)
    for timeout in (float("nan"), float("inf"), -1.0, 1e9):
        bus.publish(b"worker:{w1}", encode(ToWorker("g9", [bench.request(timeout=timeout)])))
    await bench.loop.settle()
    assert worker.requests == []
    assert worker.relay.counters.garbled == 4


async def test_what_cannot_travel(bench: Bench) -> None:
    """A request or reply without a form on the bus fails alone; those beside it arrive."""
    relay, worker = await bench.gateway(), await bench.worker()
    bad, good = bench.command(connection="\ud800"), bench.command()
    replies = await asyncio.gather(relay.ask(bad), relay.ask(good))
    assert [reply.failure and (reply.failure.code, reply.failure.outcome) for reply in replies] == [
        ("internal", "none"),
        None,
    ]
    worker.failure = Failure("full", "Full.", retry=False, outcome="none", details={"left": 2**70})
    refused = await relay.ask(bench.command())
    assert refused.failure is not None
    assert (refused.failure.code, refused.failure.retry) == ("internal", False)


async def test_metrics(bench: Bench) -> None:
    """What both ends count can be scraped while they run, and only then."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = [ask(relay, bench.query()) for _ in range(3)]
    await bench.loop.settle()
    found = measure()
    assert (found["relay_workers"], found["relay_in_flight"], found["relay_taken"]) == (1, 3, 3)
    assert (found["relay_resends"], found["relay_no_receiver"], found["relay_duplicates"]) == (0, 0, 0)
    worker.answer_all()
    await asyncio.gather(*waiting)
    await relay.close()
    await worker.relay.close()
    assert not any(name.startswith("relay_") for name in measure())


async def test_gateway_that_stops(bench: Bench) -> None:
    """Closing a gateway's end answers everything that is open, and takes it out of the registry."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.command())
    await bench.loop.settle()
    await relay.close()
    reply = await waiting
    assert reply.failure is not None
    assert (reply.failure.code, reply.failure.outcome) == ("unavailable", "unknown")
    assert bench.redis.hashes[b"gateways:{living}"] == {}


async def test_redis_that_is_absent_at_the_start(bench: Bench) -> None:
    """Both ends start without Redis, are not ready, and are when it is there."""
    relay = await bench.gateway()
    late: Any = type(bench.bus(relay))(bench.redis)
    late.hearing = False
    second = RedisRelay(late, gateway="g2")
    began = bench.loop.time()
    await second.start()
    assert bench.loop.time() - began <= 3.0
    bench.gateways.append(second)
    await bench.worker()
    assert not second.ready()
    late.restore()
    await bench.loop.advance(6.0)
    assert second.ready()
    assert (await second.ask(bench.command())).failure is None
