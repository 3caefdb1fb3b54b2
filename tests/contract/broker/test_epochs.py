"""When a live log begins anew: whenever what Redis has may not be all that was heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from backchannel.broker.broker import Envelope, LogBounds, LogHead
from backchannel.testing.services import RedisServer

Make = Callable[..., Envelope]
Joiner = Callable[..., Awaitable[Any]]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

CHANNEL = "metrics:host-1"
BOUNDS = LogBounds(size=100, age=3600.0)


@pytest.fixture
def kept_redis() -> Iterator[RedisServer]:
    """A Redis that keeps what it has over a restart."""
    with RedisServer(persistent=True) as server:
        yield server


async def appended(end: Any, event: Make, number: int) -> LogHead:
    """Where the log stands after so many more events."""
    for n in range(number):
        head = await end.broker.append(event(CHANNEL, n), BOUNDS, f"p{n}")
    found: LogHead = head
    return found


async def restarted(end: Any, server: RedisServer) -> None:
    """Kill Redis, start it, and return when it is heard again."""
    losses = end.losses
    server.kill()
    server.start()
    await end.until(lambda: end.losses > losses)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_restart_is_a_new_epoch(
    kept: bool, own_redis: RedisServer, kept_redis: RedisServer, redis_prefix: str, join: Joiner, event: Make
) -> None:
    """Empty or with what its file had: the last second may be missing there, so offsets could be given twice."""
    server = kept_redis if kept else own_redis
    end = await join(server.url, redis_prefix)
    await end.broker.listen(CHANNEL)
    before = await appended(end, event, 3)
    await end.events(CHANNEL, 3)

    await restarted(end, server)
    after = await end.broker.head(CHANNEL)

    assert (after.offset, after.first) == (0, 1)
    assert after.epoch != before.epoch
    assert await end.broker.append(event(CHANNEL, 9), BOUNDS, "p0") == LogHead(after.epoch, 1, 1)
    heard = await end.events(CHANNEL, 4)
    assert [(e.epoch, e.offset) for e in heard[2:]] == [(before.epoch, 3), (after.epoch, 1)]


async def test_a_promoted_replica_is_a_new_epoch(
    own_redis: RedisServer, redis_prefix: str, join: Joiner, event: Make, eventually: Eventually
) -> None:
    """A replica may lack what its master had told already, so its history is another one."""
    with RedisServer(config={"replicaof": f"127.0.0.1 {own_redis.port}"}) as replica:
        end = await join(own_redis.url, redis_prefix)
        before = await appended(end, event, 3)

        async def replicated() -> bool:
            return bool(replica.command("EXISTS", f"{redis_prefix}:main:head:{{{CHANNEL}}}"))

        await eventually(replicated)
        replica.command("REPLICAOF", "NO", "ONE")
        other = await join(replica.url, redis_prefix)

        after = await other.broker.append(event(CHANNEL), BOUNDS)

    assert after.epoch != before.epoch
    assert after.offset == 1


async def test_a_connection_that_outlives_a_promotion_learns_the_new_epoch(
    own_redis: RedisServer, redis_prefix: str, join: Joiner, event: Make
) -> None:
    """The history is asked of Redis at every append: a server that was a replica for a while is not what it was."""
    with RedisServer() as other:
        end = await join(own_redis.url, redis_prefix)
        before = await appended(end, event, 3)

        own_redis.command("REPLICAOF", "127.0.0.1", other.port)
        own_redis.command("REPLICAOF", "NO", "ONE")
        after = await end.broker.append(event(CHANNEL), BOUNDS)

    assert after.epoch != before.epoch
    assert after.offset == 1


@pytest.mark.parametrize("kind", ["head", "log"])
async def test_a_log_that_lost_a_part_begins_anew(
    kind: str, redis_server: RedisServer, redis_prefix: str, join: Joiner, event: Make
) -> None:
    """Redis may evict a key when its memory is full: without the head or the log the offsets mean nothing."""
    end = await join(redis_server.url, redis_prefix)
    before = await appended(end, event, 3)

    assert redis_server.command("DEL", f"{redis_prefix}:main:{kind}:{{{CHANNEL}}}") == 1
    after = await end.broker.head(CHANNEL)

    assert after.epoch != before.epoch
    assert (after.offset, after.first) == (0, 1)


async def test_a_lost_connection_is_no_new_epoch(
    own_redis: RedisServer, redis_prefix: str, join: Joiner, event: Make
) -> None:
    """The same Redis has the same logs, also after its clients were cut off."""
    end = await join(own_redis.url, redis_prefix)
    await end.broker.listen(CHANNEL)
    before = await appended(end, event, 3)
    losses = end.losses

    own_redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    await end.until(lambda: end.losses > losses)

    assert await end.broker.append(event(CHANNEL), BOUNDS) == LogHead(before.epoch, 4, 1)
