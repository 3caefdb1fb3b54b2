"""What holds over several gateways around one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backchannel.broker.broker import Envelope, LogBounds
from backchannel.broker.redis import RedisBroker
from backchannel.bus import Bus, redis_target
from backchannel.testing.services import RedisServer

Make = Callable[..., Envelope]
Joiner = Callable[..., Awaitable[Any]]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

CHANNEL = "chat:lobby"
BOUNDS = LogBounds(size=100, age=3600.0)


@pytest.fixture(params=["redis", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Where Redis is."""
    server: Any = request.getfixturevalue({"redis": "redis_server", "cluster": "redis_cluster"}[request.param])
    found: str = server.url
    return found


async def test_an_event_comes_to_every_gateway_that_listens(
    url: str, redis_prefix: str, join: Joiner, event: Make
) -> None:
    """Whoever publishes, a worker too, is heard by all who listen and by nobody else."""
    a, b, idle = [await join(url, redis_prefix) for _ in range(3)]
    worker = await join(url, redis_prefix, gateway=None)
    await asyncio.gather(a.broker.listen(CHANNEL), b.broker.listen(CHANNEL), idle.broker.listen("chat:kitchen"))

    worker.broker.publish([event(CHANNEL, 1, epoch="e", offset=1)])
    await worker.broker.append(event("metrics:x"), BOUNDS)
    idle.broker.publish([event(CHANNEL, 2), event("chat:kitchen", 3)])

    assert [e.data for e in await a.events(CHANNEL, 2)] == [e.data for e in await b.events(CHANNEL, 2)]
    await idle.events("chat:kitchen", 1)
    assert len(idle.envelopes) == 1
    assert worker.envelopes == []


async def test_appends_of_all_gateways_share_one_log(url: str, redis_prefix: str, join: Joiner, event: Make) -> None:
    """Offsets are dense over all who append, and everybody hears them in that order."""
    a, b = [await join(url, redis_prefix) for _ in range(2)]
    await asyncio.gather(a.broker.listen(CHANNEL), b.broker.listen(CHANNEL))

    heads = await asyncio.gather(*[end.broker.append(event(CHANNEL), BOUNDS) for end in (a, b) * 30])

    assert sorted(head.offset for head in heads) == list(range(1, 61))
    assert len({head.epoch for head in heads}) == 1
    for end in (a, b):
        assert [e.offset for e in await end.events(CHANNEL, 60)] == list(range(1, 61))


async def test_a_publication_is_one_whoever_repeats_it(url: str, redis_prefix: str, join: Joiner, event: Make) -> None:
    """Another process that repeats an append with its publication gets the same offset."""
    a, b = [await join(url, redis_prefix) for _ in range(2)]

    first = await a.broker.append(event(CHANNEL), BOUNDS, "p")

    assert await b.broker.append(event(CHANNEL), BOUNDS, "p") == first


async def test_prefixes_and_tenants_do_not_mix(url: str, redis_prefix: str, join: Joiner, event: Make) -> None:
    """Another installation on the same Redis hears nothing of this one, and has its own logs and presence."""
    a = await join(url, redis_prefix)
    other = await join(url, f"{redis_prefix}-other")
    await asyncio.gather(a.broker.listen(CHANNEL), other.broker.listen(CHANNEL))

    await a.broker.append(event(CHANNEL), BOUNDS)
    await a.broker.enter(CHANNEL, "alice", "c1")
    other.broker.publish([event(CHANNEL, 7)])

    assert [e.data for e in await other.events(CHANNEL, 1)] == [b'{"n":7}']
    assert (await other.broker.head(CHANNEL)).offset == 0
    assert await other.users(CHANNEL) == []


