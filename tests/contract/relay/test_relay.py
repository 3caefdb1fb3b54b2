"""The relay's contract: one suite for every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import Any, Protocol

import pytest

from backchannel.auth.principal import Principal
from backchannel.relay.memory import MemoryRelay
from backchannel.relay.relay import Relay, Reply, Request, WorkerRelay

_ids = count(41)


def request(**more: Any) -> Request:
    """A request; each has an id of its own."""
    fields: dict[str, Any] = {
        "id": next(_ids),
        "kind": "command",
        "name": "order.place",
        "data": b"{}",
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


class MakeEnds(Protocol):
    """How an implementation is set up."""

    def __call__(self) -> Ends: ...


def _memory() -> Ends:
    relay = MemoryRelay(asyncio.get_running_loop())
    return Ends(relay, relay)


@pytest.fixture(params=[_memory], ids=["memory"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    """A relay with both ends, nobody attached yet."""
    make: MakeEnds = request.param
    both = make()
    yield both
    if both.attached:
        both.worker.detach()


def answer(asked: Request) -> Reply:
    """What a worker answers."""
    return Reply(id=asked.id, data=asked.data, positions={"orders:a": asked.id})


async def test_request_and_reply_travel_whole(ends: Ends) -> None:
    """Everything of a request reaches the worker, and everything of its reply comes back."""
    ends.attach(answer)
    asked = request(data=b'{"x":1}', encoding="json", connection="c1", key="key-12345678", attempt=2, timeout=5.0)
    reply = await ends.relay.ask(asked)
    assert (reply.id, reply.data, reply.positions, reply.failure) == (
        asked.id,
        b'{"x":1}',
        {"orders:a": asked.id},
        None,
    )
    (arrived,) = ends.requests
    assert (arrived.data, arrived.key, arrived.attempt, arrived.connection) == (b'{"x":1}', "key-12345678", 2, "c1")
    assert arrived.principal == asked.principal
    assert 0 < arrived.timeout <= 5.0


async def test_what_is_sent_in_one_tick_arrives_together_in_order(ends: Ends) -> None:
    """Requests of one loop tick reach the worker as one list, in the order sent."""
    ends.attach(answer)
    asked = [request(lane=f"orders:{i % 3}") for i in range(100)]
    replies = await asyncio.gather(*(ends.relay.ask(one) for one in asked))
    assert [[r.id for r in batch] for batch in ends.batches] == [[r.id for r in asked]]
    assert [reply.id for reply in replies] == [one.id for one in asked]


async def test_send_neither_blocks_nor_answers_at_once(ends: Ends) -> None:
    """`on_reply` is never called from within `send`, whether a worker is there or not."""
    replies: list[Reply] = []
    ends.relay.send(request(), replies.append)
    assert replies == []
    ends.attach(answer)
    ends.relay.send(request(), replies.append)
    assert len(replies) == 0
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
    ends.attach(answer)
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
    ends.attach()
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
    ends.attach()
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
    assert await ends.told(1) == [asked[0].id]
    done.clear()
    ends.worker.reply([answer(one) for one in asked])
    await done.wait()
    assert [reply.id for reply in replies] == [asked[0].id, asked[1].id]


async def test_replies_may_overtake(ends: Ends) -> None:
    """Replies are matched by id, whatever their order, and answers to nobody are ignored."""
    ends.attach()
    asked = [request() for _ in range(3)]
    waiting = [asyncio.create_task(ends.relay.ask(one)) for one in asked]
    arrived = await ends.arrive(3)
    ends.worker.reply([Reply(id=10**9), *map(answer, reversed(arrived)), answer(arrived[0])])
    assert [(await one).id for one in waiting] == [one.id for one in asked]


async def test_cancel_answers_now_and_tells_the_worker(ends: Ends) -> None:
    """After `cancel` its `on_reply` got `cancelled`, once; the worker learns it; a later reply is dropped."""
    ends.attach()
    replies: list[Reply] = []
    asked = request()
    ends.relay.send(asked, replies.append)
    (arrived,) = await ends.arrive(1)
    ends.relay.cancel(asked.id)
    assert [reply.failure.code if reply.failure else None for reply in replies] == ["cancelled"]
    assert replies[0].failure is not None
    assert replies[0].failure.outcome == "unknown"
    assert await ends.told(1) == [asked.id]
    ends.worker.reply([answer(arrived)])
    ends.relay.cancel(asked.id)
    ends.relay.cancel(10**9)
    follower = asyncio.create_task(ends.relay.ask(request()))
    ends.worker.reply([answer((await ends.arrive(2))[1])])
    await follower
    assert len(replies) == 1


async def test_cancel_in_the_tick_of_the_send(ends: Ends) -> None:
    """A request that is cancelled before it left reaches nobody: nothing happened."""
    ends.attach(answer)
    replies: list[Reply] = []
    asked = request()
    ends.relay.send(asked, replies.append)
    ends.relay.cancel(asked.id)
    (reply,) = replies
    assert reply.failure is not None
    assert (reply.failure.code, reply.failure.outcome) == ("cancelled", "none")
    other = request()
    await ends.relay.ask(other)
    assert [one.id for one in ends.requests] == [other.id]
    assert len(replies) == 1


async def test_cancelled_ask_cancels_the_request(ends: Ends) -> None:
    """Cancelling whoever waits in `ask` cancels the request."""
    ends.attach()
    asked = request()
    waiting = asyncio.create_task(ends.relay.ask(asked))
    await ends.arrive(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await ends.told(1) == [asked.id]


async def test_on_reply_that_fails_harms_no_other(ends: Ends) -> None:
    """One caller's exception costs no other caller its reply."""
    ends.attach(answer)

    def fail(reply: Reply) -> None:
        raise RuntimeError("a caller's fault")

    ends.relay.send(request(), fail)
    assert (await ends.relay.ask(request())).failure is None


async def test_worker_may_come_back(ends: Ends) -> None:
    """After one worker left another may attach, but never two at once in one process."""
    ends.attach(answer)
    ends.worker.detach()
    ends.attach(answer)
    assert (await ends.relay.ask(request())).failure is None
