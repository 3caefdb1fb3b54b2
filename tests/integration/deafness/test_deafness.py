"""A gateway that cannot hear Redis knows it within seconds, says so, and makes good what it missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from backchannel.broker.broker import Envelope
from backchannel.telemetry.metrics import measure
from backchannel.testing.services import RedisServer
from backchannel.testing.services.redis_sentinel import RedisSentinel
from backchannel_protocol import frames as f

MakePlace = Callable[[str], Awaitable[Any]]
Eventually = Callable[..., Awaitable[float]]

CHAT = "chat:lobby"
LIVE = "live:host-1"

BOUND = 5.0
"""Seconds within which a deaf gateway knows it."""


async def test_thrown_out_for_its_output_buffer(make_place: MakePlace) -> None:
    """The well-known death: Redis drops a subscriber that does not read, and everybody believes that it listens."""
    with RedisServer(config={"client-output-buffer-limit": "pubsub 256kb 128kb 1"}) as server:
        place = await make_place(server.url)
        gateway = await place.gateway()
        client = await place.listener(gateway, "alice", CHAT, LIVE)
        place.publish(CHAT)
        await place.append(LIVE)
        await client.up_to(CHAT, 1)
        await client.up_to(LIVE, 1)
        before = measure()["deafnesses"]
        topic = place.worker._bus.key("events", CHAT)
        flood = msgspec.msgpack.encode(Envelope(channel=CHAT, name="typing.started", data=b'"%s"' % (b"x" * 500_000)))
        dropped = threading.Event()

        def elsewhere() -> None:
            """What other processes do while this one is busy."""
            try:
                for _ in range(400):
                    if server.command("PUBLISH", topic, flood) == 0:
                        break
                else:
                    raise AssertionError("Redis does not drop the subscriber")
                # Nobody hears these.
                for _ in range(3):
                    assert server.command("PUBLISH", topic, msgspec.msgpack.encode(place.log.append(CHAT))) == 0
                asyncio.run(place.append_elsewhere(LIVE, 3))
            finally:
                dropped.set()

        thread = asyncio.create_task(asyncio.to_thread(elsewhere))
        await asyncio.sleep(0)
        with capture_logs() as lines:
            assert dropped.wait(30)  # the whole process does not read meanwhile
            await thread
            took = await client.up_to(CHAT, 4)
            await client.up_to(LIVE, 4)
            await place.told(gateway, True)

        assert took < BOUND
        assert measure()["deafnesses"] == before + 1
        assert [line["event"].partition(":")[0] for line in lines if line["event"].startswith(("deaf", "hears"))] == [
            "deaf",
            "hears again",
        ]
        place.publish(CHAT)
        await client.up_to(CHAT, 5)


async def test_redis_restarts_empty(own_redis: RedisServer, make_place: MakePlace, eventually: Eventually) -> None:
    """Durable channels lose nothing, live ones begin anew and say so, and presence is as it was."""
    place = await make_place(own_redis.url)
    a, b = [await place.gateway() for _ in range(2)]
    alice = await place.listener(a, "alice", CHAT, LIVE)
    bob = await place.listener(b, "bob", CHAT, LIVE)
    also_alice = await place.listener(b, "alice", CHAT)
    for client in (alice, bob):
        await eventually(lambda client=client: client.present(CHAT) >= {"bob"})
    for _ in range(3):
        place.publish(CHAT)
        await place.append(LIVE)
    for client in (alice, bob):
        await client.up_to(CHAT, 3)
        await client.up_to(LIVE, 3)
    before = measure()["deafnesses"]

    own_redis.kill()
    assert await place.told(a, False) < BOUND
    assert await place.told(b, False) < BOUND
    assert measure()["deafnesses"] == before + 2
    for _ in range(3):
        place.publish(CHAT)
    for client in (alice, bob, also_alice):
        assert await client.up_to(CHAT, 6) < BOUND
    own_redis.start()
    for gateway in (a, b):
        await place.told(gateway, True)
    place.publish(CHAT)
    for client in (alice, bob, also_alice):
        await client.up_to(CHAT, 7)

    # Live: a gap that says reset, before anything of the new epoch.
    for client in (alice, bob):
        await eventually(lambda client=client: client.of(LIVE, f.Gap), "a gap")
    head = await place.append(LIVE)
    assert head.offset == 1
    for client in (alice, bob):
        await eventually(lambda client=client: client.offsets(LIVE) == [1, 2, 3, 1])
        (gap,) = client.of(LIVE, f.Gap)
        assert (gap.reason, gap.epoch, gap.from_, gap.to) == ("reset", head.epoch, 0, 0)
        assert client.of(LIVE, f.Unsubscribed) == []

    # Presence: nobody left, the list is told when it is whole, and what follows is right.
    for client in (alice, bob):
        await eventually(
            lambda client=client: (
                client.of(CHAT, f.Presence)[-1].members is not None and client.present(CHAT) == {"alice", "bob"}
            ),
            "the list",
        )
        assert client.left(CHAT) == set()
        assert client.of(CHAT, f.Presence)[-1].count == 2
        answer = await client.ask(f.PresenceRequest, channel=CHAT)
        assert isinstance(answer, f.Presence)
        assert {member.user for member in answer.members or ()} == {"alice", "bob"}
        revisions = [frame.revision for frame in client.of(CHAT, f.Presence)]
        assert revisions == sorted(revisions)
    also_alice.connection.lost()
    alice.connection.lost()
    await eventually(lambda: bob.present(CHAT) == {"bob"}, "alice's leave")
    assert bob.of(CHAT, f.Presence)[-1].count == 1


@pytest.mark.parametrize("how", ["CLIENT PAUSE", "SIGSTOP"])
async def test_redis_is_paused(how: str, own_redis: RedisServer, make_place: MakePlace, eventually: Eventually) -> None:
    """A quiet gateway notices too. What is durable comes from the store meanwhile; nobody seems to leave."""
    place = await make_place(own_redis.url)
    a, b = [await place.gateway() for _ in range(2)]
    alice = await place.listener(a, "alice", CHAT, LIVE)
    bob = await place.listener(b, "bob", CHAT, LIVE)
    place.publish(CHAT)
    await place.append(LIVE)
    for client in (alice, bob):
        await client.up_to(CHAT, 1)
        await client.up_to(LIVE, 1)

    if how == "SIGSTOP":
        own_redis.pause()
    else:
        await asyncio.to_thread(own_redis.command, "CLIENT", "PAUSE", 13_000, "ALL")
    assert await place.told(a, False) < BOUND
    assert await place.told(b, False) < BOUND
    assert measure()["deaf"] == 2
    place.publish(CHAT)
    for client in (alice, bob):
        assert await client.up_to(CHAT, 2) < BOUND
    refused = await alice.ask(f.Subscribe, channel="chat:new")
    assert (refused.code, refused.outcome, refused.retry) == ("unavailable", "none", True)
    assert refused.retry_after > 0
    if how == "SIGSTOP":
        own_redis.resume()
    for gateway in (a, b):
        await place.told(gateway, True)

    # What could not be begun can be begun now, on the same connection.
    assert isinstance(await alice.ask(f.Subscribe, channel="chat:new"), f.Subscribed)
    place.publish("chat:new")
    await alice.up_to("chat:new", 1)
    # The same Redis, so the same epoch: no gap on live channels.
    for _ in range(2):
        await place.append(LIVE)
    for client in (alice, bob):
        await client.up_to(LIVE, 3)
        assert client.left(CHAT) == set()
    carol = await place.listener(b, "carol", CHAT)
    await eventually(lambda: alice.present(CHAT) >= {"carol"})
    answer = await carol.ask(f.PresenceRequest, channel=CHAT)
    assert {member.user for member in answer.members} == {"alice", "bob", "carol"}


async def test_a_live_channel_is_refused_while_deaf(own_redis: RedisServer, make_place: MakePlace) -> None:
    """Nobody begins to listen to what cannot be heard, also where others do already; durable channels have the log."""
    place = await make_place(own_redis.url)
    gateway = await place.gateway()
    await place.listener(gateway, "alice", CHAT, LIVE)
    bob = await place.connect(gateway, "bob")

    own_redis.kill()
    await place.told(gateway, False)
    refused = await bob.ask(f.Subscribe, channel=LIVE)
    begun = await bob.ask(f.Subscribe, channel=CHAT)

    assert (refused.code, refused.retry_after is not None) == ("unavailable", True)
    assert isinstance(begun, f.Subscribed)
    place.publish(CHAT)
    assert await bob.up_to(CHAT, 1) < BOUND


async def test_redis_is_not_there_at_the_start(own_redis: RedisServer, make_place: MakePlace) -> None:
    """A gateway starts without Redis, is unready, and serves as soon as Redis is there."""
    own_redis.kill()
    place = await make_place(own_redis.url)
    gateway = await place.gateway()
    assert "broker" in gateway.readiness()
    alice = await place.connect(gateway, "alice")
    refused = await alice.ask(f.Subscribe, channel=CHAT)
    assert refused.code == "unavailable"

    own_redis.start()
    await place.told(gateway, True)

    assert isinstance(await alice.ask(f.Subscribe, channel=CHAT), f.Subscribed)
    place.publish(CHAT)
    await alice.up_to(CHAT, 1)


async def test_the_master_is_replaced(make_place: MakePlace, eventually: Eventually) -> None:
    """A replica may lack the newest: live logs begin anew there, durable ones go on, presence is entered anew."""
    with RedisSentinel() as sentinel:
        place = await make_place(sentinel.url)
        a, b = [await place.gateway() for _ in range(2)]
        alice = await place.listener(a, "alice", CHAT, LIVE)
        bob = await place.listener(b, "bob", CHAT, LIVE)
        for _ in range(3):
            place.publish(CHAT)
            await place.append(LIVE)
        for client in (alice, bob):
            await client.up_to(CHAT, 3)
            await client.up_to(LIVE, 3)
        await eventually(lambda: alice.present(CHAT) >= {"bob"})

        failing = asyncio.create_task(asyncio.to_thread(sentinel.fail_over))
        while not failing.done():
            place.publish(CHAT)
            await asyncio.wait([failing], timeout=0.02)  # as often as somebody speaks, until it is over
        await failing
        place.publish(CHAT)

        published = len(place.log.events[CHAT])
        for client in (alice, bob):
            await client.up_to(CHAT, published)
            await eventually(lambda client=client: client.of(LIVE, f.Gap), "a gap")
        await place.append(LIVE)
        for client in (alice, bob):
            await eventually(lambda client=client: client.offsets(LIVE) == [1, 2, 3, 1], "the new epoch's event")
            assert [gap.reason for gap in client.of(LIVE, f.Gap)] == ["reset"]
            assert client.left(CHAT) == set()
        await eventually(
            lambda: (frame := bob.of(CHAT, f.Presence)[-1]).members is not None and frame.count == 2, "the list"
        )
        assert bob.present(CHAT) == {"alice", "bob"}
