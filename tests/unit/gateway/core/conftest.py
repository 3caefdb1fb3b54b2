"""A gateway with everything around it in memory, on a loop whose time jumps to the next timer when nobody is busy.

One file, though long: the doubles are made for each other, and test modules cannot import from one another.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar, get_args

import msgspec
import pytest
from msgspec import Raw

from backchannel import testing
from backchannel.app import App, Namespace
from backchannel.auth.principal import Principal
from backchannel.broker.broker import Envelope, LogBounds, LogHead
from backchannel.broker.memory import MemoryBroker
from backchannel.gateway.connection import Connection
from backchannel.gateway.framing import payloads
from backchannel.gateway.gateway import Gateway, GatewayOptions
from backchannel.relay.relay import Failure, Grant, May, MayReply, Reply, Request
from backchannel_protocol import JSON, MSGPACK, Codec, Command, Event, Limits, Query, Refused
from backchannel_protocol import frames as f

T = TypeVar("T")
FrameT = TypeVar("FrameT")

START = 1000.0
WALL = 1_760_000_000.0

_PINGS = frozenset(codec.encode(f.Ping()) for codec in (JSON, MSGPACK))


class VirtualLoop(testing.VirtualLoop):
    """The test kit's loop without real time, with what these tests look at and turn besides."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass in the middle of a callback, as a busy loop does."""
        self._nanoseconds += round(seconds * 1e9)

    def timers(self) -> int:
        """How many timers wait."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return sum(not handle.cancelled() for handle in scheduled)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The tests of this folder run on virtual time."""
    return {"virtual": VirtualLoop}


class Log:
    """A durable log in memory, which can lag, be trimmed, fail, or begin anew."""

    def __init__(self) -> None:
        self.epochs: dict[str, str] = {}
        self.events: dict[str, list[Envelope]] = {}
        self.first: dict[str, int] = {}
        self.visible: dict[str, int] = {}
        """The newest offset that readers see, where it is not the newest."""
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        """Set: reads go on. They take their snapshot before they wait, as a slow network would have it."""
        self.reads = 0
        self._epochs = count(1)

    def append(self, channel: str, data: Any = None, **fields: Any) -> Envelope:
        """One event more."""
        events = self.events.setdefault(channel, [])
        envelope = Envelope(
            channel=channel,
            name=fields.pop("name", "message.created"),
            data=JSON.encode(data if data is not None else {"n": len(events) + 1}),
            epoch=self.epoch(channel),
            offset=len(events) + 1,
            time=int(WALL * 1000),
            **fields,
        )
        events.append(envelope)
        return envelope

    def epoch(self, channel: str) -> str:
        return self.epochs.setdefault(channel, f"e{next(self._epochs)}")

    def renew(self, channel: str) -> None:
        """The log begins anew, empty."""
        self.epochs[channel] = f"e{next(self._epochs)}"
        self.events[channel] = []
        self.first.pop(channel, None)
        self.visible.pop(channel, None)

    def trim(self, channel: str, first: int) -> None:
        """Events below are gone."""
        self.first[channel] = first

    def _head(self, channel: str) -> LogHead:
        newest = min(len(self.events.get(channel, [])), self.visible.get(channel, 1 << 60))
        return LogHead(self.epoch(channel), newest, self.first.get(channel, 1))

    async def _wait(self) -> None:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure

    async def head(self, channel: str) -> LogHead:
        found = self._head(channel)
        await self._wait()
        return found

    async def heads(self, channels: Sequence[str]) -> dict[str, LogHead]:
        """The heads of several logs."""
        return {channel: await self.head(channel) for channel in channels}

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        head = self._head(channel)
        start = max(after, head.first - 1)
        found = self.events.get(channel, [])[start : min(start + limit, head.offset)]
        await self._wait()
        return head, found

    async def changed(self, since: int) -> dict[str, LogHead]:
        found = {channel: self._head(channel) for channel in self.events}
        await self._wait()
        return found

    async def close(self) -> None:
        pass


