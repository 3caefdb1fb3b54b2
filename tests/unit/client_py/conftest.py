"""A clock, a chance and a server of our own, so that the client's tests need neither time nor network."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
from msgspec import Raw

from backchannel_client import Client, ConnectionClosed
from backchannel_protocol import JSON, MSGPACK, Codec, Limits, Outcome, frames

FrameT = TypeVar("FrameT")
T = TypeVar("T")

# Only a broken test waits this long.
PATIENCE = 5.0


async def soon(work: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await work


class FakeTimer:
    def __init__(self, clock: FakeClock, due: float, callback: Callable[[], object]) -> None:
        self.clock = clock
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._armed = asyncio.Event()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> FakeTimer:
        timer = FakeTimer(self, self.now + delay, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        self._armed.set()
        return timer

    def delays(self) -> list[float]:
        """The seconds until each timer, soonest first."""
        return sorted(round(due - self.now, 6) for due, _, timer in self._timers if not timer.cancelled)

    async def armed(self, delay: float) -> None:
        """Wait until something waits for exactly so many seconds."""
        async with asyncio.timeout(PATIENCE):
            while delay not in self.delays():
                self._armed.clear()
                await self._armed.wait()

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due happen at its moment."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end + 1e-9:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if not timer.cancelled:
                timer.callback()
        self.now = end

    async def elapse(self, seconds: float) -> None:
        """Wait until something waits for so many seconds, then let them pass."""
        await self.armed(seconds)
        self.advance(seconds)


class FakeRandom(random.Random):
    """Chance that always comes out in the middle, and bits that count upwards."""

    def __init__(self) -> None:
        super().__init__(0)
        self._bits = itertools.count(1)

    def random(self) -> float:
        return 0.5

    def getrandbits(self, k: int, /) -> int:
        return next(self._bits)


class FakeTransport:
    """The client's end of a connection to a `Peer`."""

    def __init__(self) -> None:
        self.to_client: asyncio.Queue[bytes | ConnectionClosed] = asyncio.Queue()
        self.to_server: asyncio.Queue[bytes] = asyncio.Queue()
        self.end: ConnectionClosed | None = None
        self.closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def send(self, message: bytes) -> None:
        if self.end is not None:
            raise self.end
        self.to_server.put_nowait(message)

    async def receive(self) -> bytes:
        if self.end is not None and self.to_client.empty():
            raise self.end
        item = await self.to_client.get()
        if isinstance(item, ConnectionClosed):
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        for _ in range(3):
            await asyncio.sleep(0)  # a goodbye takes its time
        self._finish(code)

    def abort(self) -> None:
        self._finish(None)

    def _finish(self, code: int | None) -> None:
        if not self.closed.done():
            self.closed.set_result(code)
        if self.end is None:
            self.end = ConnectionClosed(1006)
            self.to_client.put_nowait(self.end)


class Peer:
    """The server's end of one connection, played by a test."""

    def __init__(self, codec: Codec, transport: FakeTransport) -> None:
        self.codec = codec
        self.transport = transport

    def raw(self, data: Any) -> Raw:
        return Raw(self.codec.encode(data))

    def send(self, frame: Any) -> None:
        self.transport.to_client.put_nowait(self.codec.encode(frame))

    async def receive(self) -> frames.ClientFrame:
        return self.codec.decode_client(await soon(self.transport.to_server.get()))

    async def expect(self, kind: type[FrameT]) -> FrameT:
        """The next frame, which must be of this kind."""
        frame = await self.receive()
        assert isinstance(frame, kind), f"expected {kind.__name__}, got {frame}"
        return frame

    async def greet(self, **fields: Any) -> frames.Connect:
        """Take the client's `connect` and answer it."""
        connect = await self.expect(frames.Connect)
        self.welcome(connect, **fields)
        return connect

    def welcome(self, connect: frames.Connect, **fields: Any) -> None:
        """Answer a `connect`."""
        answer: dict[str, Any] = {
            "id": connect.id,
            "session": "s-1",
            "user": "alice",
            "version": 1,
            "time": 1_700_000_000_000,
            "ping": 25.0,
            "grace": 10.0,
            "limits": Limits(),
        }
        self.send(frames.Connected(**(answer | fields)))

    def reply(self, request: Any, data: Any, positions: dict[str, int] | None = None) -> None:
        self.send(frames.Reply(id=request.id, data=self.raw(data), positions=positions))

    def error(
        self,
        request: Any,
        code: str,
        *,
        retry: bool = False,
        retry_after: float | None = None,
        outcome: Outcome = "none",
    ) -> None:
        self.send(
            frames.Error(
                id=request.id,
                code=code,
                message="No.",
                retry=retry,
                outcome=outcome,
                retry_after=retry_after,
            )
        )

    def subscribed(
        self,
        channel: str,
        offset: int,
        *,
        verdict: frames.Verdict = "new",
        epoch: str = "e1",
        id: int | None = None,  # noqa: A002 - the frame's own word
    ) -> None:
        self.send(frames.Subscribed(channel=channel, verdict=verdict, epoch=epoch, offset=offset, id=id))

    async def accept(self, channel: str, offset: int, **fields: Any) -> frames.Subscribe:
        """Take a `subscribe` for this channel and confirm it."""
        request = await self.expect(frames.Subscribe)
        assert request.channel == channel
        self.subscribed(channel, offset, id=request.id, **fields)
        return request

    def event(self, channel: str, offset: int | None, **fields: Any) -> None:
        values: dict[str, Any] = {"name": "thing.happened", "data": {"n": offset}, "user": "bob", "time": 1} | fields
        values["data"] = self.raw(values["data"])
        self.send(frames.Event(channel=channel, offset=offset, **values))

    def gap(self, channel: str, from_: int, to: int, *, reason: frames.GapReason = "slow", epoch: str = "e1") -> None:
        self.send(frames.Gap(channel=channel, epoch=epoch, from_=from_, to=to, reason=reason))

    def drop(self, code: int = 1006, reason: str = "") -> None:
        """End the connection, as the client sees it."""
        end = ConnectionClosed(code, reason)
        self.transport.end = end
        self.transport.to_client.put_nowait(end)

    async def closed(self) -> int | None:
        """Wait until the client ends the connection: with which code, or None for an abort."""
        return await soon(asyncio.shield(self.transport.closed))


