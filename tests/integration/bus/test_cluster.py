"""Redis Cluster: sharded pub/sub by slot, and slots that move while they are in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from backchannel.bus import Script, redis_target
from backchannel.bus.slots import key_slot
from backchannel.settings import ConfigurationError
from backchannel.testing.services import RedisServer
from backchannel.testing.services.redis_cluster import RedisCluster
from backchannel_protocol import Refused

COUNT = Script.of("count", "return redis.call('INCR', KEYS[1])")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Three masters, shared by this file: slots may be moved, nodes not broken."""
    with RedisCluster() as running:
        yield running


def next_node(cluster: RedisCluster, slot: int) -> RedisServer:
    """A node that does not serve the slot."""
    owner = cluster.owner(slot)
    return cluster.nodes[(cluster.nodes.index(owner) + 1) % len(cluster.nodes)]


async def test_topics_of_all_nodes_are_heard(cluster: RedisCluster, open_bus: Any, heard: Any) -> None:
    """Topics are heard wherever their slot is, each message once, and each subscriber is counted."""
    sender, bus = await open_bus(cluster.url), await open_bus(cluster.url)
    topics = [bus.key("events", str(number)) for number in range(60)]
    assert len({await asyncio.to_thread(cluster.owner, key_slot(topic)) for topic in topics[:20]}) == 3
    await asyncio.gather(*(bus.subscribe(topic, heard) for topic in topics))
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    for topic in topics:
        sender.publish(topic, topic, counts.put_nowait)
    assert [await counts.get() for _ in topics] == [1] * len(topics)
    for topic in topics:
        await heard.until(topic)
    assert len(heard.payloads) == len(topics)


async def test_commands_and_scripts_go_to_the_node_of_their_key(cluster: RedisCluster, open_bus: Any) -> None:
    """Keys of all nodes can be used; all keys of a name can be used together."""
    bus = await open_bus(cluster.url)
    for number in range(30):
        first, second = bus.key("n", str(number)), bus.key("m", str(number))
        assert await bus.run(COUNT, [first, second]) == 1
        assert await bus.call("GET", first, key=first) == b"1"


async def test_a_slot_that_moves_ends_a_subscription_and_it_is_heard_again(
    cluster: RedisCluster, open_bus: Any, told: Any, heard: Any
) -> None:
    """Resharding ends an SSUBSCRIBE though its connection stays: it is told, asked for at the new node, and told."""
    bus, sender = await open_bus(cluster.url), await open_bus(cluster.url)
    topic = bus.key("events", "moving")
    await bus.subscribe(topic, heard)
    for round_ in range(1, 4):
        news = told(bus)
        slot = key_slot(topic)
        to = await asyncio.to_thread(next_node, cluster, slot)
        began = time.monotonic()
        await asyncio.to_thread(cluster.move, slot, to)
        # Sooner than the slots are looked at without a reason.
        assert await news.until("lost", "back") - began < 3
        sender.publish(topic, b"%d" % round_)  # it follows MOVED
        await heard.until(b"%d" % round_)


async def test_moved_and_ask_are_followed(cluster: RedisCluster, open_bus: Any) -> None:
    """A command reaches its key before, while and after its slot moves, and takes effect once."""
    bus = await open_bus(cluster.url)
    key = bus.key("n", "asked")
    slot = key_slot(key)
    to = await asyncio.to_thread(next_node, cluster, slot)
    await asyncio.to_thread(cluster.begin_move, slot, to)
    assert await bus.run(COUNT, [key]) == 1  # ASK: the key is new, so it is made at the slot's next node
    assert await bus.run(COUNT, [key]) == 2
    await asyncio.to_thread(cluster.finish_move, slot, to)
    assert await asyncio.gather(*(bus.run(COUNT, [key]) for _ in range(10))) == list(range(3, 13))
    assert await asyncio.to_thread(to.command, "GET", key) == b"12"


async def test_a_script_that_is_begun_follows_its_slot(cluster: RedisCluster, open_bus: Any) -> None:
    """What needs no task until then is sent on all the same: while its slot moves, and after."""
    bus = await open_bus(cluster.url)
    key = bus.key("n", "begun")
    slot = key_slot(key)
    to = await asyncio.to_thread(next_node, cluster, slot)
    answers: asyncio.Queue[Any] = asyncio.Queue()
    await asyncio.to_thread(cluster.begin_move, slot, to)
    for number in range(1, 4):
        bus.begin(COUNT, [key], [], answers.put_nowait)
        assert await answers.get() == number
        if number == 2:
            await asyncio.to_thread(cluster.finish_move, slot, to)
    assert await asyncio.to_thread(to.command, "GET", key) == b"3"


async def test_a_cluster_and_a_single_server_are_told_apart(
    cluster: RedisCluster, redis_server: RedisServer, open_bus: Any
) -> None:
    """The wrong kind of URL is a mistake that the operator learns at the start, with the right kind."""
    with pytest.raises(ConfigurationError, match=r"redis\+cluster"):
        await open_bus(cluster.nodes[0].url)
    with pytest.raises(ConfigurationError, match="no cluster"):
        await open_bus(f"redis+cluster://127.0.0.1:{redis_server.port}")
    assert redis_target(cluster.url).kind == "cluster"


async def test_an_absent_cluster_is_waited_for(open_bus: Any, told: Any, heard: Any) -> None:
    """`start` returns without a cluster; when its nodes come, what was asked for is heard."""
    running = RedisCluster()
    try:
        bus = await open_bus(running.url)
        news = told(bus)
        topic = bus.key("events", "a")
        with pytest.raises(Refused, match="unavailable"):
            await bus.call("GET", topic, key=topic)
        await asyncio.to_thread(running.start)
        await news.until("back")
        async with asyncio.timeout(10):
            await bus.subscribe(topic, heard)
        await asyncio.wait_for(until_published(bus, topic), 20)
        await heard.until(topic)
    finally:
        await asyncio.to_thread(running.stop)


@pytest.mark.parametrize("program", ["redis", "valkey"])
async def test_a_node_that_dies_and_comes_back(program: Any, open_bus: Any, told: Any, heard: Any) -> None:
    """Without one node its topics are not heard, which is told, and its keys are refused; with it all is as before."""
    running = RedisCluster(program=program)
    try:
        await asyncio.to_thread(running.start)
        bus = await open_bus(running.url)
        topics = [bus.key("events", str(number)) for number in range(30)]
        await asyncio.gather(*(bus.subscribe(topic, heard) for topic in topics))
        news = told(bus)
        dead = running.nodes[1]
        its = next(topic for topic in topics if running.owner(key_slot(topic)) is dead)
        dead.kill()
        await news.until("lost")
        with pytest.raises(Refused, match="unavailable"):
            await bus.call("GET", its, key=its)
        await asyncio.to_thread(dead.start)
        await news.until("lost", "back")
        await asyncio.wait_for(until_published(bus, its), 20)
        await heard.until(its)
    finally:
        await asyncio.to_thread(running.stop)


async def until_published(bus: Any, topic: bytes) -> None:
    """Publish the topic's name on it until somebody gets it."""
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    bus.publish(topic, topic, counts.put_nowait)
    while await counts.get() != 1:
        bus.publish(topic, topic, counts.put_nowait)
