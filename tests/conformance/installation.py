"""A server for dialogues: gateways with everything around them in memory, and doors for clients that a vector plays.

The durable log holds what the dialogue says, a worker answers what it says, and tokens are good for whom it says. The
gateways, their brokers and relays are the real ones.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec

from backchannel.app import App, Namespace
from backchannel.auth.principal import Principal
from backchannel.auth.revocation import Revocation
from backchannel.broker.broker import Envelope, LogBounds, LogHead
from backchannel.broker.memory import MemoryBroker, _Log
from backchannel.gateway.connection import Connection
from backchannel.gateway.framing import payloads
from backchannel.gateway.gateway import Gateway, GatewayOptions
from backchannel.relay.memory import MemoryRelay
from backchannel.relay.relay import Failure, Grant, May, MayReply, Reply, Request
from backchannel_protocol import JSON, Codec, Command, Event, Limits, Query, Refused

__all__ = ["Door", "Installation"]

Plain = dict[str, Any]


def the_app() -> App:
    """The app that the dialogues are about (README.md, *The app*)."""
    app = App("vectors")

    @app.namespace("chat")
    class Chat(Namespace):
        pass

    @app.namespace("room")
    class Room(Namespace):
        presence = True

    @app.namespace("few")
    class Few(Namespace):
        recovery = 2

    @app.namespace("skip")
    class Skip(Namespace):
        slow = "gap"

    @app.namespace("metrics")
    class Metrics(Namespace):
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
        text: str

    @app.event("member.left")
    class Left(Event):
        user: str

    @app.event("metric.sampled")
    class Sampled(Event):
        value: float

    @app.event("typing.started", ephemeral=True)
    class Typing(Event):
        pass

    @app.command("message.send", lane="channel")
    class Send(Command[Any]):
        channel: str
        text: str

    @app.query("message.list")
    class List(Query[Any]):
        channel: str

    return app


class Log:
    """The durable logs, as the dialogue tells them."""

    def __init__(self, given: Plain) -> None:
        self._channels: dict[str, Plain] = {}
        for channel, log in given.items():
            self.begin(channel, **log)

    def begin(self, channel: str, epoch: str = "e1", head: int = 0, first: int = 1) -> None:
        """A log with so many events in it."""
        log = self._of(channel)
        log.update(epoch=epoch, first=first, events=[])
        for offset in range(1, head + 1):
            self.append(channel, f"{offset}")

    def _of(self, channel: str) -> Plain:
        return self._channels.setdefault(channel, {"epoch": "e1", "first": 1, "events": []})

    def append(self, channel: str, text: str) -> None:
        """One of the events that were there before."""
        offset = len(self._of(channel)["events"]) + 1
        self.put(
            Envelope(
                channel=channel,
                name="message.created",
                data=JSON.encode({"text": text}),
                user="bob",
                time=1_759_999_000_000 + offset,
            )
        )

    def put(self, envelope: Envelope) -> Envelope:
        """Give an event its offset and keep it."""
        log = self._of(envelope.channel)
        envelope.epoch, envelope.offset = log["epoch"], len(log["events"]) + 1
        log["events"].append(envelope)
        return envelope

    async def head(self, channel: str) -> LogHead:
        log = self._of(channel)
        return LogHead(log["epoch"], len(log["events"]), log["first"])

    async def heads(self, channels: Sequence[str]) -> dict[str, LogHead]:
        """The heads of several logs."""
        return {channel: await self.head(channel) for channel in channels}

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        log = self._of(channel)
        start = max(after, log["first"] - 1)
        return await self.head(channel), log["events"][start : start + limit]

    async def changed(self, since: int) -> dict[str, LogHead]:
        return {channel: await self.head(channel) for channel in self._channels}

    async def close(self) -> None:
        pass


class Worker:
    """Answers who may listen as the dialogue says, and calls when it says; of all gateways."""

    def __init__(self, grants: Plain) -> None:
        self.grants = grants
        self.held: list[tuple[MemoryRelay, Request]] | None = None
        """What waits while the answers to *who may listen* are held back."""
        self._calls: list[tuple[MemoryRelay, Request]] = []

    def attach(self, relay: MemoryRelay) -> None:
        """Work for one gateway more."""
        relay.attach(
            lambda requests: self._receive(relay, requests), lambda request_id: self._cancel(relay, request_id)
        )

    def _receive(self, relay: MemoryRelay, requests: Sequence[Request]) -> None:
        for request in requests:
            if request.kind != "internal":
                self._calls.append((relay, request))
            elif self.held is not None:
                self.held.append((relay, request))
            else:
                self._grant(relay, request)

    def _cancel(self, relay: MemoryRelay, request_id: int) -> None:
        self._calls = [(of, call) for of, call in self._calls if of is not relay or call.id != request_id]

    def hold(self, on: bool) -> None:
        """Hold the answers to *who may listen* back, or let them go."""
        if on:
            self.held = []
            return
        held, self.held = self.held or [], None
        for relay, request in held:
            self._grant(relay, request)

    def _grant(self, relay: MemoryRelay, request: Request) -> None:
        may = msgspec.json.decode(request.data, type=May)
        reply = MayReply(
            {channel: self._rule(channel) for channel in may.listen},
            {entry: self._rule(entry.partition(" ")[0]) for entry in may.publish},
        )
        relay.reply([Reply(id=request.id, data=msgspec.json.encode(reply))])

    def _rule(self, channel: str) -> Grant:
        rule = self.grants.get(channel, {})
        refused = rule.get("refused")
        return Grant(refused is None, after=rule.get("after", 0), code=refused or "forbidden")

    def answer(self, name: str, data: Any = None, error: Plain | None = None, **fields: Any) -> None:
        """Answer the oldest call of this name."""
        waiting = next((one for one in self._calls if one[1].name == name), None)
        assert waiting is not None, f"no {name} waits for its answer"
        self._calls.remove(waiting)
        relay, call = waiting
        failure = Failure.of(Refused(message="No.", **error)) if error is not None else None
        relay.reply([Reply(id=call.id, data=JSON.encode(data), failure=failure, **fields)])


class Authenticator:
    """Knows the tokens of the dialogue."""

    def __init__(self, users: Plain) -> None:
        self._users = users

    async def token(self, token: str | None) -> Principal:
        found = self._users.get(token or "", {"refused": "unauthenticated"})
        if "refused" in found:
            raise Refused(found["refused"], "This token is of no use.")
        expires = found.get("expires")
        return Principal(
            user=found["user"],
            id=f"user:{found['user']}",
            channels=tuple(found.get("channels", ())),
            expires=None if expires is None else expires / 1000,
            issued=found.get("token"),
        )

    def at_once(self, token: str | None) -> Principal | None:
        return None

    async def api_key(self, secret: str, user: str) -> Principal:
        raise Refused("unauthenticated", "There are no keys here.")


class Door:
    """One connection, seen from the client."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.came: list[Plain] = []
        """Frames that came and were not asked for."""
        self.closed: int | None = None
        self.over = False
        """Whether the server has ended it."""
        self.silent = False
        """Whether pings stay without answer."""
        self.told = False
        """Whether the dialogue says so."""
        self.lost = False
        self.waiting = 0
        """Bytes that the client has not read."""
        self.connection: Connection
        self._loop = asyncio.get_running_loop()

    # Transport

    def write(self, data: bytes) -> None:
        if self.over or self.lost:
            return
        for payload in payloads(data):
            self.codec.decode_server(payload)
            frame: Plain = msgpack.unpackb(payload) if self.codec.binary else json.loads(payload)
            if frame["type"] == "ping":
                self._loop.call_soon(self._pong)
            self.came.append(frame)

    def queued(self) -> int:
        return self.waiting

    def close(self, code: int, reason: str) -> None:
        if not self.over:
            self.over, self.closed = True, code
            self._loop.call_soon(self.lose)

    def abort(self) -> None:
        if not self.over:
            self.over = True
            self._loop.call_soon(self.lose)

    # The client's side

    def _pong(self) -> None:
        if not (self.silent or self.over or self.lost):
            self.receive(self.codec.encode({"type": "pong"}))

    def receive(self, data: bytes) -> None:
        """A message from the client."""
        self.connection.receive(data)
        self.connection.flush()

    def read(self, share: float, queued: int) -> None:
        """The client reads nothing, and this share of what may wait does; 0: it reads again."""
        self.waiting = int(share * queued)
        if self.waiting and not self.connection.slow:
            self.connection.paused()
        elif not self.waiting and self.connection.slow:
            self.connection.resumed()

    def lose(self) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = True
            self.connection.lost()


