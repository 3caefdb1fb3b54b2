"""When a request is sent again, to whom, and what is told when it is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from backchannel.relay.refusals import NO_WORKER
from backchannel.relay.relay import Failure, Reply, Request

if TYPE_CHECKING:
    from tests.unit.relay.redis.conftest import Bench


def ask(relay: Any, request: Request) -> asyncio.Task[Reply]:
    return asyncio.create_task(relay.ask(request))


def failure_of(reply: Reply) -> Failure:
    assert reply.failure is not None
    return reply.failure


async def test_lost_request_is_sent_again_after_half_a_second(bench: Bench) -> None:
    """Without a receipt within 500 ms the same worker gets it again, as attempt 2, with what is left of its time."""
    relay, worker = await bench.gateway(), await bench.worker()
    lost = iter([True])
    bench.redis.loses = lambda topic: topic == b"worker:{w1}" and next(lost, False)
    began = bench.loop.time()
    reply = await relay.ask(bench.command(timeout=5.0))
    assert reply.failure is None
    assert bench.loop.time() - began == pytest.approx(0.52, abs=0.01)
    (arrived,) = worker.requests
    assert (arrived.attempt, relay.counters.resends) == (2, 1)
    assert arrived.timeout == pytest.approx(4.48, abs=0.01)


async def test_lost_requests_keep_their_order(bench: Bench) -> None:
    """What was lost together is sent again in the order of the first sending, before what is sent later."""
    relay, worker = await bench.gateway(), await bench.worker()
    bench.redis.loses = lambda topic: topic == b"worker:{w1}"
    asked = [bench.command() for _ in range(20)]
    waiting = [ask(relay, one) for one in asked[:10]]
    await asyncio.sleep(0.1)
    waiting += [ask(relay, one) for one in asked[10:]]
    await bench.loop.settle()
    bench.redis.loses = lambda topic: False
    await asyncio.gather(*waiting)
    assert worker.seen == [one.data for one in asked]


async def test_command_without_a_key_is_never_sent_twice(bench: Bench) -> None:
    """A lost command without a key is `unavailable`, outcome `unknown`, when its time is over, and was sent once."""
    relay, worker = await bench.gateway(), await bench.worker()
    bench.redis.loses = lambda topic: topic == b"worker:{w1}"
    failure = failure_of(await relay.ask(bench.request(timeout=8.0)))
    assert (failure.code, failure.outcome) == ("unavailable", "unknown")
    # The request, and that nobody waits for it.
    assert bench.redis.messages.count(b"worker:{w1}") == 2
    assert worker.requests == []


async def test_lost_reply_is_asked_for_after_two_seconds(bench: Bench) -> None:
    """A receipt and no reply within 2 s: the worker is asked again, and as it has answered it runs it anew."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.command())
    await bench.loop.advance(0.1)
    bench.redis.loses = lambda topic: topic == b"gateway:{g1}"
    worker.answer_all()
    await bench.loop.settle()
    bench.redis.loses = lambda topic: False
    worker.at_once = True
    began = bench.loop.time()
    assert (await waiting).failure is None
    assert bench.loop.time() - began < 2.0
    assert [one.attempt for one in worker.requests] == [1, 2]


