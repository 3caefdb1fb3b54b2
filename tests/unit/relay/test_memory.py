"""The memory relay, as far as it is its own: two loops, wake-ups and the sweep."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import pytest

from backchannel.auth.principal import Principal
from backchannel.relay.memory import MemoryRelay
from backchannel.relay.relay import Reply, Request


def request(number: int, timeout: float = 60.0) -> Request:
    return Request(
        id=number,
        kind="query",
        name="thing.get",
        data=b"{}",
        principal=Principal(user="alice", id="user:alice"),
        timeout=timeout,
    )


class OtherLoop:
    """A loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    async def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something there."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    def close(self) -> None:
        """End the thread and close the loop."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()


@pytest.fixture
def other() -> Iterator[OtherLoop]:
    """Another loop."""
    other = OtherLoop()
    yield other
    other.close()


class Echo:
    """A worker on another loop that answers everything at once."""

    def __init__(self, relay: MemoryRelay) -> None:
        self.relay = relay
        self.threads: set[int] = set()
        self.batches: list[int] = []

    async def attach(self) -> None:
        """Take requests."""
        self.relay.attach(self.receive, lambda request_id: None)

    def receive(self, requests: Sequence[Request]) -> None:
        """Answer."""
        self.threads.add(threading.get_ident())
        self.batches.append(len(requests))
        self.relay.reply([Reply(id=request.id) for request in requests])


async def test_two_loops(other: OtherLoop) -> None:
    """The worker is called on its own loop's thread and `on_reply` on the gateway's; a tick crosses as one list."""
    relay = MemoryRelay(asyncio.get_running_loop())
    echo = Echo(relay)
    await other.run(echo.attach())
    threads: set[int] = set()
    for tick in range(20):
        await asyncio.gather(*(relay.ask(request(tick * 100 + i)) for i in range(100)))
    answered = asyncio.Event()

    def on_reply(reply: Reply) -> None:
        threads.add(threading.get_ident())
        answered.set()

    relay.send(request(5000), on_reply)
    await answered.wait()
    assert echo.batches == [100] * 20 + [1]
    assert threads == {threading.get_ident()}
    assert threads.isdisjoint(echo.threads)


class CountingLoop:
    """A loop that counts what it is asked to do from another thread, and its timers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.wake_ups = 0
        self.timers: list[asyncio.TimerHandle] = []

    def call_soon_threadsafe(self, *arguments: Any) -> Any:
        self.wake_ups += 1
        return self._loop.call_soon_threadsafe(*arguments)

    def call_at(self, *arguments: Any) -> asyncio.TimerHandle:
        handle = self._loop.call_at(*arguments)
        self.timers.append(handle)
        return handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def test_a_tick_costs_one_wake_up_each_way() -> None:
    """A thousand requests of one tick wake the worker once, and their replies the gateway once."""
    gateway, worker = CountingLoop(), CountingLoop()
    relay = MemoryRelay(gateway, worker)  # type: ignore[arg-type]
    await Echo(relay).attach()
    await asyncio.gather(*(relay.ask(request(i)) for i in range(1000)))
    assert (gateway.wake_ups, worker.wake_ups) == (1, 1)


async def test_who_writes_together_is_told_when_all_have_their_reply() -> None:
    """`replied` comes once for the replies of one list, behind the last of them and before the loop goes on."""
    relay = MemoryRelay(asyncio.get_running_loop())
    await Echo(relay).attach()
    told: list[str] = []
    done = asyncio.Event()

    def on_reply(reply: Reply) -> None:
        told.append(f"reply {reply.id}")
        asyncio.get_running_loop().call_soon(told.append, "next turn")
        if reply.id == 2:
            raise ValueError("one caller's fault")

    def replied() -> None:
        told.append("replied")
        done.set()

    relay.replied = replied
    for i in range(1, 4):
        relay.send(request(i), on_reply)
    await done.wait()
    assert told[:4] == ["reply 1", "reply 2", "reply 3", "replied"]
    assert told.count("replied") == 1


async def test_one_timer_for_all_deadlines_and_none_when_nothing_waits() -> None:
    """A thousand requests share one timer; it is not renewed when everything is answered, and an earlier deadline
    brings it forward."""
    gateway = CountingLoop()
    relay = MemoryRelay(gateway)  # type: ignore[arg-type]
    await Echo(relay).attach()

    def armed() -> int:
        return sum(not timer.cancelled() and timer.when() > gateway.time() for timer in gateway.timers)

    for i in range(10):
        await asyncio.gather(*(relay.ask(request(i * 100 + j)) for j in range(100)))
    assert len(gateway.timers) == 1
    relay.detach()
    relay.attach(lambda requests: None, lambda request_id: None)
    long = asyncio.create_task(relay.ask(request(5000)))
    short = await relay.ask(request(5001, timeout=0.01))
    assert short.failure is not None
    assert short.failure.outcome == "unknown"
    assert armed() == 1
    relay.reply([Reply(id=5000)])
    await long
    middle = asyncio.create_task(relay.ask(request(5002, timeout=0.01)))
    await middle
    assert armed() == 0


async def test_worker_whose_loop_is_closed(other: OtherLoop) -> None:
    """If the worker's loop ended without detaching, requests are `unavailable`, outcome `none`."""
    relay = MemoryRelay(asyncio.get_running_loop())
    await other.run(Echo(relay).attach())
    other.close()
    reply = await relay.ask(request(1))
    assert reply.failure is not None
    assert reply.failure.outcome == "none"
    assert not relay.ready()


def test_gateway_whose_loop_is_closed() -> None:
    """Replies for a gateway that is gone are dropped; the worker goes on."""
    loop = asyncio.new_event_loop()
    relay = MemoryRelay(loop)
    loop.close()
    relay.reply([Reply(id=1)])


async def test_one_worker_at_a_time() -> None:
    """A second worker in the same process is refused, with the cure."""
    relay = MemoryRelay(asyncio.get_running_loop())
    await Echo(relay).attach()
    with pytest.raises(RuntimeError, match="detach it first"):
        await Echo(relay).attach()
