"""The relay's contract: one suite for every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import pytest

from backchannel.auth.principal import Principal
from backchannel.bus import Bus, redis_target
from backchannel.relay.memory import MemoryRelay
from backchannel.relay.redis import RedisRelay, RedisWorkerRelay
from backchannel.relay.relay import Failure, Relay, Reply, Request, WorkerRelay
from backchannel.testing.services import RedisServer

_ids = count(41)


def request(**more: Any) -> Request:
    """A request; each has an id and data of its own: a worker may know it by another id."""
    number = next(_ids)
    fields: dict[str, Any] = {
        "id": number,
        "kind": "command",
        "name": "order.place",
        "data": b'{"number":%d}' % number,
        "principal": Principal(user="alice", id="user:alice"),
        "lane": "orders:a",
    }
    return Request(**(fields | more))


class Ends:
    """Both ends of a relay, and what a worker that only takes notes was given."""

    def __init__(self, relay: Relay, worker: WorkerRelay) -> None:
        self.relay = relay
        self.worker = worker
        self.batches: list[list[Request]] = []
        self.cancelled: list[int] = []
        self.attached = False
        self._arrived = asyncio.Event()
        self._told = asyncio.Event()

    @property
    def requests(self) -> list[Request]:
        """All requests that arrived."""
        return [request for batch in self.batches for request in batch]

    def attach(self, answer: Callable[[Request], Reply | None] = lambda request: None) -> None:
        """Take requests, and answer some at once."""

        def receive(requests: Sequence[Request]) -> None:
            self.batches.append(list(requests))
            self.worker.reply([reply for reply in map(answer, requests) if reply is not None])
            self._arrived.set()

        def cancel(request_id: int) -> None:
            self.cancelled.append(request_id)
            self._told.set()

        self.worker.attach(receive, cancel)
        self.attached = True

    async def attach_and_tell(self, answer: Callable[[Request], Reply | None] = lambda request: None) -> None:
        """Take requests, and return when the gateway's end knows."""
        self.attach(answer)
        async with asyncio.timeout(10):
            # Where the news takes a way of its own, that takes a moment.
            while not self.relay.ready():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def arrive(self, number: int) -> list[Request]:
        """Wait until so many requests have arrived."""
        while len(self.requests) < number:
            self._arrived.clear()
            await self._arrived.wait()
        return self.requests

    async def told(self, number: int) -> list[int]:
        """Wait until so many cancellations have arrived."""
        while len(self.cancelled) < number:
            self._told.clear()
            await self._told.wait()
        return self.cancelled


@asynccontextmanager
async def memory(server: RedisServer, prefix: str) -> AsyncIterator[Ends]:
    """Within one process."""
    relay = MemoryRelay(asyncio.get_running_loop())
    yield Ends(relay, relay)


@asynccontextmanager
async def redis(server: RedisServer, prefix: str) -> AsyncIterator[Ends]:
    """Over Redis, each end with connections of its own."""
    target = redis_target(server.url)
    gateway_bus, worker_bus = Bus(target, prefix=prefix), Bus(target, prefix=prefix)
    await gateway_bus.start()
    await worker_bus.start()
    gateway = RedisRelay(gateway_bus, gateway="g1")
    worker = RedisWorkerRelay(worker_bus, worker="w1", names=["order.place", "order.get"])
    await gateway.start()
    await worker.start()
    yield Ends(gateway, worker)
    await worker.close()
    await gateway.close()
    await worker_bus.close()
    await gateway_bus.close()


Make = Callable[[RedisServer, str], AbstractAsyncContextManager[Ends]]