class Relay:
    """A worker that answers what it may, at once, and calls when a test says so."""

    def __init__(self) -> None:
        self.rule: Callable[[str, str, str], Grant] = lambda user, verb, entry: Grant(True)
        self.asked: list[tuple[str, May]] = []
        self.failure: Refused | None = None
        self.gate: asyncio.Event | None = None
        self.requests: list[Request] = []
        self.cancelled: list[int] = []
        self.is_ready = True
        self._waiting: dict[int, Callable[[Reply], None]] = {}

    def send(self, request: Request, on_reply: Callable[[Reply], None]) -> None:
        self.requests.append(request)
        self._waiting[request.id] = on_reply

    def answer(self, request: Request, data: Any = None, *, failure: Refused | None = None, **fields: Any) -> None:
        """The worker's reply to a call."""
        on_reply = self._waiting.pop(request.id, None)
        if on_reply is not None:
            failed = Failure.of(failure) if failure else None
            on_reply(Reply(id=request.id, data=JSON.encode(data), failure=failed, **fields))

    def cancel(self, request_id: int) -> None:
        self.cancelled.append(request_id)
        on_reply = self._waiting.pop(request_id, None)
        if on_reply is not None:
            on_reply(Reply(id=request_id, failure=Failure.of(Refused("cancelled", "Cancelled."))))

    async def ask(self, request: Request) -> Reply:
        if request.kind != "internal":
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            self.send(request, future.set_result)
            return await future
        assert request.name == "may"
        may = msgspec.json.decode(request.data, type=May)
        user = request.principal.user
        self.asked.append((user, may))
        grants = MayReply(
            {channel: self.rule(user, "listen", channel) for channel in may.listen},
            {entry: self.rule(user, "publish", entry) for entry in may.publish},
        )
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            return Reply(id=request.id, failure=Failure.of(self.failure))
        return Reply(id=request.id, data=msgspec.json.encode(grants))

    def ready(self) -> bool:
        return self.is_ready


class Authenticator:
    """A token is the user's name, unless a test says otherwise."""

    def __init__(self) -> None:
        self.principals: dict[str | None, Principal | Exception] = {}
        self.gate: asyncio.Event | None = None
        self.tokens: list[str | None] = []

    async def token(self, token: str | None) -> Principal:
        self.tokens.append(token)
        if self.gate is not None:
            await self.gate.wait()
        found = self.principals.get(token)
        if isinstance(found, Exception):
            raise found
        return found or Principal(user=token or "", id=f"user:{token}")

    def at_once(self, token: str | None) -> Principal | None:
        return None

    async def api_key(self, secret: str, user: str) -> Principal:
        return Principal(user=user, id=f"key:{secret}:{user}")


class Client:
    """A client behind a door of its own: what it sends arrives as one read, what it gets is kept as it was written."""

    def __init__(self, loop: asyncio.AbstractEventLoop, codec: Codec) -> None:
        self.codec = codec
        self.writes: list[bytes] = []
        self.waiting = 0
        """Bytes that the kernel has not taken."""
        self.pause_at: int | None = None
        """Whether the buffer is over its mark after so many further writes."""
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.lost = False
        self.alive = True
        """Whether it answers pings."""
        self.connection: Connection
        self._loop = loop
        self._ids = count(1)
        self._read = 0

    # Transport

    def write(self, data: bytes) -> None:
        if self.closed or self.aborted or self.lost:
            return
        self.writes.append(data)
        if self.alive and _PINGS.intersection(_messages(data)):
            self._loop.call_soon(self._pong)
        if self.pause_at is not None:
            self.pause_at -= 1
            if self.pause_at <= 0:
                self.pause()

    def queued(self) -> int:
        return self.waiting

    def close(self, code: int, reason: str) -> None:
        if not (self.closed or self.aborted or self.lost):
            self.closed = (code, reason)
            self._loop.call_soon(self.lose)

    def abort(self) -> None:
        if not (self.aborted or self.lost):
            self.aborted = True
            self._loop.call_soon(self.lose)

    # The client's side

    def _pong(self) -> None:
        if not (self.lost or self.closed or self.aborted):
            self.send(f.Pong())

    def send(self, *frames: f.ClientFrame | bytes) -> None:
        """All of these arrive in one read."""
        for frame in frames:
            self.connection.receive(frame if isinstance(frame, bytes) else self.codec.encode(frame))
        self.connection.flush()

    def ask(self, kind: Callable[..., f.ClientFrame], **fields: Any) -> int:
        """Send a request with the next id."""
        request_id = next(self._ids)
        if "data" in fields:
            fields["data"] = Raw(self.codec.encode(fields["data"]))
        self.send(kind(id=request_id, **fields))
        return request_id

    def frames(self) -> list[f.ServerFrame]:
        """Everything that came so far."""
        return [self.codec.decode_server(payload) for write in self.writes for payload in _messages(write)]

    def new(self, *kinds: type[f.ServerFrame]) -> list[Any]:
        """What came since this was called last, of these kinds; all but pings by default."""
        frames = self.frames()
        read, self._read = self._read, len(frames)
        kinds = kinds or tuple(kind for kind in get_args(f.ServerFrame) if kind is not f.Ping)
        return [frame for frame in frames[read:] if isinstance(frame, kinds)]

    def answer(self, request_id: int) -> Any:
        """The answer to a request."""
        answers = (f.Connected, f.Subscribed, f.Reply, f.Presence, f.Error)
        found = [x for x in self.frames() if isinstance(x, answers) and x.id == request_id]
        (answer,) = found
        return answer

    def pause(self) -> None:
        """The socket takes no more."""
        self.pause_at = None
        if not self.connection.slow:
            self.connection.paused()

    def resume(self) -> None:
        """The socket takes everything."""
        self.waiting = 0
        self.connection.resumed()

    def lose(self) -> None:
        """The socket is gone."""
        if not self.lost:
            self.lost = True
            self.connection.lost()


