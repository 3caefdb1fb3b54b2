"""Gateways around a real Redis that a test breaks; the store and the clients' sockets are in memory."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest

from backchannel.app import App, Namespace
from backchannel.auth.principal import Principal
from backchannel.broker.broker import Envelope, LogBounds, LogHead
from backchannel.broker.redis import RedisBroker
from backchannel.bus import Bus, redis_target
from backchannel.gateway.connection import Connection
from backchannel.gateway.framing import payloads
from backchannel.gateway.gateway import Gateway, GatewayOptions
from backchannel.relay.relay import Grant, May, MayReply, Reply, Request
from backchannel_protocol import JSON, Event, Refused
from backchannel_protocol import frames as f

PATIENCE = 25.0
"""Seconds that a test waits for what must come; nothing ever waits this long when it passes."""

GRACE = 3.0


async def eventually(condition: Callable[[], bool], what: str = "it") -> float:
    """Return, once it is so, how long that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise AssertionError(f"{what} never came to be.")
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def make_app() -> App:
    """A namespace of each kind."""
    app = App("test")

    @app.namespace("chat")
    class Chat(Namespace):
        presence = True

    @app.namespace("live")
    class Live(Namespace):
        kind = "live"
        presence = True

    @app.event("message.created")
    class Created(Event):
        n: int = 0

    @app.event("typing.started", ephemeral=True)
    class Typing(Event):
        text: str = ""

    return app


class Log:
    """The durable logs of a store that never fails."""

    def __init__(self) -> None:
        self.events: dict[str, list[Envelope]] = {}

    def append(self, channel: str) -> Envelope:
        """One event more, committed."""
        events = self.events.setdefault(channel, [])
        n = len(events) + 1
        data = b'{"n":%d}' % n
        event = Envelope(channel=channel, name="message.created", data=data, epoch="durable", offset=n, time=1)
        events.append(event)
        return event

    async def head(self, channel: str) -> LogHead:
        return LogHead("durable", len(self.events.get(channel, ())), 1)

    async def heads(self, channels: Sequence[str]) -> dict[str, LogHead]:
        """The heads of several logs."""
        return {channel: await self.head(channel) for channel in channels}

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        return await self.head(channel), self.events.get(channel, [])[after : after + limit]

    async def changed(self, since: int) -> dict[str, LogHead]:
        return {channel: await self.head(channel) for channel in self.events}

    async def close(self) -> None:
        pass


class Relay:
    """A worker that allows everything."""

    async def ask(self, request: Request) -> Reply:
        may = msgspec.json.decode(request.data, type=May)
        grants = MayReply(dict.fromkeys(may.listen, Grant(True)), dict.fromkeys(may.publish, Grant(True)))
        return Reply(id=request.id, data=msgspec.json.encode(grants))

    def send(self, request: Request, on_reply: Callable[[Reply], None]) -> None:
        raise AssertionError("nothing is called here")

    def cancel(self, request_id: int) -> None:
        pass

    def ready(self) -> bool:
        return True


class Authenticator:
    """A token is the user's name."""

    async def token(self, token: str | None) -> Principal:
        return Principal(user=token or "", id=f"user:{token}")

    def at_once(self, token: str | None) -> Principal | None:
        return None

    async def api_key(self, secret: str, user: str) -> Principal:
        raise AssertionError("nobody has a key here")


