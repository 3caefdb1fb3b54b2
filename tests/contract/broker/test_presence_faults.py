"""Presence stays right through what befalls Redis and gateways."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from backchannel.broker.redis import RedisBroker
from backchannel.bus import Bus, redis_target
from backchannel.testing.services import RedisServer

Joiner = Callable[..., Awaitable[Any]]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

CHANNEL = "chat:lobby"


@pytest.fixture
def kept_redis() -> Iterator[RedisServer]:
    """A Redis that keeps what it has over a restart."""
    with RedisServer(persistent=True) as server:
        yield server


class Way:
    """A way to a server that can be closed and opened again."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """The URL of a Redis at its end."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open.is_set():
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer), return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    def close(self) -> None:
        """Nothing passes any more, and nobody is let in."""
        self._open.clear()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def open(self) -> None:
        """Let in whoever comes."""
        self._open.set()

    async def stop(self) -> None:
        """End it."""
        self.close()
        assert self._server is not None
        self._server.close()


@pytest.fixture
async def way(own_redis: RedisServer) -> AsyncIterator[Way]:
    """A way to the test's own Redis."""
    way = Way(own_redis.port)
    yield way
    await way.stop()


def left(end: Any) -> set[str]:
    """Of whom it was told that they left."""
    return {user for change in end.changes for user in change.left}


def whole(end: Any) -> bool:
    """Whether the last change says that the list is whole again."""
    return bool(end.changes) and not (end.changes[-1].joined or end.changes[-1].left)