def _messages(data: bytes) -> list[bytes]:
    """The messages in whole frames, compressed ones as they were (RFC 7692 section 7.2.2), each with a fresh window."""
    found, position = [], 0
    for payload in payloads(data):
        is_compressed = data[position] & 0x40
        position += len(payload) + (2 if len(payload) < 126 else 4 if len(payload) < 65_536 else 10)
        found.append(zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") if is_compressed else payload)
    return found


class Told(msgspec.Struct):
    """What an app's event says here."""

    n: int = 0


def make_app() -> App:
    """An app with a namespace of each kind and policy."""
    app = App("test")

    @app.namespace("chat")
    class Chat(Namespace):
        presence = True

    @app.namespace("skip")
    class Skip(Namespace):
        slow = "gap"
        presence = True

    @app.namespace("few")
    class Few(Namespace):
        recovery = 2

    @app.namespace("live")
    class Live(Namespace):
        kind = "live"
        history = 5
        clients_may_publish = True

    @app.namespace("state")
    class State(Namespace):
        kind = "live"
        slow = "latest"

    @app.namespace("shout")
    class Shout(Namespace):
        kind = "ephemeral"
        clients_may_publish = True

    @app.event("message.created")
    class Created(Event):
        n: int = 0

    @app.event("typing.started", ephemeral=True)
    class Typing(Event):
        n: int = 0

    @app.command("message.send", lane=("channel", "thread"))
    class Send(Command[Told]):
        channel: str
        thread: int = 0

    @app.command("note.make")
    class Note(Command[Told]):
        n: int = 0

    @app.command("order.place", lane="shop", timeout=2.0)
    class Place(Command[Told], rename="camel"):
        shop: str

    @app.query("message.list")
    class List(Query[Told]):
        n: int = 0

    return app


class World:
    """A gateway and all that it talks to."""

    def __init__(self, **options: Any) -> None:
        self.loop = asyncio.get_running_loop()
        assert isinstance(self.loop, VirtualLoop)
        self.app = make_app()
        self.log = Log()
        self.relay = Relay()
        self.authenticator = Authenticator()
        self.broker = MemoryBroker(grace=10.0, wall=self.wall)
        self.gateway = Gateway(
            self.app,
            relay=self.relay,
            broker=self.broker,
            log_reader=self.log,
            authenticator=self.authenticator,
            options=GatewayOptions(**options),
            wall=self.wall,
            chance=random.Random(1),
        )
        self.hub = self.gateway.hub
        self.compress_from = 0
        """What clients that come from now on have agreed to."""

    def wall(self) -> float:
        """Unix seconds, in step with the loop."""
        return WALL + self.loop.time() - START

    async def quiet(self) -> None:
        """Return when nobody has anything left to do without waiting: a timer is due only then."""
        await asyncio.sleep(1e-6)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as this holds, between two callbacks; it must come to hold before any timer is due."""
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("It never came to be.")

    async def after(self, seconds: float) -> None:
        """Let so much time pass."""
        await asyncio.sleep(seconds)
        await self.quiet()

    def door(self, codec: Codec = JSON, *, address: str = "::1", token: str | None = None) -> Client:
        """A connection whose handshake is done."""
        client = Client(self.loop, codec)
        client.connection = self.gateway.accept(client, codec, address, token, self.compress_from)
        return client

    async def connect(self, user: str = "alice", codec: Codec = JSON, *, address: str = "::1", **fields: Any) -> Client:
        """A client whose session is open, and that has read everything so far."""
        client = self.door(codec, address=address)
        client.ask(f.Connect, token=user, **fields)
        await self.quiet()
        assert isinstance(client.frames()[0], f.Connected)
        client.new()
        return client

    async def listener(self, channel: str, user: str = "alice", codec: Codec = JSON, **since: Any) -> Client:
        """A client that listens to a channel."""
        client = await self.connect(user, codec)
        await self.listen(client, channel, **since)
        return client

    async def listen(self, client: Client, channel: str, **fields: Any) -> Any:
        """Subscribe; returns the answer. What came up to then is read."""
        request_id = client.ask(f.Subscribe, channel=channel, **fields)
        await self.quiet()
        client.new()
        return client.answer(request_id)

    def publish(self, channel: str, data: Any = None, **fields: Any) -> Envelope:
        """A durable event: logged, and brought by the broker."""
        envelope = self.log.append(channel, data, **fields)
        self.broker.publish((envelope,))
        return envelope

    async def emit(self, channel: str, data: Any = None, *, publication: str | None = None, **fields: Any) -> LogHead:
        """An event on a durable or live channel; returns where its log stands."""
        declaration = self.app.namespace_of(channel)
        assert declaration is not None
        if declaration.cls.kind == "durable":
            envelope = self.publish(channel, data, **fields)
            return LogHead(envelope.epoch, envelope.offset, 1)
        envelope = Envelope(
            channel=channel,
            name="message.created",
            data=JSON.encode(data if data is not None else {"n": 1}),
            time=int(self.wall() * 1000),
            **fields,
        )
        return await self.broker.append(envelope, LogBounds(declaration.cls.history, 60.0), publication)

    def forget(self, channel: str) -> None:
        """Its log begins anew, durable or live."""
        if self.broker._logs.pop(channel, None) is None:
            self.log.renew(channel)

    def shout(self, channel: str, **fields: Any) -> None:
        """An ephemeral event."""
        data = JSON.encode({"n": 0})
        self.broker.publish((Envelope(channel=channel, name="typing.started", data=data, **fields),))

    async def close(self) -> None:
        await self.gateway.close()
        await self.broker.close()
        await self.quiet()


MakeWorld = Callable[..., Coroutine[Any, Any, World]]


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    """Makes a gateway that serves; options as `GatewayOptions`, limits by their names."""
    made: list[World] = []
    names = set(Limits.__struct_fields__)

    async def make(**options: Any) -> World:
        limits = Limits(**{name: options.pop(name) for name in list(options) if name in names})
        world = World(limits=limits, **options)
        made.append(world)
        world.gateway.start()
        return world

    yield make
    for world in made:
        await world.close()


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """A gateway that serves, with the defaults."""
    return await make_world()


@pytest.fixture(params=[JSON, MSGPACK], ids=lambda codec: str(codec.name))
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each encoding."""
    found: Codec = request.param
    return found


class Heard:
    """What a listener made of a channel's frames, and whether they keep the promises (EVENT-1, GAP-1, SUB-13)."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.epoch: str | None = None
        self.position = 0
        self.offsets: list[int] = []
        """Offsets of the present epoch that came as events."""
        self.missed: list[tuple[int, int]] = []
        """Gaps of the present epoch: after, up to and including."""
        self.epochs: list[str] = []
        self.over = False

    def take(self, frames: Sequence[f.ServerFrame], since: f.Position | None = None) -> Heard:
        """Check and count frames."""
        for frame in frames:
            if getattr(frame, "channel", None) != self.channel:
                continue
            if isinstance(frame, f.Event | f.Gap):
                assert self.epoch is not None, "SUB-14: nothing comes before `subscribed`"
                assert not self.over, "UNSUB-11: nothing comes after `unsubscribed`"
            if isinstance(frame, f.Subscribed):
                if self.epoch is None or frame.verdict != "recovered":
                    self.over = False
                    position = since.offset if since and frame.verdict == "recovered" else frame.offset
                    self._renew(frame.epoch, position)
            elif isinstance(frame, f.Unsubscribed):
                self.over = True
            elif isinstance(frame, f.Gap):
                if frame.reason == "reset":
                    assert frame.epoch != self.epoch, "GAP-5: a reset is for a new epoch"
                    assert frame.from_ == 0
                    self._renew(frame.epoch, 0)
                assert frame.epoch == self.epoch, "GAP-6"
                assert frame.from_ == self.position, "a gap begins where the listener is"
                assert frame.to > frame.from_ or frame.reason == "reset", "an empty gap says nothing"
                if frame.to > frame.from_:
                    self.missed.append((frame.from_, frame.to))
                self.position = frame.to
            elif isinstance(frame, f.Event) and frame.offset is not None:
                assert frame.offset == self.position + 1, "EVENT-1: in order, none missing, none twice"
                self.position = frame.offset
                self.offsets.append(frame.offset)
        return self

    def _renew(self, epoch: str, position: int) -> None:
        self.epoch, self.position = epoch, position
        self.epochs.append(epoch)
        self.offsets, self.missed = [], []


@pytest.fixture(scope="session")
def heard() -> type[Heard]:
    """Checks what a listener hears."""
    return Heard


@pytest.fixture(scope="session")
def on_virtual_time() -> Callable[[Callable[[], Coroutine[Any, Any, T]]], T]:
    """Runs a coroutine function on a fresh loop with virtual time, for properties that are tried many times."""

    def run(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(function())

    return run


@pytest.fixture(scope="session")
def new_world() -> Callable[..., World]:
    """Makes a world within a coroutine that brings its own loop; close it there."""

    def make(**options: Any) -> World:
        world = World(**options)
        world.gateway.start()
        return world

    return make