class Server:
    """Accepts the client's connections, one `Peer` each."""

    def __init__(self) -> None:
        self.unreachable = 0
        self.attempts = 0
        self._waiting: asyncio.Queue[Peer] = asyncio.Queue()

    async def connect(self, url: str, codec: Codec) -> FakeTransport:
        self.attempts += 1
        if self.unreachable:
            self.unreachable -= 1
            raise ConnectionClosed(1006, "Nobody listens there.")
        transport = FakeTransport()
        self._waiting.put_nowait(Peer(codec, transport))
        return transport

    async def next(self) -> Peer:
        """The client's next connection."""
        return await soon(self._waiting.get())


class Session:
    """A connected client and its peer."""

    def __init__(self, client: Client, server: Server, peer: Peer, clock: FakeClock) -> None:
        self.client = client
        self.server = server
        self.peer = peer
        self.clock = clock
        self._states: asyncio.Queue[str] = asyncio.Queue()
        self._delay = 0.25
        client.on_state(self._states.put_nowait)

    async def becomes(self, state: str) -> None:
        """Wait for the client's next change of state, which must be this one."""
        assert await soon(self._states.get()) == state

    async def reconnect(self, **fields: Any) -> frames.Connect:
        """Lose the connection and come back; returns the new `connect`."""
        await self.come_back()
        connect = await self.peer.greet(**fields)
        await self.becomes("connected")
        return connect

    async def come_back(self) -> None:
        """Lose the connection, and let the client open another one, which waits for its greeting."""
        self.peer.drop()
        await self.becomes("connecting")
        await self.clock.elapse(self._delay)
        self._delay *= 2
        self.peer = await self.server.next()


@pytest.fixture(params=[JSON, MSGPACK], ids=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> Codec:
    value: Codec = request.param
    return value


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def make_client(clock: FakeClock, server: Server, codec: Codec) -> AsyncIterator[Callable[..., Client]]:
    """Makes clients of the fake server, and closes them in the end."""
    clients: list[Client] = []

    def make(**options: Any) -> Client:
        settings: dict[str, Any] = {"token": "t", "codec": codec, "clock": clock, "random": FakeRandom()}
        client = Client("ws://server/ws", connector=server.connect, **(settings | options))
        clients.append(client)
        return client

    yield make
    for client in clients:
        await soon(client.close())


@pytest.fixture
def opened(make_client: Callable[..., Client], server: Server, clock: FakeClock) -> Callable[..., Awaitable[Session]]:
    """Makes a client and brings it to `connected`."""

    async def open_(*, greeting: dict[str, Any] | None = None, **options: Any) -> Session:
        client = make_client(**options)
        connecting = asyncio.create_task(client.connect())
        peer = await server.next()
        await peer.greet(**(greeting or {}))
        await soon(connecting)
        return Session(client, server, peer, clock)

    return open_


@pytest.fixture
async def session(opened: Callable[..., Awaitable[Session]]) -> Session:
    return await opened()