async def test_slow_handler_is_not_run_twice(bench: Bench) -> None:
    """A worker that still runs it only acknowledges: it is asked after 2 s, 4 s, 8 s, and has the request once."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.query(timeout=60.0))
    await bench.loop.advance(20)
    assert len(worker.requests) == 1
    assert worker.relay.counters.duplicates == 3
    worker.answer_all()
    assert (await waiting).failure is None


async def test_attempts_come_to_an_end(bench: Bench) -> None:
    """After eight attempts it is `unavailable`, to be asked again later, long before its time is over."""
    relay, worker = await bench.gateway(), await bench.worker()
    bench.redis.loses = lambda topic: topic == b"worker:{w1}"
    began = bench.loop.time()
    failure = failure_of(await relay.ask(bench.command(timeout=60.0)))
    assert (failure.code, failure.outcome, failure.retry) == ("unavailable", "unknown", True)
    assert failure.retry_after is not None
    assert bench.loop.time() - began < 8.0
    assert relay.counters.resends == 7
    assert worker.requests == []


async def test_nobody_hears_it(bench: Bench) -> None:
    """What Redis tells nobody heard goes to the next worker at once, still as attempt 1, with a key or without."""
    relay = await bench.gateway()
    first, second = await bench.worker(), await bench.worker()
    lanes = [f"orders:{i}" for i in range(20)]
    first.bus.kill()
    began = bench.loop.time()
    replies = await asyncio.gather(
        *(relay.ask(bench.request(lane=lane)) for lane in lanes), *(relay.ask(bench.query()) for _ in range(4))
    )
    assert [reply.failure for reply in replies] == [None] * 24
    assert bench.loop.time() == began
    assert {one.attempt for one in second.requests} == {1}
    assert relay.counters.no_receiver > 0


async def test_dead_worker(bench: Bench) -> None:
    """When a worker has been silent for 2 s, what it took is with the next one at once, but for commands without a key:
    their outcome is unknown."""
    relay, first = await bench.gateway(), await bench.worker()
    first.at_once = False
    keyed, keyless, query = bench.command(), bench.request(), bench.query()
    waiting = [ask(relay, one) for one in (keyed, keyless, query)]
    await bench.loop.settle()
    assert len(first.requests) == 3
    first.bus.kill()
    second = await bench.worker()
    began = bench.loop.time()
    replies = await asyncio.gather(*waiting)
    assert bench.loop.time() - began < 3.0
    assert [reply.failure is None for reply in replies] == [True, False, True]
    assert (failure_of(replies[1]).code, failure_of(replies[1]).outcome) == ("unavailable", "unknown")
    assert sorted((one.data, one.attempt) for one in second.requests) == [(keyed.data, 2), (query.data, 2)]


async def test_last_worker_dies(bench: Bench) -> None:
    """Where no other worker is there, what a dead one took is refused at once, its outcome unknown."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.command(timeout=60.0))
    await bench.loop.settle()
    worker.bus.kill()
    began = bench.loop.time()
    failure = failure_of(await waiting)
    assert bench.loop.time() - began < 3.0
    assert (failure.message, failure.outcome) == (NO_WORKER.message, "unknown")


async def test_worker_that_was_only_stopped(bench: Bench) -> None:
    """A stopped worker counts as dead and wakes: its late replies are dropped, it is told what nobody waits for, and it
    is sent requests again."""
    relay, first = await bench.gateway(), await bench.worker()
    waiting = ask(relay, bench.command())
    first.bus.stop()
    await bench.loop.settle()
    second = await bench.worker()
    assert (await waiting).failure is None
    assert second.requests[0].attempt == 4
    first.at_once = False
    first.bus.go()
    await bench.loop.settle()
    assert len(first.requests) == 1
    assert first.cancelled == [first.requests[0].id]
    first.answer_all()
    await bench.loop.advance(1.0)
    assert relay.counters.late_replies == 1
    second.relay.detach()
    first.at_once = True
    assert (await relay.ask(bench.command())).failure is None
    assert len(first.requests) == 2


async def test_failure_of_an_earlier_attempt_is_not_the_answer(bench: Bench) -> None:
    """A worker that wakes and could not do it does not answer for the one that has it now; and where that one cannot
    either, the outcome is unknown."""
    relay, first = await bench.gateway(), await bench.worker()
    waiting = [ask(relay, bench.command()) for _ in range(2)]
    first.bus.stop()
    await bench.loop.settle()
    second = await bench.worker()
    second.at_once = False
    await bench.loop.advance(3.0)
    assert len(second.requests) == 2
    first.failure = second.failure = Failure("unavailable", "The time was over.", retry=True, outcome="none")
    first.at_once = False
    first.bus.go()
    await bench.loop.settle()
    assert len(first.requests) == 2
    first.answer_all()
    await bench.loop.settle()
    assert not any(one.done() for one in waiting)
    second.answer(second.requests[0])
    assert failure_of(await waiting[0]).outcome == "unknown"
    second.failure = None
    second.answer(second.requests[1])
    assert (await waiting[1]).failure is None