class Installation:
    """Gateways and what they share."""

    def __init__(self, given: Plain, wall: Callable[[], float]) -> None:
        self.wall = wall
        self.app = the_app()
        logs = given["log"]
        durable = {channel: log for channel, log in logs.items() if self._kind(channel) == "durable"}
        self.log = Log(durable)
        self._lives = {channel: log for channel, log in logs.items() if channel not in durable}
        self.given = given
        self.gateways: dict[int, Gateway] = {}
        self.brokers: dict[int, MemoryBroker] = {}
        self.relays: dict[int, MemoryRelay] = {}
        self.worker = Worker(dict(given["grants"]))
        self.authenticator = Authenticator(dict(given["users"]))
        self.limits = Limits(**given["limits"])
        self.tasks: set[asyncio.Task[None]] = set()

    def _kind(self, channel: str) -> str:
        declared = self.app.namespace_of(channel)
        assert declared is not None, f"there is no namespace for {channel}"
        return declared.cls.kind

    def gateway(self, number: int) -> Gateway:
        """One of the gateways, serving."""
        if number not in self.gateways:
            broker = self.brokers[number] = MemoryBroker(grace=self.given["grace"], wall=self.wall)
            for channel, log in self._lives.items():
                self._begin_live(broker, channel, **log)
            relay = self.relays[number] = MemoryRelay(asyncio.get_running_loop())
            self.worker.attach(relay)
            gateway = self.gateways[number] = Gateway(
                self.app,
                relay=relay,
                broker=broker,
                log_reader=self.log,
                authenticator=self.authenticator,
                options=GatewayOptions(limits=self.limits, ping=self.given["ping"], grace=self.given["grace"]),
                wall=self.wall,
            )
            gateway.start()
        return self.gateways[number]

    def open(self, codec: Codec, gateway: int, token: str | None) -> Door:
        """A client's new connection, its handshake done."""
        door = Door(codec)
        door.connection = self.gateway(gateway).accept(door, codec, "::1", token)
        return door

    def _begin_live(self, broker: MemoryBroker, channel: str, epoch: str = "e1", head: int = 0, first: int = 1) -> None:
        log = broker._logs[channel] = _Log()
        log.epoch, log.offset = epoch, head
        log.bounds = LogBounds(1000, 1e9)
        for offset in range(first, head + 1):
            log.envelopes.append(
                Envelope(
                    channel=channel,
                    name="metric.sampled",
                    data=JSON.encode({"value": offset}),
                    epoch=epoch,
                    offset=offset,
                    user="bob",
                    time=1_759_999_000_000 + offset,
                )
            )

    async def publish(self, channel: str, name: str, data: Any, **fields: Any) -> None:
        """An event, as a worker's command publishes it."""
        envelope = Envelope(channel=channel, name=name, data=JSON.encode(data), **fields)
        declaration = self.app.namespace_of(channel)
        assert declaration is not None
        if self.app.events[name].ephemeral or declaration.cls.kind == "ephemeral":
            published = envelope
        elif declaration.cls.kind == "durable":
            published = self.log.put(envelope)
        else:
            bounds = LogBounds(declaration.cls.history, declaration.cls.max_age)
            await self.brokers[1].append(envelope, bounds)
            return
        for broker in self.brokers.values():
            broker.publish((published,))

    def begin(self, channel: str, **log: Any) -> None:
        """A log begins anew."""
        if self._kind(channel) == "durable":
            self.log.begin(channel, **log)
        else:
            for broker in self.brokers.values():
                self._begin_live(broker, channel, **log)

    def revoke(self, user: str) -> None:
        """A user's access is taken away."""
        revocation = Revocation(id="r-1", user=user, time=int(self.wall() * 1000))
        for gateway in self.gateways.values():
            gateway.end_revoked([revocation])

    def drain(self, seconds: float) -> None:
        """The first gateway drains."""
        self.tasks.add(asyncio.create_task(self.gateway(1).drain(seconds)))

    async def close(self) -> None:
        """Stop everything."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for gateway in self.gateways.values():
            await gateway.close()
        for broker in self.brokers.values():
            await broker.close()
