"""What goes wrong with Redis, and that the bus tells, recovers and never pretends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from backchannel.bus import Bus, Script, redis_target
from backchannel.bus.connection import Connection
from backchannel.bus.errors import Unreachable
from backchannel.bus.opening import Opener
from backchannel.telemetry.metrics import measure
from backchannel.testing.services import RedisServer, free_port
from backchannel_protocol import Refused

BOUND = 3.0
"""Seconds within which silence is told."""


async def assert_heard_again(bus: Bus, server: RedisServer, topic: bytes, heard: Any) -> None:
    """What somebody else publishes now is received."""
    marker = b"again %d" % len(heard.payloads)
    assert await asyncio.to_thread(server.command, "PUBLISH", topic, marker) == 1
    await heard.until(marker)


async def test_a_killed_connection_is_told_at_once_and_heals(
    own_redis: RedisServer, open_bus: Any, told: Any, heard: Any
) -> None:
    """CLIENT KILL of the subscriber: lost, back, and everything is subscribed again before `back` is told."""
    bus = await open_bus(own_redis.url)
    topics = [bus.key("events", str(number)) for number in range(1000)]
    await asyncio.gather(*(bus.subscribe(topic, heard) for topic in topics))
    news = told(bus)
    reconnects = measure()["bus_reconnects"]
    for round_ in range(3):
        began = time.monotonic()
        assert await asyncio.to_thread(own_redis.command, "CLIENT", "KILL", "TYPE", "pubsub") == 1
        assert await news.until(*["lost", "back"] * round_, "lost") - began < 1
        await news.until(*["lost", "back"] * (round_ + 1))
        counts = await asyncio.to_thread(own_redis.command, "PUBSUB", "NUMSUB", *topics)
        assert counts[1::2] == [1] * len(topics)
    await assert_heard_again(bus, own_redis, topics[-1], heard)
    with capture_logs() as lines:
        await asyncio.to_thread(own_redis.command, "CLIENT", "KILL", "TYPE", "pubsub")
        await news.until(*["lost", "back"] * 4)
    assert [line["event"] for line in lines] == ["redis is lost", "redis is back", "everything is heard"]
    assert measure()["bus_reconnects"] - reconnects == 4


async def test_the_bus_that_does_not_read_is_thrown_out_and_hears_again(
    open_bus: Any, told: Any, new_heard: Any
) -> None:
    """A subscriber that Redis drops for its output buffer is not deaf for a day: it is told, and hears again."""
    with RedisServer(config={"client-output-buffer-limit": "pubsub 256kb 128kb 1"}) as server:
        bus = await open_bus(server.url)
        news = told(bus)
        dropped = threading.Event()
        heard = new_heard()

        def busy(payloads: list[bytes]) -> None:
            heard(payloads)
            if not dropped.is_set():
                assert dropped.wait(30)  # the whole process does not read meanwhile

        def flood() -> int:
            sent = 0
            while server.command("PUBLISH", topic, b"%d" % sent + b"x" * 500_000) == 1:
                sent += 1
                assert sent < 400, "Redis does not drop the subscriber"
            dropped.set()
            return sent

        topic = bus.key("events", "a")
        await bus.subscribe(topic, busy)
        sent = await asyncio.to_thread(flood)
        await news.until("lost", "back")
        await assert_heard_again(bus, server, topic, heard)
        assert len(heard.payloads) <= sent  # some were lost, and that was told


async def test_a_paused_redis_is_told_within_the_bound(
    own_redis: RedisServer, open_bus: Any, told: Any, heard: Any
) -> None:
    """CLIENT PAUSE: within 3 s hearing is lost and commands are refused, though everything is quiet; then it heals."""
    bus = await open_bus(own_redis.url)
    topic = bus.key("events", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    began = time.monotonic()
    await asyncio.to_thread(own_redis.command, "CLIENT", "PAUSE", 4500, "ALL")
    waiting = asyncio.create_task(bus.call("INCR", bus.key("n"), key=topic))
    assert await news.until("lost") - began < BOUND
    with pytest.raises(Refused, match="unavailable") as caught:
        await waiting
    assert caught.value.outcome == "unknown"
    assert time.monotonic() - began < BOUND + 0.2
    assert await news.until("lost", "back") - began > 4
    await assert_heard_again(bus, own_redis, topic, heard)


async def test_a_stopped_redis_is_told_within_the_bound(
    own_redis: RedisServer, open_bus: Any, told: Any, heard: Any
) -> None:
    """SIGSTOP, which closes nothing: told within 3 s; SIGCONT: heals by itself."""
    bus = await open_bus(own_redis.url)
    topic = bus.key("events", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    own_redis.pause()
    began = time.monotonic()
    try:
        assert await news.until("lost") - began < BOUND
    finally:
        own_redis.resume()
    await news.until("lost", "back")
    await assert_heard_again(bus, own_redis, topic, heard)


async def test_a_black_hole_is_told_within_the_bound(
    redis_server: RedisServer, open_bus: Any, open_proxy: Any, told: Any, heard: Any
) -> None:
    """A network that swallows everything and closes nothing is told within 3 s."""
    proxy, url = await open_proxy(redis_server.port)
    bus = await open_bus(url)
    topic = bus.key("events", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    proxy.swallow = True
    began = time.monotonic()
    assert await news.until("lost") - began < BOUND
    proxy.swallow = False
    await news.until("lost", "back")
    await assert_heard_again(bus, redis_server, topic, heard)


async def test_a_redis_that_restarts_empty(own_redis: RedisServer, open_bus: Any, told: Any, heard: Any) -> None:
    """After a restart that forgot everything, topics are heard again and scripts are known again."""
    bus = await open_bus(own_redis.url)
    topic, key = bus.key("events", "a"), bus.key("n", "a")
    script = Script.of("count", "return redis.call('INCR', KEYS[1])")
    await bus.subscribe(topic, heard)
    assert [await bus.run(script, [key]) for _ in range(2)] == [1, 2]
    news = told(bus)
    own_redis.kill()
    await news.until("lost")
    await asyncio.to_thread(own_redis.start)
    await news.until("lost", "back")
    await until_available(bus)
    assert [await bus.run(script, [key]) for _ in range(2)] == [1, 2]
    await assert_heard_again(bus, own_redis, topic, heard)


async def until_available(bus: Bus) -> None:
    """Return once commands are answered: their connection comes back beside the one that hears."""
    async with asyncio.timeout(15):
        while True:
            try:
                await bus.call("PING", key=b"")
            except Refused:
                await asyncio.sleep(0.01)
            else:
                return


async def test_a_reset_in_the_middle_of_a_reply(redis_server: RedisServer, open_bus: Any, open_proxy: Any) -> None:
    """Half a reply is none: all that wait learn that the outcome is unknown, and the next reply is the right one."""
    proxy, url = await open_proxy(redis_server.port)
    bus = await open_bus(url)
    key = bus.key("value")
    await bus.call("SET", key, b"x" * 100_000, key=key)
    proxy.cut_reply_after = 50_000
    answers = await asyncio.gather(
        bus.call("GET", key, key=key), bus.call("ECHO", "after", key=key), return_exceptions=True
    )
    assert [(type(answer), answer.outcome) for answer in answers if isinstance(answer, Refused)] == [
        (Refused, "unknown")
    ] * 2
    await until_available(bus)
    assert await bus.call("ECHO", "right", key=key) == b"right"


async def test_outcomes_are_told_apart(own_redis: RedisServer, open_bus: Any) -> None:
    """A command that was on its way may have happened; one that found no connection did not; neither hangs."""
    bus = await open_bus(own_redis.url)
    key = bus.key("list")
    waiting = asyncio.create_task(bus.call("BLPOP", key, 0, key=key))
    clients = own_redis.command("INFO", "clients")
    async with asyncio.timeout(5):
        while clients["blocked_clients"] != 1:
            await asyncio.sleep(0)
            clients = own_redis.command("INFO", "clients")
    own_redis.kill()
    with pytest.raises(Refused) as caught:
        await waiting
    assert (caught.value.code, caught.value.outcome) == ("unavailable", "unknown")
    with pytest.raises(Refused) as caught:
        await bus.call("PING", key=key)
    assert (caught.value.code, caught.value.outcome, caught.value.retry) == ("unavailable", "none", True)
    assert caught.value.retry_after is not None
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    dropped = measure()["bus_dropped"]
    bus.publish(key, b"lost", counts.put_nowait)
    assert counts.empty()
    assert await counts.get() is None
    assert measure()["bus_dropped"] == dropped + 1


async def test_an_absent_redis_is_waited_for(open_bus: Any, told: Any, heard: Any) -> None:
    """`start` returns without a Redis; what needs one is refused; when it comes, all is as if it had been there."""
    with RedisServer(port=free_port()) as server:
        server.kill()
        bus = await open_bus(server.url)
        news = told(bus)
        assert not bus.hearing
        topic = bus.key("events", "a")
        subscribing = asyncio.create_task(bus.subscribe(topic, heard))
        with pytest.raises(Refused, match="unavailable"):
            await bus.call("PING", key=topic)
        await asyncio.to_thread(server.start)
        await news.until("back")
        await subscribing
        await assert_heard_again(bus, server, topic, heard)


async def test_a_subscribe_without_redis_is_refused_and_withdrawn(
    own_redis: RedisServer, open_bus: Any, told: Any, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time-out the wish is gone: nobody is subscribed when Redis comes back."""
    monkeypatch.setattr("backchannel.bus.subscriptions.SUBSCRIBE_TIMEOUT", 0.1)
    bus = await open_bus(own_redis.url)
    news = told(bus)
    own_redis.kill()
    await news.until("lost")
    topic = bus.key("events", "a")
    with pytest.raises(Refused) as caught:
        await bus.subscribe(topic, heard)
    assert (caught.value.code, caught.value.outcome) == ("unavailable", "none")
    await asyncio.to_thread(own_redis.start)
    await news.until("lost", "back")
    assert await asyncio.to_thread(own_redis.command, "PUBLISH", topic, b"nobody") == 0