async def test_first_answer_counts(bench: Bench) -> None:
    """When a worker that was taken for dead answers first, that is the answer, and the other one is told."""
    relay, first = await bench.gateway(), await bench.worker()
    first.at_once = False
    waiting = ask(relay, bench.query(timeout=60.0))
    await bench.loop.settle()
    first.bus.stop()
    second = await bench.worker()
    second.at_once = False
    await bench.loop.advance(3.0)
    assert len(second.requests) == 1
    first.bus.go()
    first.answer_all()
    assert (await waiting).failure is None
    await bench.loop.settle()
    assert second.cancelled == [second.requests[0].id]


async def test_handed_back(bench: Bench) -> None:
    """What reaches a worker that leaves comes back and is with another at once, with a key or without; what it took it
    answers; and what it refuses because it stops goes to another, too."""
    relay, first = await bench.gateway(), await bench.worker()
    first.at_once = False
    taken, refused = ask(relay, bench.request()), ask(relay, bench.request(lane="orders:b"))
    await bench.loop.settle()
    second = await bench.worker()
    began = bench.loop.time()
    # Its gateway has not heard it yet when the next one leaves.
    bench.redis.loses = lambda topic: topic == b"beats:{workers}"
    first.relay.detach()
    second.relay.detach()
    second.attach()
    bench.redis.loses = lambda topic: False
    more = [ask(relay, bench.request(lane=f"orders:{i}")) for i in range(10)]
    await bench.loop.settle()
    assert all(one.done() and one.result().failure is None for one in more)
    assert first.relay.counters.handed_back > 0
    first.answer(first.requests[0])
    assert (await taken).failure is None
    first.failure = Failure("unavailable", "This worker stops.", retry=True, outcome="none", retry_after=1.0)
    first.answer(first.requests[1])
    assert (await refused).failure is None
    assert {one.attempt for one in second.requests} == {1}
    assert bench.loop.time() == began


async def test_leaving_worker_is_not_dead(bench: Bench) -> None:
    """A worker that leaves and takes long over its last commands is not taken for dead meanwhile."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.request(timeout=60.0))
    await bench.loop.settle()
    worker.relay.detach()
    await bench.loop.advance(20.0)
    assert not waiting.done()
    worker.answer_all()
    assert (await waiting).failure is None


async def test_worker_that_closes_leaves_no_doubt(bench: Bench) -> None:
    """After a worker's last word nobody waits for 2 s of silence."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.request())
    await bench.loop.settle()
    began = bench.loop.time()
    await worker.relay.close()
    assert failure_of(await waiting).outcome == "unknown"
    assert bench.loop.time() - began < 0.1


async def test_redis_lost_and_back(bench: Bench) -> None:
    """What was under way when Redis was lost is sent again in order when it is back, if it may be; what is new is
    refused at once meanwhile."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    asked = [bench.command(timeout=30.0) for _ in range(5)]
    waiting = [ask(relay, one) for one in asked]
    keyless = ask(relay, bench.request(timeout=30.0))
    await bench.loop.settle()
    for bus in (bench.bus(relay), worker.bus):
        bus.lose()
    assert not relay.ready()
    worker.answer(*worker.requests[:5])
    failure = failure_of(await relay.ask(bench.command()))
    assert (failure.code, failure.outcome, failure.retry) == ("unavailable", "none", True)
    assert "Redis" in failure.message
    await bench.loop.advance(10.0)
    assert not any(one.done() for one in waiting)
    bench.redis.wipe()
    worker.at_once = True
    bench.bus(relay).restore()
    await bench.loop.advance(0.2)
    worker.bus.restore()
    began = bench.loop.time()
    assert [(await one).failure for one in waiting] == [None] * 5
    assert bench.loop.time() == began
    assert [one.data for one in worker.requests[6:]] == [one.data for one in asked]
    assert {one.attempt for one in worker.requests[6:]} == {2}
    assert not keyless.done()
    worker.answer(worker.requests[5])
    assert (await keyless).failure is None
    assert relay.ready()


async def test_redis_that_stands_still(bench: Bench) -> None:
    """While Redis does not even say whether anybody heard a request, no second one is sent; and the silence of workers
    is nobody's."""
    relay, worker = await bench.gateway(), await bench.worker()
    bench.redis.running.clear()
    waiting = [ask(relay, bench.command(timeout=20.0)) for _ in range(3)]
    await bench.loop.advance(2.9)
    bench.redis.go()
    assert [(await one).failure for one in waiting] == [None] * 3
    assert [one.attempt for one in worker.requests] == [1] * 3
    await bench.loop.advance(0.1)
    assert relay.ready()
    assert relay.counters.resends == 0