@pytest.mark.parametrize("kept", [False, True])
async def test_presence_outlives_a_restart_of_redis(
    kept: bool, own_redis: RedisServer, kept_redis: RedisServer, redis_prefix: str, join: Joiner
) -> None:
    """Empty or as of a second ago: connections are entered anew, nobody seems to leave, no revision goes back."""
    server = kept_redis if kept else own_redis
    a, b = [await join(server.url, redis_prefix, grace=2.0) for _ in range(2)]
    for end in (a, b):
        await end.broker.listen(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    await b.broker.enter(CHANNEL, "bob", "c2")
    await b.broker.enter(CHANNEL, "alice", "c3")
    for end in (a, b):
        await end.told(CHANNEL, joined={"alice", "bob"})
    before = await a.broker.presence(CHANNEL)

    server.kill()
    server.start()
    for end in (a, b):
        await end.until(lambda end=end: whole(end))

    state = await b.broker.presence(CHANNEL)
    assert sorted(member.user for member in state.members) == ["alice", "bob"]
    assert state.settling == 0
    for end in (a, b):
        assert left(end) == set()
        assert end.changes[-1].count == 2
        revisions = [change.revision for change in end.changes]
        assert revisions == sorted(set(revisions))
        assert end.changes[-1].revision > before.revision
    await b.broker.leave(CHANNEL, "alice", "c3")
    await a.broker.leave(CHANNEL, "alice", "c1")
    await b.until(lambda: left(b) == {"alice"})
    assert await a.users(CHANNEL) == ["bob"]


async def test_what_happens_while_redis_is_gone_is_told_later(
    own_redis: RedisServer, redis_prefix: str, join: Joiner, eventually: Eventually
) -> None:
    """Who comes and goes meanwhile is right afterwards, and nobody waits for Redis."""
    a, b = [await join(own_redis.url, redis_prefix, grace=1.0) for _ in range(2)]
    await b.broker.listen(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    await a.broker.enter(CHANNEL, "bob", "c2")
    await b.told(CHANNEL, joined={"alice", "bob"})
    own_redis.kill()

    async def deaf() -> bool:
        return not a.broker.hears()

    await eventually(deaf)
    async with asyncio.timeout(5):
        await a.broker.leave(CHANNEL, "alice", "c1")
        await a.broker.enter(CHANNEL, "carol", "c3")
        await a.broker.enter(CHANNEL, "dave", "c4")
        await a.broker.leave(CHANNEL, "dave", "c4")

    own_redis.start()

    await b.present(CHANNEL, "bob", "carol")
    assert await a.users(CHANNEL) == ["bob", "carol"]


async def test_the_list_is_not_told_before_it_is_whole(
    own_redis: RedisServer, redis_prefix: str, join: Joiner, eventually: Eventually
) -> None:
    """Until every gateway had its time, a list says for how long somebody may be missing from it."""
    a, b = [await join(own_redis.url, redis_prefix, grace=3.0) for _ in range(2)]
    await b.broker.listen(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    await b.told(CHANNEL, joined={"alice"})
    losses = b.losses
    own_redis.kill()
    own_redis.start()
    await b.until(lambda: b.losses > losses)

    async def entered() -> bool:
        state = await b.broker.presence(CHANNEL)
        assert state.settling > 0
        return bool(state.members)

    await eventually(entered)
    assert left(b) == set()
    await b.until(lambda: whole(b))


async def test_a_gateway_that_was_cut_off_takes_another_name(
    own_redis: RedisServer, way: Way, redis_prefix: str, join: Joiner, eventually: Eventually
) -> None:
    """Counted as gone while it could not be reached, it enters its connections anew; nobody left or counts twice."""
    a = await join(await way.start(), redis_prefix, grace=10.0, gateway="a")
    b = await join(own_redis.url, redis_prefix, grace=10.0, gateway="b")
    await asyncio.gather(a.broker.listen(CHANNEL), b.broker.listen(CHANNEL))
    await a.broker.enter(CHANNEL, "alice", "c1")
    await a.broker.enter(CHANNEL, "bob", "c2")
    await b.broker.enter(CHANNEL, "bob", "c3")
    await b.told(CHANNEL, joined={"alice", "bob"})

    def connections(gateway: str) -> int:
        return int(own_redis.command("HLEN", f"{redis_prefix}:main:rows:{{{CHANNEL}}}:{gateway}"))

    async def cleared() -> bool:
        return connections("a.1") == 0

    async def entered_anew() -> bool:
        return connections("a.2") == 2

    assert connections("a.1") == 2
    way.close()
    await eventually(cleared)
    way.open()
    await eventually(entered_anew)

    assert left(b) == set()
    await a.broker.leave(CHANNEL, "alice", "c1")
    await a.broker.leave(CHANNEL, "bob", "c2")
    await b.until(lambda: left(b) == {"alice"})
    assert await b.users(CHANNEL) == ["bob"]
    assert connections("a.1") == connections("a.2") == 0


async def test_a_gateway_that_wakes_late_takes_another_name(
    redis_server: RedisServer, redis_prefix: str, join: Joiner, eventually: Eventually
) -> None:
    """Stopped past its lease, with its connections to Redis whole, it does not go on where it was."""
    b = await join(redis_server.url, redis_prefix, grace=10.0, gateway="b")
    await b.broker.listen(CHANNEL)
    entered, wake, done = threading.Event(), threading.Event(), threading.Event()

    async def stopped_for_a_while() -> None:
        bus = Bus(redis_target(redis_server.url), prefix=redis_prefix)
        await bus.start()
        broker = RedisBroker(bus, grace=10.0, gateway="a")
        await broker.start()
        await broker.enter(CHANNEL, "alice", "c1")
        entered.set()
        assert wake.wait(30)  # nothing of this gateway runs, as if its process were stopped
        await broker.enter(CHANNEL, "carol", "c2")
        await asyncio.to_thread(done.wait, 30)
        await broker.close()
        await bus.close()

    def connections(gateway: str) -> int:
        return int(redis_server.command("HLEN", f"{redis_prefix}:main:rows:{{{CHANNEL}}}:{gateway}"))

    async def cleared() -> bool:
        return connections("a.1") == 0

    async def entered_anew() -> bool:
        return connections("a.2") == 2

    gateway = asyncio.create_task(asyncio.to_thread(asyncio.run, stopped_for_a_while()))
    try:
        await asyncio.to_thread(entered.wait, 30)
        await eventually(cleared)
        wake.set()
        await eventually(entered_anew)
        await b.told(CHANNEL, joined={"alice", "carol"})
        assert connections("a.1") == 0
    finally:
        wake.set()
        done.set()
        await gateway


async def test_nobody_is_gone_because_redis_was_paused(own_redis: RedisServer, redis_prefix: str, join: Joiner) -> None:
    """A Redis that answers nobody for longer than lease and grace is nobody's death."""
    # Whoever comes first afterwards could take the others for dead; most are workers.
    for _ in range(4):
        await join(own_redis.url, redis_prefix, grace=1.0, gateway=None)
    a, b = [await join(own_redis.url, redis_prefix, grace=1.0) for _ in range(2)]
    for end in (a, b):
        await end.broker.listen(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    await b.broker.enter(CHANNEL, "bob", "c2")
    await a.told(CHANNEL, joined={"alice", "bob"})
    losses = a.losses, b.losses

    own_redis.command("CLIENT", "PAUSE", 7000, "ALL")
    for end, before in zip((a, b), losses, strict=True):
        await end.until(lambda end=end, before=before: end.losses > before)
    await a.broker.enter(CHANNEL, "carol", "c3")
    await b.told(CHANNEL, joined={"alice", "bob", "carol"})

    assert await b.users(CHANNEL) == ["alice", "bob", "carol"]
    assert left(a) == left(b) == set()


async def test_a_room_that_redis_evicted_is_entered_anew(
    redis_server: RedisServer, redis_prefix: str, join: Joiner
) -> None:
    """A key that is gone is noticed at the next change, and revisions go on."""
    a, b = [await join(redis_server.url, redis_prefix, grace=1.0) for _ in range(2)]
    for end in (a, b):
        await end.broker.listen(CHANNEL)
    await a.broker.enter(CHANNEL, "alice", "c1")
    await b.broker.enter(CHANNEL, "bob", "c2")
    await a.told(CHANNEL, joined={"alice", "bob"})
    before = a.changes[-1].revision

    redis_server.command("DEL", f"{redis_prefix}:main:room:{{{CHANNEL}}}")
    await a.broker.enter(CHANNEL, "carol", "c3")
    await a.until(lambda: whole(a))
    await b.present(CHANNEL, "alice", "bob", "carol")

    assert left(a) == set()
    assert a.changes[-1].revision > before
