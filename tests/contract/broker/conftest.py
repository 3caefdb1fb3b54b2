"""Brokers of every kind, and what arrives there."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from backchannel.broker.broker import Broker, Envelope, PresenceChange
from backchannel.broker.memory import MemoryBroker
from backchannel.broker.redis import RedisBroker
from backchannel.bus import Bus, redis_target
from backchannel.testing.services import RedisServer
from backchannel.testing.services.redis_cluster import RedisCluster
from backchannel_protocol import Refused

PATIENCE = 20.0
"""Seconds that a test waits for what must come; nothing ever waits this long when it passes."""

GRACE = 0.2


class End:
    """One broker, and everything that it brought."""

    def __init__(self, broker: Broker, bus: Bus | None = None) -> None:
        self.broker = broker
        self.bus = bus
        self.envelopes: list[Envelope] = []
        self.changes: list[PresenceChange] = []
        self.losses = 0
        self._news = asyncio.Event()
        broker.attach(self._receive, self._changed, self._lost)

    def _receive(self, envelopes: Sequence[Envelope]) -> None:
        self.envelopes += envelopes
        self._news.set()

    def _changed(self, change: PresenceChange) -> None:
        self.changes.append(change)
        self._news.set()

    def _lost(self) -> None:
        self.losses += 1
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once what arrived fulfils this."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def events(self, channel: str, number: int) -> list[Envelope]:
        """The events of a channel once there are so many."""

        def found() -> list[Envelope]:
            return [envelope for envelope in self.envelopes if envelope.channel == channel]

        await self.until(lambda: len(found()) >= number)
        return found()

    async def told(self, channel: str, *, joined: set[str] = frozenset(), left: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Return once exactly these came and left, in whatever portions."""

        def changes() -> list[PresenceChange]:
            return [change for change in self.changes if change.channel == channel]

        await self.until(lambda: {member.user for change in changes() for member in change.joined} >= joined)
        await self.until(lambda: {user for change in changes() for user in change.left} >= left)
        assert {member.user for change in changes() for member in change.joined} == joined
        assert {user for change in changes() for user in change.left} == left

    async def users(self, channel: str) -> list[str]:
        """Who is present, sorted."""
        return sorted(member.user for member in (await self.broker.presence(channel)).members)

    async def present(self, channel: str, *users: str) -> None:
        """Return once exactly these are present and it is certain."""

        async def so() -> bool:
            state = await self.broker.presence(channel)
            return not state.settling and sorted(member.user for member in state.members) == sorted(users)

        await eventually(so)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; each question is a round trip. One that cannot be answered now is asked again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(Refused):
                if await condition():
                    return
            await asyncio.sleep(0.02)


@pytest.fixture(name="eventually", scope="session")
def eventually_fixture() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Asks until an answer is as wanted."""
    return eventually


Joiner = Callable[..., Awaitable[End]]


@pytest.fixture
async def join() -> AsyncIterator[Joiner]:
    """Makes brokers on Redis: `await join(url, prefix, grace=…, gateway=…)`. They are closed with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(url: str, prefix: str, *, grace: float = GRACE, gateway: str | None = "") -> End:
            bus = Bus(redis_target(url), prefix=prefix)
            await bus.start()
            stack.push_async_callback(bus.close)
            name = secrets.token_hex(4) if gateway == "" else gateway
            broker = RedisBroker(bus, grace=grace, gateway=name)
            end = End(broker, bus)
            await broker.start()
            stack.push_async_callback(broker.close)
            return end

        yield make


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster that these tests share."""
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    """A Valkey that these tests share."""
    with RedisServer(program="valkey") as server:
        yield server


@pytest.fixture(params=["memory", "redis", "cluster", "valkey"])
async def end(request: pytest.FixtureRequest, redis_prefix: str, join: Joiner) -> AsyncIterator[End]:
    """A broker of each kind."""
    if request.param == "memory":
        broker = MemoryBroker(grace=GRACE)
        yield End(broker)
        await broker.close()
        return
    server: Any = request.getfixturevalue(
        {"redis": "redis_server", "cluster": "redis_cluster", "valkey": "valkey_server"}[request.param]
    )
    yield await join(server.url, redis_prefix)


@pytest.fixture(scope="session")
def event() -> Callable[..., Envelope]:
    """Makes an event."""

    def make(channel: str, n: int = 0, **fields: Any) -> Envelope:
        fields.setdefault("time", int(time.time() * 1000))
        return Envelope(channel=channel, name="value.told", data=b'{"n":%d}' % n, **fields)

    return make
