"""Failover by Sentinel: the bus follows the master, whatever became of the old one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from backchannel.bus import Script
from backchannel.settings import ConfigurationError
from backchannel.testing.services.redis_sentinel import RedisSentinel
from backchannel_protocol import Refused

COUNT = Script.of("count", "return redis.call('INCR', KEYS[1])")


@pytest.fixture
def sentinel() -> Iterator[RedisSentinel]:
    """A master, a replica and a Sentinel for one test."""
    with RedisSentinel() as running:
        yield running


async def until_written(bus: Any, key: bytes) -> None:
    """Return once a write succeeds; until then each is refused as not done or unknown."""
    async with asyncio.timeout(20):
        while True:
            try:
                await bus.run(COUNT, [key])
            except Refused as refused:
                await asyncio.sleep(0.01 if refused.outcome == "none" else 0)
            else:
                return


async def assert_follows(sentinel: RedisSentinel, bus: Any, topic: bytes, heard: Any) -> None:
    """The bus writes to, and hears, the server that is the master now."""
    await until_written(bus, topic)
    master = await asyncio.to_thread(lambda: sentinel.master)
    assert await asyncio.to_thread(master.command, "EXISTS", topic) == 1
    assert await asyncio.to_thread(master.command, "PUBLISH", topic, b"from the new master") >= 1
    await heard.until(b"from the new master")


async def test_an_ordered_failover(sentinel: RedisSentinel, open_bus: Any, told: Any, heard: Any) -> None:
    """When the replica becomes the master, the bus moves there, subscribes again, and tells lost and back."""
    bus = await open_bus(sentinel.url)
    topic = bus.key("n", "a")
    await bus.subscribe(topic, heard)
    await bus.run(COUNT, [topic])
    news = told(bus)
    await asyncio.to_thread(sentinel.fail_over)
    await news.until("lost", "back")
    await assert_follows(sentinel, bus, topic, heard)


async def test_a_dead_master_is_replaced(sentinel: RedisSentinel, open_bus: Any, told: Any, heard: Any) -> None:
    """After SIGKILL of the master the bus serves on the replica that was made the master."""
    bus = await open_bus(sentinel.url)
    topic = bus.key("n", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    old = await asyncio.to_thread(lambda: sentinel.master)
    old.kill()
    await news.until("lost")
    await asyncio.to_thread(sentinel.until_master_is_not, old)
    await news.until("lost", "back")
    await assert_follows(sentinel, bus, topic, heard)


async def test_a_stopped_master_that_wakes_up_is_not_used(
    sentinel: RedisSentinel, open_bus: Any, told: Any, heard: Any
) -> None:
    """A master that was replaced while it was stopped gets nothing when it goes on."""
    bus = await open_bus(sentinel.url)
    topic = bus.key("n", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    old = await asyncio.to_thread(lambda: sentinel.master)
    old.pause()
    try:
        await asyncio.to_thread(sentinel.until_master_is_not, old)
        await news.until("lost", "back")
    finally:
        old.resume()
    await assert_follows(sentinel, bus, topic, heard)


async def test_a_master_that_only_the_clients_still_believe_in_is_left(
    sentinel: RedisSentinel, open_bus: Any, told: Any, heard: Any
) -> None:
    """Where the Sentinels name another master, the old one is left although it answers and calls itself a master."""
    bus = await open_bus(sentinel.url)
    topic = bus.key("n", "a")
    await bus.subscribe(topic, heard)
    await bus.run(COUNT, [topic])
    news = told(bus)
    old, new = await asyncio.to_thread(lambda: (sentinel.master, sentinel.replica))

    def part() -> None:
        sentinel.sentinel.command("SENTINEL", "REMOVE", sentinel.service)
        new.command("REPLICAOF", "NO", "ONE")
        sentinel.sentinel.command("SENTINEL", "MONITOR", sentinel.service, "127.0.0.1", new.port, 1)

    await asyncio.to_thread(part)
    assert old.command("ROLE")[0] == b"master"
    await news.until("lost", "back")
    await assert_follows(sentinel, bus, topic, heard)


async def test_a_sentinel_s_own_password(open_bus: Any) -> None:
    """A Sentinel that wants a login gets its own one, and one that refuses is told at the start."""
    running = RedisSentinel(password="sesame")
    try:
        await asyncio.to_thread(running.start)
        bus = await open_bus(f"{running.url}?sentinel_password=sesame")
        assert bus.hearing
        for wrong in ("", "?sentinel_password=other"):
            with pytest.raises(ConfigurationError, match="sentinel_password") as caught:
                await open_bus(running.url + wrong)
            assert "other" not in str(caught.value)
    finally:
        await asyncio.to_thread(running.stop)


async def test_without_a_sentinel_it_is_absent_and_waited_for(open_bus: Any, told: Any, heard: Any) -> None:
    """Nobody who knows the master is like no Redis at all, until somebody does."""
    running = RedisSentinel()
    try:
        bus = await open_bus(running.url)
        news = told(bus)
        with pytest.raises(Refused, match="unavailable"):
            await bus.call("PING", key=b"")
        await asyncio.to_thread(running.start)
        await news.until("back")
    finally:
        await asyncio.to_thread(running.stop)