@pytest.fixture(params=[memory, redis], ids=["memory", "redis"])
async def ends(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[Ends]:
    """A relay with both ends, nobody attached yet."""
    make: Make = request.param
    async with make(request.getfixturevalue("redis_server"), redis_prefix) as both:
        yield both
        if both.attached:
            both.worker.detach()


def answer(asked: Request) -> Reply:
    """What a worker answers."""
    return Reply(id=asked.id, data=asked.data, positions={"orders:a": 7})


async def test_request_and_reply_travel_whole(ends: Ends) -> None:
    """Everything of a request reaches the worker, and everything of its reply comes back."""
    await ends.attach_and_tell(answer)
    asked = request(data=b'{"x":1}', encoding="json", connection="c1", key="key-12345678", attempt=2, timeout=5.0)
    reply = await ends.relay.ask(asked)
    assert (reply.id, reply.data, reply.positions, reply.failure) == (
        asked.id,
        b'{"x":1}',
        {"orders:a": 7},
        None,
    )
    (arrived,) = ends.requests
    assert (arrived.data, arrived.key, arrived.attempt, arrived.connection) == (b'{"x":1}', "key-12345678", 2, "c1")
    assert arrived.principal == asked.principal
    assert 0 < arrived.timeout <= 5.0


async def test_what_is_sent_in_one_tick_arrives_together_in_order(ends: Ends) -> None:
    """Requests of one loop tick reach the worker as one list, in the order sent."""
    await ends.attach_and_tell(answer)
    asked = [request(lane=f"orders:{i % 3}") for i in range(100)]
    replies = await asyncio.gather(*(ends.relay.ask(one) for one in asked))
    assert [[r.data for r in batch] for batch in ends.batches] == [[r.data for r in asked]]
    assert [reply.id for reply in replies] == [one.id for one in asked]


async def test_send_neither_blocks_nor_answers_at_once(ends: Ends) -> None:
    """`on_reply` is never called from within `send`, whether a worker is there or not."""
    replies: list[Reply] = []
    ends.relay.send(request(), replies.append)
    assert replies == []
    await ends.attach_and_tell(answer)
    before = len(replies)
    ends.relay.send(request(), replies.append)
    assert len(replies) == before
    await ends.relay.ask(request())
    assert len(replies) == 2


async def test_without_a_worker_nothing_happened(ends: Ends) -> None:
    """Where no worker takes a request it is `unavailable`, outcome `none`, and may be tried again."""
    assert not ends.relay.ready()
    failure = (await ends.relay.ask(request())).failure
    assert failure is not None
    assert (failure.code, failure.outcome, failure.retry) == ("unavailable", "none", True)
    assert failure.retry_after is not None


async def test_ready_while_a_worker_is_attached(ends: Ends) -> None:
    """`ready` follows the worker, and after it left nothing is taken."""
    await ends.attach_and_tell(answer)
    await ends.relay.ask(request())
    assert ends.relay.ready()
    ends.worker.detach()
    ends.attached = False
    failure = (await ends.relay.ask(request())).failure
    assert not ends.relay.ready()
    assert failure is not None
    assert failure.outcome == "none"
    assert len(ends.requests) == 1


async def test_worker_that_leaves_answers_what_it_took(ends: Ends) -> None:
    """Replies to requests that were taken still arrive after `detach`; those not yet handed over are `unavailable`."""
    await ends.attach_and_tell()
    taken = asyncio.create_task(ends.relay.ask(request()))
    (arrived,) = await ends.arrive(1)
    late = asyncio.create_task(ends.relay.ask(request()))
    await asyncio.sleep(0)
    ends.worker.detach()
    ends.attached = False
    failure = (await late).failure
    ends.worker.reply([answer(arrived)])
    assert (await taken).failure is None
    assert failure is not None
    assert (failure.code, failure.outcome) == ("unavailable", "none")
    assert ends.requests == [arrived]


async def test_time_that_runs_out_is_unknown(ends: Ends) -> None:
    """A request that is not answered in its time is `unavailable`, outcome `unknown`; a later reply is dropped, and
    the worker is told that nobody waits."""
    await ends.attach_and_tell()
    replies: list[Reply] = []
    asked = [request(timeout=0.01), request(timeout=60.0)]
    done = asyncio.Event()

    def on_reply(reply: Reply) -> None:
        replies.append(reply)
        done.set()

    for one in asked:
        ends.relay.send(one, on_reply)
    await done.wait()
    (late,) = replies
    assert late.id == asked[0].id
    assert late.failure is not None
    assert (late.failure.code, late.failure.outcome, late.failure.retry) == ("unavailable", "unknown", True)
    assert await ends.told(1) == [ends.requests[0].id]
    done.clear()
    ends.worker.reply([answer(one) for one in ends.requests])
    await done.wait()
    assert [reply.id for reply in replies] == [asked[0].id, asked[1].id]


async def test_replies_may_overtake(ends: Ends) -> None:
    """Replies are matched by id, whatever their order, and answers to nobody are ignored."""
    await ends.attach_and_tell()
    asked = [request() for _ in range(3)]
    waiting = [asyncio.create_task(ends.relay.ask(one)) for one in asked]
    arrived = await ends.arrive(3)
    ends.worker.reply([Reply(id=10**9), *map(answer, reversed(arrived)), answer(arrived[0])])
    assert [(await one).id for one in waiting] == [one.id for one in asked]


async def test_cancel_answers_now_and_tells_the_worker(ends: Ends) -> None:
    """After `cancel` its `on_reply` got `cancelled`, once; the worker learns it; a later reply is dropped."""
    await ends.attach_and_tell()
    replies: list[Reply] = []
    asked = request()
    ends.relay.send(asked, replies.append)
    (arrived,) = await ends.arrive(1)
    ends.relay.cancel(asked.id)
    assert [reply.failure.code if reply.failure else None for reply in replies] == ["cancelled"]
    assert replies[0].failure is not None
    assert replies[0].failure.outcome == "unknown"
    assert await ends.told(1) == [arrived.id]
    ends.worker.reply([answer(arrived)])
    ends.relay.cancel(asked.id)
    ends.relay.cancel(10**9)
    follower = asyncio.create_task(ends.relay.ask(request()))
    ends.worker.reply([answer((await ends.arrive(2))[1])])
    await follower
    assert len(replies) == 1


async def test_cancel_in_the_tick_of_the_send(ends: Ends) -> None:
    """A request that is cancelled before it left reaches nobody: nothing happened."""
    await ends.attach_and_tell(answer)
    replies: list[Reply] = []
    asked = request()
    ends.relay.send(asked, replies.append)
    ends.relay.cancel(asked.id)
    (reply,) = replies
    assert reply.failure is not None
    assert (reply.failure.code, reply.failure.outcome) == ("cancelled", "none")
    other = request()
    await ends.relay.ask(other)
    assert [one.data for one in ends.requests] == [other.data]
    assert len(replies) == 1


async def test_cancelled_ask_cancels_the_request(ends: Ends) -> None:
    """Cancelling whoever waits in `ask` cancels the request."""
    await ends.attach_and_tell()
    asked = request()
    waiting = asyncio.create_task(ends.relay.ask(asked))
    (arrived,) = await ends.arrive(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await ends.told(1) == [arrived.id]


async def test_on_reply_that_fails_harms_no_other(ends: Ends) -> None:
    """One caller's exception costs no other caller its reply."""
    await ends.attach_and_tell(answer)

    def fail(reply: Reply) -> None:
        raise RuntimeError("a caller's fault")

    ends.relay.send(request(), fail)
    assert (await ends.relay.ask(request())).failure is None


async def test_worker_may_come_back(ends: Ends) -> None:
    """After a worker left it may attach again, but one end never serves two workers at once."""
    await ends.attach_and_tell(answer)
    with pytest.raises(RuntimeError):
        ends.attach(answer)
    ends.worker.detach()
    await ends.attach_and_tell(answer)
    assert (await ends.relay.ask(request())).failure is None


async def test_internal_queries_need_no_name(ends: Ends) -> None:
    """Every worker answers internal queries, whatever it serves."""
    await ends.attach_and_tell(answer)
    assert (await ends.relay.ask(request(kind="internal", name="may", lane=""))).failure is None


async def test_refusals_travel_whole(ends: Ends) -> None:
    """A worker's refusal arrives with all that it tells."""
    refusal = Failure(
        "sold_out", "None left.", retry=False, outcome="none", details={"left": [0, None]}, retry_after=2.5
    )
    await ends.attach_and_tell(lambda asked: Reply(id=asked.id, failure=refusal))
    assert (await ends.relay.ask(request())).failure == refusal


async def test_more_than_one_message_can_carry(ends: Ends) -> None:
    """However much is sent and answered in one tick, everything arrives, in the order sent."""
    await ends.attach_and_tell(answer)
    asked = [request(data=b"%d" % number * 20_000) for number in range(10, 70)]
    replies = await asyncio.gather(*(ends.relay.ask(one) for one in asked))
    assert [one.data for one in ends.requests] == [one.data for one in asked]
    assert [(reply.id, reply.data) for reply in replies] == [(one.id, one.data) for one in asked]


async def test_what_is_given_up_waits_for_nobody(ends: Ends) -> None:
    """A request whose time ran out is told once, even if the worker answers later; others are not disturbed."""
    await ends.attach_and_tell()
    late = await ends.relay.ask(request(timeout=0.01))
    assert late.failure is not None
    follower = asyncio.create_task(ends.relay.ask(request()))
    arrived = await ends.arrive(2)
    ends.worker.reply([answer(one) for one in arrived])
    assert (await follower).failure is None
