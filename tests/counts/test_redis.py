"""What a hop through Redis asks of Redis, by Redis's own count (`INFO commandstats`).

| what                                              | commands of Redis                                       |
|---------------------------------------------------|---------------------------------------------------------|
| k durable or ephemeral events of one channel      | 1 PUBLISH                                               |
| k appends to one live log in one tick             | 1 EVALSHA, with `APPEND` commands in it whatever k is   |
| the same, with publications to be told apart      | 1 EVALSHA, with `APPEND_NAMED` commands in it           |
| hearing events, however many gateways do          | 0                                                       |
| n queries in one tick, answered at once           | 2 PUBLISH: there and back                               |
| n commands in one tick, answered together later   | 3 PUBLISH: there, receipts, answers                     |

k stays below a hundred, where a run of the script ends. Heartbeats, which a process sends whatever it does, are not
counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest

from backchannel.auth.principal import Principal
from backchannel.broker.broker import Envelope, LogBounds, PresenceChange
from backchannel.broker.redis import RedisBroker
from backchannel.bus import Bus, redis_target
from backchannel.relay.redis import RedisRelay, RedisWorkerRelay
from backchannel.relay.relay import Reply, Request, RequestKind
from backchannel.testing.services import RedisServer

APPEND: Final = 9
APPEND_NAMED: Final = 13

# What connections cost, those of the bus and the one that counts.
_OTHERS: Final = ("client", "hello", "ping", "select")

PATIENCE: Final = 15.0
CHANNEL: Final = "live:a"
BOUNDS: Final = LogBounds(size=100, age=3600.0)


class Counts:
    """What Redis was asked since this was made."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._before = self._all()

    def _all(self) -> dict[str, int]:
        told = self._server.command("INFO", "commandstats")
        counts = {name.removeprefix("cmdstat_"): int(stats["calls"]) for name, stats in told.items()}
        return {name: count for name, count in counts.items() if name.partition("|")[0] not in _OTHERS}

    def told(self) -> dict[str, int]:
        """Calls of each command, those in scripts too; without the INFO that asked."""
        counts = {name: count - self._before.get(name, 0) for name, count in self._all().items()}
        counts["info"] -= 1
        return {name: count for name, count in counts.items() if count}


class Hearer:
    """A gateway's broker, and how many events it got."""

    def __init__(self, broker: RedisBroker) -> None:
        self.broker = broker
        self.events = 0
        self._news = asyncio.Event()
        broker.attach(self._receive, self._changed, lambda: None)

    def _receive(self, envelopes: Sequence[Envelope]) -> None:
        self.events += len(envelopes)
        self._news.set()

    def _changed(self, change: PresenceChange) -> None:
        pass

    async def until(self, number: int) -> None:
        """Return once so many have come."""
        async with asyncio.timeout(PATIENCE):
            while self.events < number:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def hearers(own_redis: RedisServer) -> AsyncIterator[list[Hearer]]:
    """Three gateways that hear one channel."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(3):
            bus = Bus(redis_target(own_redis.url))
            await bus.start()
            stack.push_async_callback(bus.close)
            made.append(Hearer(RedisBroker(bus)))  # without a name it keeps no lease
            await made[-1].broker.start()
            stack.push_async_callback(made[-1].broker.close)
            await made[-1].broker.listen(CHANNEL)
        yield made


def event(number: int = 0) -> Envelope:
    """An event of the channel."""
    return Envelope(channel=CHANNEL, name="value.told", data=b'{"value":%d}' % number, time=1)


@pytest.mark.parametrize("number", [1, 50])
async def test_events_of_a_channel_are_one_command(own_redis: RedisServer, hearers: list[Hearer], number: int) -> None:
    """However many a batch publishes, and however many hear them."""
    counts = Counts(own_redis)
    hearers[0].broker.publish([event(n) for n in range(number)])
    for hearer in hearers:
        await hearer.until(number)

    assert counts.told() == {"publish": 1}


@pytest.mark.parametrize("named", [False, True])
async def test_appends_of_a_tick_are_one_step(own_redis: RedisServer, hearers: list[Hearer], named: bool) -> None:
    """A full log: what a run asks for does not grow with the events in it, and hearing them asks for nothing."""
    broker, appended = hearers[0].broker, 0

    async def append(number: int) -> dict[str, int]:
        nonlocal appended
        counts = Counts(own_redis)
        await asyncio.gather(
            *[broker.append(event(n), BOUNDS, f"p{appended + n}" if named else None) for n in range(number)]
        )
        appended += number
        for hearer in hearers:
            await hearer.until(appended)
        return counts.told()

    await append(90)
    await append(90)
    for number in (1, 10, 90):
        told = await append(number)
        assert (told.pop("evalsha"), told["publish"]) == (1, 1)
        assert sum(told.values()) <= (APPEND_NAMED if named else APPEND), told


@pytest.mark.parametrize("number", [1, 32])
@pytest.mark.parametrize(("kind", "publishes"), [("query", 2), ("command", 3)])
async def test_calls_of_a_tick_are_one_message_each_way(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, kind: RequestKind, publishes: int, number: int
) -> None:
    """However many calls a tick brings, and with a receipt only where the answer is not there at once."""
    monkeypatch.setattr("backchannel.relay.member.BEAT", 3600.0)
    async with contextlib.AsyncExitStack() as stack:
        buses = [Bus(redis_target(own_redis.url)) for _ in range(2)]
        for bus in buses:
            await bus.start()
            stack.push_async_callback(bus.close)
        gateway = RedisRelay(buses[0], gateway="g")
        worker = RedisWorkerRelay(buses[1], worker="w", names=["value.ask"])
        for end in (gateway, worker):
            await end.start()
            stack.push_async_callback(end.close)
        loop = asyncio.get_running_loop()

        def take(requests: Sequence[Request]) -> None:
            replies = [Reply(id=request.id, data=b"1") for request in requests]
            if kind == "query":
                worker.reply(replies)
            else:
                loop.call_later(0.01, worker.reply, replies)

        worker.attach(take, lambda request_id: None)
        async with asyncio.timeout(PATIENCE):
            while True:
                if gateway.ready():
                    break
                await asyncio.sleep(0.01)
        counts = Counts(own_redis)
        principal = Principal(user="alice", id="user:alice")
        replies = await asyncio.gather(
            *(
                gateway.ask(
                    Request(id=n, kind=kind, name="value.ask", data=b"{}", principal=principal, lane=f"lane:{n}")
                )
                for n in range(number)
            )
        )

        assert [reply.failure for reply in replies] == [None] * number
        assert counts.told() == {"publish": publishes}