async def test_a_user_on_many_gateways_is_present_once(url: str, redis_prefix: str, join: Joiner) -> None:
    """Only the first connection of all comes, only the last one leaves; everybody counts the same."""
    a, b, worker = [await join(url, redis_prefix, gateway=name) for name in ("a", "b", None)]
    await asyncio.gather(a.broker.listen(CHANNEL), b.broker.listen(CHANNEL))

    await a.broker.enter(CHANNEL, "alice", "c1")
    await b.broker.enter(CHANNEL, "alice", "c2")
    await b.broker.enter(CHANNEL, "alice", "c3")
    await a.broker.leave(CHANNEL, "alice", "c1")
    await b.broker.leave(CHANNEL, "alice", "c2")
    await b.broker.enter(CHANNEL, "bob", "c4")
    for end in (a, b):
        await end.told(CHANNEL, joined={"alice", "bob"})
        assert [change.count for change in end.changes] == [1, 2]
    assert await worker.users(CHANNEL) == ["alice", "bob"]
    await b.broker.leave(CHANNEL, "alice", "c3")

    for end in (a, b):
        await end.told(CHANNEL, joined={"alice", "bob"}, left={"alice"})
    assert a.changes == b.changes
    revisions = [change.revision for change in a.changes]
    assert revisions == list(range(revisions[0], revisions[0] + 3))
    assert await a.users(CHANNEL) == await worker.users(CHANNEL) == ["bob"]