class Client:
    """A client behind a door of its own that always reads."""

    def __init__(self, gateway: Gateway) -> None:
        self.frames: list[f.ServerFrame] = []
        self.closed: tuple[int, str] | None = None
        self._ids = count(1)
        self.connection: Connection = gateway.accept(self, JSON, "::1")

    def write(self, data: bytes) -> None:
        for payload in payloads(data):
            frame = JSON.decode_server(payload)
            self.frames.append(frame)
            if isinstance(frame, f.Ping):
                asyncio.get_running_loop().call_soon(self.send, f.Pong())

    def queued(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        asyncio.get_running_loop().call_soon(self.connection.lost)

    def abort(self) -> None:
        asyncio.get_running_loop().call_soon(self.connection.lost)

    def send(self, frame: f.ClientFrame) -> None:
        self.connection.receive(JSON.encode(frame))
        self.connection.flush()

    async def ask(self, kind: Callable[..., f.ClientFrame], **fields: Any) -> Any:
        """Send a request; returns its answer."""
        request_id = next(self._ids)
        self.send(kind(id=request_id, **fields))
        return await self.next(lambda frame: getattr(frame, "id", None) == request_id)

    async def next(self, wanted: Callable[[Any], bool]) -> Any:
        """The first frame like this, once it is there."""
        await eventually(lambda: any(wanted(frame) for frame in self.frames), "a frame")
        return next(frame for frame in self.frames if wanted(frame))

    def of(self, channel: str, kind: type[Any]) -> list[Any]:
        """What came of this kind on a channel."""
        return [frame for frame in self.frames if isinstance(frame, kind) and frame.channel == channel]

    def offsets(self, channel: str) -> list[int]:
        """The offsets of the events that came."""
        return [frame.offset for frame in self.of(channel, f.Event) if frame.offset is not None]

    async def up_to(self, channel: str, offset: int) -> float:
        """Return, once that event is there, how long that took; then all before it are, in order, and no gap."""
        took = await eventually(lambda: offset in self.offsets(channel), f"event {offset} of {channel}")
        assert self.offsets(channel) == list(range(1, offset + 1))
        assert self.of(channel, f.Gap) == []
        assert self.of(channel, f.Unsubscribed) == []
        return took

    def present(self, channel: str) -> set[str]:
        """Who is present, by all that was told; the count that comes along must agree."""
        users: set[str] = set()
        for frame in self.of(channel, f.Presence):
            if frame.members is not None:
                users = {member.user for member in frame.members}
            users |= {member.user for member in frame.joined or ()}
            users -= set(frame.left or ())
        return users

    def left(self, channel: str) -> set[str]:
        """Who was ever said, or seemed, to have left."""
        gone: set[str] = set()
        users: set[str] = set()
        for frame in self.of(channel, f.Presence):
            if frame.members is not None:
                gone |= users - {member.user for member in frame.members}
                users = {member.user for member in frame.members}
            users |= {member.user for member in frame.joined or ()}
            gone |= set(frame.left or ())
        return gone


class Place:
    """Gateways, a worker's way to publish, and a durable log around one Redis."""

    def __init__(self, url: str, prefix: str, stack: contextlib.AsyncExitStack) -> None:
        self.log = Log()
        self.url = url
        self._prefix = prefix
        self._stack = stack
        self.gateways: list[Gateway] = []
        self.worker: RedisBroker

    async def broker(self, gateway: str | None) -> RedisBroker:
        """A broker on a bus of its own."""
        bus = Bus(redis_target(self.url), prefix=self._prefix)
        await bus.start()
        self._stack.push_async_callback(bus.close)
        broker = RedisBroker(bus, grace=GRACE, gateway=gateway)
        await broker.start()
        self._stack.push_async_callback(broker.close)
        return broker

    async def gateway(self) -> Gateway:
        """One gateway more."""
        gateway = Gateway(
            make_app(),
            relay=Relay(),
            broker=await self.broker(secrets.token_hex(4)),
            log_reader=self.log,
            authenticator=Authenticator(),
            options=GatewayOptions(grace=GRACE),
        )
        gateway.start()
        self._stack.push_async_callback(gateway.close)
        self.gateways.append(gateway)
        return gateway

    async def connect(self, gateway: Gateway, user: str) -> Client:
        """A client whose session is open."""
        client = Client(gateway)
        answer = await client.ask(f.Connect, token=user)
        assert isinstance(answer, f.Connected)
        return client

    async def listener(self, gateway: Gateway, user: str, *channels: str) -> Client:
        """A client that listens to these channels."""
        client = await self.connect(gateway, user)
        for channel in channels:
            assert isinstance(await client.ask(f.Subscribe, channel=channel), f.Subscribed)
        return client

    def publish(self, channel: str) -> Envelope:
        """A durable event: committed, then published as far as Redis is there."""
        event = self.log.append(channel)
        self.worker.publish([event])
        return event

    async def append(self, channel: str, broker: RedisBroker | None = None) -> LogHead:
        """An event on a live channel, as soon as Redis takes it."""
        event = Envelope(channel=channel, name="message.created", data=b"{}", time=int(time.time() * 1000))
        publication = secrets.token_hex(8)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return await (broker or self.worker).append(event, LogBounds(1000, 3600.0), publication)
                except Refused:
                    await asyncio.sleep(0.05)

    async def append_elsewhere(self, channel: str, number: int) -> None:
        """So many events on a live channel, from another process; on a loop of its own."""
        async with contextlib.AsyncExitStack() as stack:
            other = Place(self.url, self._prefix, stack)
            broker = await other.broker(None)
            for _ in range(number):
                await self.append(channel, broker)

    async def told(self, gateway: Gateway, ready: bool) -> float:
        """Return, once the gateway says whether it hears, how long that took."""
        return await eventually(
            lambda: ("broker" in gateway.readiness()) != ready and gateway.broker.hears() == ready,
            "readiness" if ready else "unreadiness",
        )


MakePlace = Callable[[str], Awaitable[Place]]


@pytest.fixture
async def make_place(redis_prefix: str) -> AsyncIterator[MakePlace]:
    """Makes a place around the Redis at a URL."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(url: str) -> Place:
            place = Place(url, redis_prefix, stack)
            place.worker = await place.broker(None)
            return place

        yield make


@pytest.fixture(name="eventually", scope="session")
def eventually_fixture() -> Callable[..., Awaitable[float]]:
    """Returns once something is so."""
    return eventually
