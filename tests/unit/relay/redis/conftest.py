"""The relay on Redis without Redis: a bus within the test, on virtual time, that loses what the test wants lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import pytest

from backchannel.auth.principal import Principal
from backchannel.relay.redis import RedisRelay, RedisWorkerRelay
from backchannel.relay.relay import Reply, Request
from backchannel.testing import VirtualLoop
from backchannel_protocol import Refused


class RelayLoop(VirtualLoop):
    """Virtual time that a test may let pass in the middle of a callback, as a process that stands still does."""

    def stall(self, seconds: float) -> None:
        self._nanoseconds += round(seconds * 1e9)

    def timers(self) -> int:
        """How many timers wait."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return sum(not handle.cancelled() for handle in scheduled)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The tests of this folder run on virtual time."""
    return {"virtual": RelayLoop}


class FakeRedis:
    """What carries messages between the buses of one test."""

    def __init__(self) -> None:
        self.topics: dict[bytes, list[tuple[FakeBus, Callable[[list[bytes]], None]]]] = {}
        self.hashes: dict[bytes, dict[str, tuple[float, bytes]]] = {}
        self.loses: Callable[[bytes], bool] = lambda topic: False
        """Whether a message on this topic gets lost behind Redis: it counts as heard."""
        self.messages: list[bytes] = []
        """The topics of all that was published."""
        self.running = asyncio.Event()
        """Clear it: it stands still, and what it is told waits."""
        self.running.set()
        self._waiting: list[Callable[[], None]] = []

    def publish(self, topic: bytes, payload: bytes, receivers: Callable[[int | None], None] | None) -> None:
        loop = asyncio.get_running_loop()
        if not self.running.is_set():
            self._waiting.append(partial(self.publish, topic, payload, receivers))
            return
        self.messages.append(topic)
        hearers = list(self.topics.get(topic, ()))
        if receivers is not None:
            loop.call_soon(receivers, len(hearers))
        if not self.loses(topic):
            for bus, receive in hearers:
                loop.call_soon(bus.arrive, receive, payload)

    def go(self) -> None:
        """It goes on."""
        self.running.set()
        waiting, self._waiting = self._waiting, []
        for step in waiting:
            step()

    def wipe(self) -> None:
        """It restarts empty."""
        self.topics.clear()
        self.hashes.clear()


class FakeBus:
    """One process's bus. It stands in for `Bus`, by the part of it that the relay uses."""

    def __init__(self, redis: FakeRedis) -> None:
        self.redis = redis
        self.loop = asyncio.get_running_loop()
        self.hearing = True
        self.running = asyncio.Event()
        self.running.set()
        self.watchers: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self.wishes: dict[bytes, Callable[[list[bytes]], None]] = {}
        self.kept: list[Callable[[], None]] = []

    def key(self, kind: str, name: str = "") -> bytes:
        return f"{kind}:{{{name}}}".encode()

    def publish(self, topic: bytes, payload: bytes, receivers: Callable[[int | None], None] | None = None) -> None:
        if not self.running.is_set():
            self.kept.append(partial(self.publish, topic, payload, receivers))
            return
        if not self.hearing:
            if receivers is not None:
                self.loop.call_soon(receivers, None)
            return
        self.redis.publish(topic, payload, receivers)

    def arrive(self, receive: Callable[[list[bytes]], None], payload: bytes) -> None:
        if self.running.is_set():
            receive([payload])
        else:
            self.kept.append(partial(receive, [payload]))

    async def subscribe(self, topic: bytes, receive: Callable[[list[bytes]], None]) -> None:
        if not self.hearing:
            await asyncio.sleep(5)
            raise Refused("unavailable", "Redis is away.")
        self.wishes[topic] = receive
        self.redis.topics.setdefault(topic, []).append((self, receive))

    def unsubscribe(self, topic: bytes) -> None:
        self.wishes.pop(topic, None)
        self.redis.topics[topic] = [one for one in self.redis.topics.get(topic, ()) if one[0] is not self]

    def watch(self, lost: Callable[[], None], back: Callable[[], None]) -> Callable[[], None]:
        self.watchers.append((lost, back))
        return lambda: self.watchers.remove((lost, back))

    async def run(self, script: Any, keys: Sequence[bytes], args: Sequence[Any]) -> list[Any]:
        """What beat.lua does."""
        await self.running.wait()
        await self.redis.running.wait()
        if not self.hearing:
            raise Refused("unavailable", "Redis is away.")
        await asyncio.sleep(0)
        now = self.loop.time()
        own, others = (self.redis.hashes.setdefault(key, {}) for key in keys)
        incarnation, told, span = args
        if span:
            own[incarnation] = (now + span / 1000, told)
        else:
            own.pop(incarnation, None)
        found: list[Any] = []
        for name, (dies, text) in others.items():
            if dies > now:
                found += [name.encode(), round((dies - now) * 1000), text]
        return found

    # What befalls it

    def lose(self) -> None:
        """The connections to Redis break."""
        self.hearing = False
        for hearers in self.redis.topics.values():
            hearers[:] = [one for one in hearers if one[0] is not self]
        for lost, _ in self.watchers:
            lost()

    def restore(self) -> None:
        """They are back."""
        self.hearing = True
        for topic, receive in self.wishes.items():
            self.redis.topics.setdefault(topic, []).append((self, receive))
        for _, back in self.watchers:
            back()

    def stop(self) -> None:
        """The process is stopped: what it is sent waits, and what it would send, too."""
        self.running.clear()

    def go(self) -> None:
        """It wakes."""
        self.running.set()
        kept, self.kept = self.kept, []
        for step in kept:
            step()

    def kill(self) -> None:
        """The process is killed: Redis closes its connections, and nothing comes of it any more."""
        self.stop()
        for hearers in self.redis.topics.values():
            hearers[:] = [one for one in hearers if one[0] is not self]


