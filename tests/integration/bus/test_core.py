"""The bus against a healthy server, Redis and Valkey alike: one suite for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from backchannel.bus import RedisReplyError, Script
from backchannel.telemetry.metrics import measure
from backchannel.testing.services import RedisServer
from backchannel_protocol import Refused

ADD = Script.of(
    "add",
    """
    redis.call('RPUSH', KEYS[1], ARGV[1])
    return redis.call('LLEN', KEYS[1])
    """,
)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One server of each kind for this file."""
    program: Literal["redis", "valkey"] = request.param
    with RedisServer(program=program) as running:
        yield running


async def test_a_message_goes_to_every_subscriber(server: RedisServer, open_bus: Any, new_heard: Any) -> None:
    """What one process publishes, all that subscribed hear, in order; the publisher learns how many they are."""
    sender, one, two = [await open_bus(server.url) for _ in range(3)]
    topic = sender.key("events", "chat:lobby")
    heards = [new_heard(), new_heard()]
    for bus, heard in zip((one, two), heards, strict=True):
        await bus.subscribe(topic, heard)
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    payloads = [b"%d" % number for number in range(500)] + [b"\x00\r\n\xff" * 1000, b""]
    for payload in payloads:
        sender.publish(topic, payload, counts.put_nowait)
    for heard in heards:
        assert await heard.until(b"") == payloads
    assert [await counts.get() for _ in payloads] == [2] * len(payloads)


async def test_messages_of_a_read_come_together_per_receiver(
    server: RedisServer, open_bus: Any, heard: Any, new_heard: Any
) -> None:
    """Topics that share a receiver share its lists; another topic's receiver gets its own; order is kept in each."""
    sender, bus = await open_bus(server.url), await open_bus(server.url)
    first, second, third = (bus.key("events", name) for name in "abc")
    other = new_heard()
    await asyncio.gather(bus.subscribe(first, heard), bus.subscribe(second, heard), bus.subscribe(third, other))
    for number in range(100):
        sender.publish(first if number % 2 else second, b"%d" % number)
    sender.publish(third, b"other")
    sender.publish(first, b"end")
    assert await heard.until(b"end") == [b"%d" % number for number in range(100)] + [b"end"]
    assert other.payloads == [b"other"]
    assert len(heard.batches) < 50


async def test_an_unsubscribed_topic_is_silent(server: RedisServer, open_bus: Any, heard: Any, new_heard: Any) -> None:
    """After `unsubscribe` nothing more is received, and Redis knows; a later `subscribe` hears again."""
    bus = await open_bus(server.url)
    topic, marker = bus.key("events", "a"), bus.key("events", "b")
    ended = new_heard()
    await bus.subscribe(topic, ended)
    await bus.subscribe(marker, heard)
    bus.publish(topic, b"first")
    await ended.until(b"first")
    bus.unsubscribe(topic)
    bus.publish(topic, b"second")
    bus.publish(marker, b"marker")
    await heard.until(b"marker")
    assert ended.payloads == [b"first"]
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    bus.publish(topic, b"nobody", counts.put_nowait)
    assert await counts.get() == 0
    again = new_heard()
    await bus.subscribe(topic, again)
    bus.publish(topic, b"third")
    assert await again.until(b"third") == [b"third"]


async def test_unsubscribe_and_subscribe_at_once_leave_it_confirmed(
    server: RedisServer, open_bus: Any, heard: Any, new_heard: Any
) -> None:
    """A confirmation of an earlier wish never stands for a later one: what is published after `subscribe` is heard."""
    bus = await open_bus(server.url)
    topic = bus.key("events", "a")
    for round_ in range(20):
        early = asyncio.create_task(bus.subscribe(topic, new_heard()))
        await asyncio.sleep(0)
        bus.unsubscribe(topic)
        receiver = new_heard()
        await bus.subscribe(topic, receiver)
        bus.publish(topic, b"%d" % round_)
        await receiver.until(b"%d" % round_)
        bus.unsubscribe(topic)
        await asyncio.wait([early])
        early.exception()


async def test_a_topic_has_one_receiver(server: RedisServer, open_bus: Any, heard: Any, new_heard: Any) -> None:
    """Asking again with the same receiver shares the subscription; with another one it is a mistake."""
    bus = await open_bus(server.url)
    topic = bus.key("events", "a")
    await asyncio.gather(*(bus.subscribe(topic, heard) for _ in range(3)))
    with pytest.raises(ValueError, match="has a receiver"):
        await bus.subscribe(topic, new_heard())
    bus.publish(topic, b"once")
    bus.publish(topic, b"end")
    assert await heard.until(b"end") == [b"once", b"end"]


async def test_a_cancelled_subscribe_leaves_nothing(server: RedisServer, open_bus: Any, heard: Any) -> None:
    """Whoever gives up waiting is not subscribed."""
    bus = await open_bus(server.url)
    topic = bus.key("events", "a")
    task = asyncio.create_task(bus.subscribe(topic, heard))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    await bus.subscribe(bus.key("events", "b"), heard)  # answered behind the other's end
    bus.publish(topic, b"nobody", counts.put_nowait)
    assert await counts.get() == 0