async def test_the_same_connection_id_on_two_gateways_is_two_connections(
    url: str, redis_prefix: str, join: Joiner
) -> None:
    """Rows belong to a gateway and its connection."""
    a, b = [await join(url, redis_prefix) for _ in range(2)]
    await a.broker.listen(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    await b.broker.enter(CHANNEL, "alice", "c1")
    await a.broker.leave(CHANNEL, "alice", "c1")
    await b.broker.enter(CHANNEL, "bob", "c2")
    await b.broker.leave(CHANNEL, "bob", "c2")
    await a.told(CHANNEL, joined={"alice", "bob"}, left={"bob"})

    assert await a.users(CHANNEL) == ["alice"]


async def test_a_gateway_that_closes_takes_its_presence_along(url: str, redis_prefix: str, join: Joiner) -> None:
    """Whoever was connected to it is gone after the grace, unless connected elsewhere meanwhile."""
    a, b = [await join(url, redis_prefix) for _ in range(2)]
    await b.broker.listen(CHANNEL)
    for n, user in enumerate(["alice", "bob", "carol"]):
        await a.broker.enter(CHANNEL, user, f"c{n}")
    await b.broker.enter(CHANNEL, "bob", "c9")

    await a.broker.close()

    await b.told(CHANNEL, joined={"alice", "bob", "carol"}, left={"alice", "carol"})
    assert b.changes[-1].count == 1
    assert await b.users(CHANNEL) == ["bob"]


async def test_a_dead_gateways_presence_is_gone_in_time(url: str, redis_prefix: str, join: Joiner) -> None:
    """A gateway that dies is missed by the others: in every channel its users leave, however many there are."""
    a = await join(url, redis_prefix, grace=3.0)
    b = await join(url, redis_prefix, grace=3.0)
    channels = [f"chat:{n}" for n in range(150)]
    await asyncio.gather(*[b.broker.listen(channel) for channel in channels])
    await asyncio.gather(*[a.broker.enter(channel, "alice", f"c-{channel}") for channel in channels])
    await asyncio.gather(*[b.broker.enter(channel, "bob", f"d-{channel}") for channel in channels])
    loop = asyncio.get_running_loop()

    died = loop.time()
    await a.bus.close()
    await asyncio.gather(*[b.told(channel, joined={"alice", "bob"}, left={"alice"}) for channel in channels])

    # 5 s of lease and some beats; with the grace of 10 s, which counts from the last sign of life, it is 12.
    assert loop.time() - died < 9.0
    assert await b.users(channels[0]) == ["bob"]


async def test_nothing_stays_in_redis_for_ever(redis_server: RedisServer, redis_prefix: str, join: Joiner) -> None:
    """Every key that the broker makes expires unless it is used."""
    a, b = [await join(redis_server.url, redis_prefix) for _ in range(2)]
    await a.broker.listen(CHANNEL)
    event = Envelope(channel=CHANNEL, name="n", data=b"{}", time=1)
    for n in range(5):
        await a.broker.append(event, LogBounds(2, 0.05 if n % 2 else 60.0), f"p{n}" if n % 3 else None)
        await a.broker.read(CHANNEL, 0, 10)
    await b.broker.head("chat:other")
    for end in (a, b):
        await end.broker.enter(CHANNEL, "alice", "c1")
        await end.broker.enter(CHANNEL, "bob", "c2")
    await a.broker.leave(CHANNEL, "alice", "c1")
    await b.broker.leave(CHANNEL, "alice", "c1")

    keys = redis_server.command("KEYS", f"{redis_prefix}:*")

    kinds = {key.split(b":")[2] for key in keys}
    assert kinds >= {b"head", b"log", b"ids", b"room", b"users", b"leaving", b"holders", b"rows", b"leases", b"due"}
    assert [key for key in keys if not 0 < redis_server.command("PTTL", key) <= 7_200_000] == []


async def test_what_is_used_does_not_expire(
    redis_server: RedisServer, redis_prefix: str, join: Joiner, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However quiet a channel is, its log's epoch and who is present stay as long as somebody listens."""
    monkeypatch.setattr("backchannel.broker.redis.KEEP_EVERY", 0.05)
    a = await join(redis_server.url, redis_prefix)
    await a.broker.listen(CHANNEL)
    await a.broker.head(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    keys = redis_server.command("KEYS", f"{redis_prefix}:*")
    assert {key.split(b":")[2] for key in keys} >= {b"head", b"room", b"users", b"holders", b"rows", b"entered"}
    redis_server.command("HSET", f"{redis_prefix}:main:head:{{{CHANNEL}}}", "kept", 0)
    for key in keys:
        redis_server.command("PEXPIRE", key, 30_000)

    async def kept() -> bool:
        return all(redis_server.command("PTTL", key) > 60_000 for key in keys)

    await eventually(kept)


async def test_ids_leave_with_their_events(redis_server: RedisServer, redis_prefix: str, join: Joiner) -> None:
    """The ids of publications are bounded by the log."""
    a = await join(redis_server.url, redis_prefix)
    for n in range(20):
        await a.broker.append(Envelope(channel=CHANNEL, name="n", data=b"{}"), LogBounds(3, 60.0), f"p{n}")

    (ids,) = redis_server.command("KEYS", f"{redis_prefix}:*:ids:*")

    assert redis_server.command("HLEN", ids) == 3


async def test_a_gateway_that_left_everything_keeps_nothing(
    redis_server: RedisServer, redis_prefix: str, join: Joiner, eventually: Eventually
) -> None:
    """When the last connection of a channel has left, only the room's revision stays, until it expires."""
    a = await join(redis_server.url, redis_prefix)
    await a.broker.listen(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    await a.broker.leave(CHANNEL, "alice", "c1")
    await a.told(CHANNEL, joined={"alice"}, left={"alice"})

    async def only_the_room() -> bool:
        keys = redis_server.command("KEYS", f"{redis_prefix}:*")
        return {key.split(b":")[2] for key in keys} == {b"room", b"presence", b"leases"}

    await eventually(only_the_room)


async def test_the_rights_that_are_documented_are_enough(redis_prefix: str) -> None:
    """A Redis user with the commands that bus and broker name, on its own keys and topics, can do everything."""
    import backchannel.broker.redis as module

    assert module.__doc__ is not None
    assert Bus.__doc__ is not None
    words = (module.__doc__ + Bus.__doc__).replace("`", " ").replace(",", " ").split()
    documented = {word for word in words if word.startswith("+")}
    with RedisServer() as server:
        rules = [f"~{redis_prefix}:*", f"&{redis_prefix}:*", *sorted(documented)]
        server.command("ACL", "SETUSER", "app", "on", ">secret", "resetkeys", "resetchannels", "-@all", *rules)
        bus = Bus(redis_target(server.url.replace("://", "://app:secret@")), prefix=redis_prefix)
        await bus.start()
        broker = RedisBroker(bus, grace=0.0, gateway="a")
        await broker.start()
        await broker.listen(CHANNEL)
        for n in range(3):
            await broker.append(Envelope(channel=CHANNEL, name="n", data=b"{}"), LogBounds(1, 60.0), f"p{n}")
        assert len((await broker.read(CHANNEL, 0, 9))[1]) == 1
        await broker.enter(CHANNEL, "alice", "c1")
        assert len((await broker.presence(CHANNEL)).members) == 1
        await broker.leave(CHANNEL, "alice", "c1")
        assert (await broker.presence(CHANNEL)).members == []
        await broker.close()
        await bus.close()
        assert server.command("ACL", "LOG") == []