async def test_commands_wait_for_workers_to_hear_again(bench: Bench) -> None:
    """Just after Redis was lost "nobody heard it" is no news: a command waits for a second before it is refused."""
    relay, worker = await bench.gateway(), await bench.worker()
    for bus in (bench.bus(relay), worker.bus):
        bus.lose()
    bench.bus(relay).restore()
    waiting = ask(relay, bench.request())
    await bench.loop.advance(0.3)
    assert not waiting.done()
    worker.bus.restore()
    assert (await waiting).failure is None
    worker.bus.kill()
    began = bench.loop.time()
    assert failure_of(await relay.ask(bench.request())).outcome == "none"
    assert bench.loop.time() - began < 1.1


async def test_command_that_left_on_a_broken_connection(bench: Bench) -> None:
    """A command without a key, of which Redis never told whether anybody heard it, is soon of unknown outcome."""
    relay, worker = await bench.gateway(), await bench.worker()
    bench.redis.loses = lambda topic: True
    bus = bench.bus(relay)
    publish = bus.publish

    def broken(topic: bytes, payload: bytes, receivers: Any = None) -> None:
        publish(topic, payload, receivers and (lambda count: receivers(None)))

    bus.publish = broken  # type: ignore[method-assign]
    began = bench.loop.time()
    assert failure_of(await relay.ask(bench.request(timeout=60.0))).outcome == "unknown"
    assert bench.loop.time() - began < 1.5
    assert worker.requests == []


async def test_silence_of_its_own(bench: Bench) -> None:
    """A gateway that stood still for longer than its workers may be silent takes none of them for dead, and tells
    nobody that time is over before it has read what came."""
    relay, worker = await bench.gateway(), await bench.worker()
    worker.at_once = False
    waiting = ask(relay, bench.request(timeout=5.0))
    await bench.loop.settle()
    worker.answer_all()
    bench.loop.stall(10.0)
    assert (await waiting).failure is None
    await bench.loop.advance(3.0)
    assert relay.ready()
    assert relay._registry.get("w1") is not None


async def test_time_that_runs_out_while_nothing_was_sent(bench: Bench) -> None:
    """A command that waited for its lane until its time was over did not happen."""
    relay, first = await bench.gateway(), await bench.worker()
    first.at_once = False
    opened = ask(relay, bench.request(timeout=60.0))
    await bench.loop.settle()
    await bench.worker()
    first.relay.detach()
    await bench.loop.settle()
    assert failure_of(await relay.ask(bench.request(timeout=1.0))).outcome == "none"
    first.answer_all()
    assert (await opened).failure is None


async def test_one_timer_for_all(bench: Bench) -> None:
    """A thousand open requests have one timer between them."""
    relay, worker = await bench.gateway(in_flight=2000), await bench.worker()
    worker.at_once = False
    idle = bench.loop.timers()
    waiting = [ask(relay, bench.request(lane=f"orders:{i}")) for i in range(1000)]
    await bench.loop.settle()
    assert len(worker.requests) == 1000
    assert bench.loop.timers() == idle + 1
    worker.answer_all()
    await asyncio.gather(*waiting)