async def test_a_redis_that_became_a_replica_is_left(
    own_redis: RedisServer, redis_server: RedisServer, open_bus: Any, told: Any, heard: Any
) -> None:
    """READONLY: the command did not happen, and the connections are given up until a master answers there."""
    bus = await open_bus(own_redis.url)
    topic = bus.key("events", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    await asyncio.to_thread(own_redis.command, "REPLICAOF", "127.0.0.1", redis_server.port)
    with pytest.raises(Refused) as caught:
        await bus.call("SET", topic, 1, key=topic)
    assert (caught.value.code, caught.value.outcome) == ("unavailable", "none")
    await news.until("lost")
    await asyncio.to_thread(own_redis.command, "REPLICAOF", "NO", "ONE")
    await news.until("lost", "back")
    await until_available(bus)
    assert await bus.call("SET", topic, 1, key=topic) == b"OK"
    await assert_heard_again(bus, own_redis, topic, heard)


@pytest.fixture
def slow_to_load() -> Iterator[RedisServer]:
    """A Redis that loads its data for about 2 s."""
    with RedisServer(persistent=True) as server:
        # It looks at its sockets after every 1,024 commands that it has loaded.
        server.command("EVAL", "for number = 1, 4000 do redis.call('SET', number, number) end", 0)
        server.command("CONFIG", "SET", "appendfsync", "always")
        server.command("SET", "last", 1)
        server.kill()
        server.config["key-load-delay"] = "500"
        yield server


async def test_a_redis_that_loads_its_data_is_not_used(slow_to_load: RedisServer, open_bus: Any, told: Any) -> None:
    """LOADING counts as absent: nothing is sent there until the data is back."""
    starting = asyncio.create_task(asyncio.to_thread(slow_to_load.start))
    opener = Opener(target=redis_target(slow_to_load.url), tls=None, client_name="test")
    bus = await open_bus(slow_to_load.url)
    news = told(bus)
    while not starting.done():
        connection = Connection(opener.target.addresses[0], "test", lambda _: None)
        try:
            await opener.open(connection)
        except Unreachable as exc:
            if "LOADING" in str(exc):
                break
        finally:
            connection.abort("done")
        await asyncio.sleep(0.01)
    else:
        pytest.fail("Redis never said that it loads its data")
    assert not bus.hearing
    await news.until("back")
    await until_available(bus)
    assert await bus.call("GET", "last", key=b"") == b"1"
    await starting