class Hands:
    """A worker that takes notes, and answers when told or at once."""

    def __init__(self, bus: FakeBus, relay: RedisWorkerRelay) -> None:
        self.bus = bus
        self.relay = relay
        self.requests: list[Request] = []
        self.cancelled: list[int] = []
        self.at_once = True
        self.failure: Any = None

    def attach(self) -> None:
        self.relay.attach(self.receive, self.cancelled.append)

    def receive(self, requests: Sequence[Request]) -> None:
        self.requests += requests
        if self.at_once:
            self.answer(*requests)

    def answer(self, *requests: Request) -> None:
        self.relay.reply([Reply(id=one.id, data=one.data, failure=self.failure) for one in requests])

    def answer_all(self) -> None:
        self.answer(*self.requests)

    @property
    def seen(self) -> list[bytes]:
        """The data of what it was given, in order."""
        return [one.data for one in self.requests]


class Bench:
    """Gateways and workers around one fake Redis."""

    def __init__(self) -> None:
        self.redis = FakeRedis()
        self.gateways: list[RedisRelay] = []
        self.workers: list[Hands] = []
        self.loop: RelayLoop = asyncio.get_running_loop()  # type: ignore[assignment]
        self._ids = count(501)

    async def gateway(self, **more: Any) -> RedisRelay:
        bus: Any = FakeBus(self.redis)
        relay = RedisRelay(bus, gateway=f"g{len(self.gateways) + 1}", **more)
        await relay.start()
        self.gateways.append(relay)
        return relay

    async def worker(self, names: Sequence[str] = ("order.place", "order.get")) -> Hands:
        bus: Any = FakeBus(self.redis)
        hands = Hands(bus, RedisWorkerRelay(bus, worker=f"w{len(self.workers) + 1}", names=names))
        await hands.relay.start()
        hands.attach()
        self.workers.append(hands)
        await self.loop.settle()
        return hands

    def bus(self, end: RedisRelay | RedisWorkerRelay) -> FakeBus:
        found: Any = end._bus
        bus: FakeBus = found
        return bus

    def request(self, **more: Any) -> Request:
        number = next(self._ids)
        fields: dict[str, Any] = {
            "id": number,
            "kind": "command",
            "name": "order.place",
            "data": b"%d" % number,
            "principal": Principal(user="alice", id="user:alice"),
            "lane": "orders:a",
        }
        return Request(**(fields | more))

    def command(self, **more: Any) -> Request:
        """A command with a key."""
        return self.request(key=f"key-{next(self._ids):08}", **more)

    def query(self, **more: Any) -> Request:
        return self.request(kind="query", name="order.get", lane="", **more)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Nobody is there yet."""
    bench = Bench()
    yield bench
    for hands in bench.workers:
        hands.bus.running.set()
        await hands.relay.close()
    for gateway in bench.gateways:
        await gateway.close()