async def test_commands_and_scripts(server: RedisServer, open_bus: Any) -> None:
    """`call` returns replies of any form, `run` runs a script that the server did not know, and errors are errors."""
    bus = await open_bus(server.url)
    key = bus.key("list", "a")
    assert await bus.call("GET", bus.key("none", "a"), key=key) is None
    assert await bus.run(ADD, [key], [b"one"]) == 1
    assert await asyncio.gather(*(bus.run(ADD, [key], [number]) for number in range(50))) == list(range(2, 52))
    assert await bus.call("LRANGE", key, 0, 1, key=key) == [b"one", b"0"]
    with pytest.raises(RedisReplyError, match="WRONGTYPE") as caught:
        await bus.call("INCR", key, key=key)
    assert caught.value.code == "WRONGTYPE"
    with pytest.raises(RedisReplyError, match=r"(?i)unknown.*command"):
        await bus.run(Script.of("bad", "return redis.call('NOSUCH')"), [key])


async def test_a_script_that_is_begun_answers_its_callback(server: RedisServer, open_bus: Any) -> None:
    """`begin` is `run` for a callback: an unknown script is sent whole, an error comes as what `run` raises."""
    bus = await open_bus(server.url)
    key = bus.key("list", "a")
    answers: asyncio.Queue[Any] = asyncio.Queue()
    fresh = Script.of("fresh", f"{ADD.text} -- {key!r}")
    for _ in range(2):
        bus.begin(fresh, [key], [b"x"], answers.put_nowait)
    assert sorted([await answers.get(), await answers.get()]) == [1, 2]
    bus.begin(fresh, [key], [b"x"], answers.put_nowait)
    assert await answers.get() == 3
    bus.begin(Script.of("bad", "return redis.call('NOSUCH')"), [key], [], answers.put_nowait)
    assert isinstance(await answers.get(), RedisReplyError)
    await bus.close()
    bus.begin(fresh, [key], [b"x"], answers.put_nowait)
    assert answers.empty()
    refused = await answers.get()
    assert isinstance(refused, Refused)
    assert (refused.code, refused.outcome) == ("unavailable", "none")


async def test_everything_of_a_tick_leaves_in_one_write(server: RedisServer, open_bus: Any, open_proxy: Any) -> None:
    """Publishes, commands and scripts of one loop tick reach the wire as one piece."""
    proxy, url = await open_proxy(server.port)
    bus = await open_bus(url)
    key = bus.key("list", "a")
    await bus.run(ADD, [key], ["warm"])
    before = len(proxy.up)

    async def publish() -> None:
        for number in range(20):
            bus.publish(key, b"%d" % number)

    await asyncio.gather(
        publish(),
        *(bus.call("ECHO", number, key=key) for number in range(20)),
        *(bus.run(ADD, [key], ["x"]) for _ in range(20)),
    )
    carrying = [data for data in proxy.up[before:] if data != b"*1\r\n$4\r\nPING\r\n"]
    assert len(carrying) == 1
    assert carrying[0].count(b"PUBLISH") == carrying[0].count(b"ECHO") == carrying[0].count(b"EVALSHA") == 20


async def test_a_cancelled_call_shifts_nobodys_reply(server: RedisServer, open_bus: Any) -> None:
    """Cancelling at any moment leaves every other reply with its own command."""
    bus = await open_bus(server.url)
    key = bus.key("x")
    for pause in range(4):
        tasks = [asyncio.create_task(bus.call("ECHO", number, key=key)) for number in range(50)]
        for _ in range(pause):
            await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for number, answer in enumerate(answers):
            assert isinstance(answer, asyncio.CancelledError) or answer == b"%d" % number


async def test_close_sends_what_waits(server: RedisServer, open_bus: Any, heard: Any) -> None:
    """Whatever was published before `close` is delivered, and a closed bus refuses."""
    bus, sender = await open_bus(server.url), await open_bus(server.url)
    topic = bus.key("events", "a")
    await bus.subscribe(topic, heard)
    payloads = [b"%d" % number * 100 for number in range(5000)]
    for payload in payloads:
        sender.publish(topic, payload)
    await sender.close()
    assert await heard.until(payloads[-1]) == payloads
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    sender.publish(topic, b"late", counts.put_nowait)
    assert await counts.get() is None


async def test_it_is_measured(server: RedisServer, open_bus: Any, heard: Any) -> None:
    """Messages and bytes in both directions, topics, and whether it hears are metrics."""
    before = measure()
    bus = await open_bus(server.url)
    topic = bus.key("events", "a")
    await bus.subscribe(topic, heard)
    bus.publish(topic, b"x" * 1000)
    await heard.until(b"x" * 1000)
    after = measure()
    assert after["bus_messages_in"] - before["bus_messages_in"] == 1
    assert after["bus_messages_out"] - before["bus_messages_out"] == 1
    assert after["bus_bytes_in"] - before["bus_bytes_in"] > 1000
    assert after["bus_bytes_out"] - before["bus_bytes_out"] > 1000
    assert after["bus_hearing"] == after["bus_subscriptions"] == 1
    await bus.close()
    assert "bus_hearing" not in measure()
