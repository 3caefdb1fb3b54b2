"""Gateways' and workers' ends of the relay around a real Redis, with real workers on a real store behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
import sqlalchemy as sa
import uvloop

from backchannel import App, Command, Context, Event, Namespace, Query, Struct
from backchannel.auth.principal import Principal
from backchannel.broker.memory import MemoryBroker
from backchannel.bus import Bus, redis_target
from backchannel.relay.redis import RedisRelay, RedisWorkerRelay
from backchannel.relay.relay import Request
from backchannel.store.sqlite import SqliteStore, open_sqlite
from backchannel.testing.services import RedisServer
from backchannel.worker.runtime import WorkerLimits
from backchannel.worker.worker import Worker

metadata = sa.MetaData()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Servers run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


orders = sa.Table(
    "orders",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("shop", sa.Text, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
)


class Orders(Namespace):
    """A durable channel."""


class Placed(Event):
    """An order was placed."""

    item: str


class Order(Struct):
    """An answer."""

    id: str


class Place(Command[Order]):
    """Place an order."""

    shop: str
    item: str


class Wait(Query[int]):
    """Wait until the test lets go."""

    number: int


class Slow(Command[int]):
    """Take long over it."""

    shop: str


def make_app(site: Site) -> App:
    """An app whose handlers tell the test what they do."""
    app = App("shop")
    app.tables(metadata)
    app.namespace("orders")(Orders)
    app.event("order.placed")(Placed)

    app.command("order.place", lane="shop")(Place)
    app.query("order.wait")(Wait)
    app.command("order.slow", lane="shop", own_transaction=True)(Slow)

    @app.handle(Place)
    async def place(ctx: Context, order: Place) -> Order:
        """Place it."""
        ctx.publish(f"orders:{order.shop}", Placed(order.item))
        return Order(ctx.insert(orders, shop=order.shop, item=order.item))

    @app.handle(Wait)
    async def wait(ctx: Context, query: Wait) -> int:
        """Wait."""
        site.waiting += 1
        site.changed.set()
        try:
            await site.let_go.wait()
        except asyncio.CancelledError:
            site.stopped += 1
            site.changed.set()
            raise
        return query.number

    @app.handle(Slow)
    async def slow(ctx: Context, command: Slow) -> int:
        """Take long."""
        site.slow_runs += 1
        site.changed.set()
        await asyncio.sleep(0.8)
        return site.slow_runs

    return app


class SiteBus(Bus):
    """A bus that loses messages when told, and can stand still as a stopped process does."""

    loses: Callable[[bytes], bool] = staticmethod(lambda topic: False)
    stands: bool = False

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._kept: list[Callable[[], None]] = []
        self._goes = asyncio.Event()
        self._goes.set()

    def publish(self, topic: bytes, payload: bytes, receivers: Callable[[int | None], None] | None = None) -> None:
        if self.stands:
            self._kept.append(partial(self.publish, topic, payload, receivers))
        elif not self.loses(topic):
            super().publish(topic, payload, receivers)
        elif receivers is not None:
            asyncio.get_running_loop().call_soon(receivers, 1)

    async def subscribe(self, topic: bytes, receive: Callable[[list[bytes]], None]) -> None:
        def arrive(payloads: list[bytes]) -> None:
            if self.stands:
                self._kept.append(partial(receive, payloads))
            else:
                receive(payloads)

        await super().subscribe(topic, arrive)

    async def run(self, *arguments: Any) -> Any:
        await self._goes.wait()
        return await super().run(*arguments)

    def stand(self) -> None:
        """Neither hear nor say anything, while the connections stay."""
        self.stands = True
        self._goes.clear()

    def go(self) -> None:
        """Wake."""
        self.stands = False
        self._goes.set()
        kept, self._kept = self._kept, []
        for step in kept:
            step()


class Gate(RedisRelay):
    """A gateway's end, with its bus."""

    bus: SiteBus


class Hand:
    """A worker: the real one, behind its end of the relay."""

    def __init__(self, bus: SiteBus, relay: RedisWorkerRelay, worker: Worker) -> None:
        self.bus = bus
        self.relay = relay
        self.worker = worker
        self.ended = False

    async def stop(self) -> None:
        """As a process does on SIGTERM."""
        if not self.ended:
            self.ended = True
            await self.worker.stop()
            await self.relay.close()
            await self.bus.close()

    async def kill(self) -> None:
        """As SIGKILL does: its connections close, and it says nothing more."""
        self.ended = True
        self.bus.stand()
        await self.bus.close()


class HasUrl(Protocol):
    """Redis in one of its forms."""

    @property
    def url(self) -> str: ...


class Site:
    """Gateways and workers of one installation."""

    def __init__(self, server: HasUrl, prefix: str, store: SqliteStore) -> None:
        self.server = server
        self.prefix = prefix
        self.store = store
        self.closed = False
        self.waiting = 0
        self.stopped = 0
        self.slow_runs = 0
        self.let_go = asyncio.Event()
        self.changed = asyncio.Event()
        self.app = make_app(self)
        self.app.check()
        self.gates: list[Gate] = []
        self.hands: list[Hand] = []
        self._broker = MemoryBroker()
        self._ids = count(1001)
        self._names = count(1)

    async def bus(self) -> SiteBus:
        bus = SiteBus(redis_target(self.server.url), prefix=self.prefix)
        await bus.start()
        return bus

    async def gateway(self, **more: Any) -> Gate:
        """One more gateway, which knows of all workers."""
        bus = await self.bus()
        gate = Gate(bus, gateway=f"g{next(self._names)}", **more)
        gate.bus = bus
        await gate.start()
        self.gates.append(gate)
        return gate

    async def worker(self) -> Hand:
        """One more worker; returns when all gateways know it."""
        bus = await self.bus()
        name = f"w{next(self._names)}"
        relay = RedisWorkerRelay(bus, worker=name, names=list(self.app.requests))
        await relay.start()
        worker = Worker(self.app, self.store, self._broker, relay, limits=WorkerLimits(slow=30.0))
        await worker.start()
        hand = Hand(bus, relay, worker)
        self.hands.append(hand)
        await self.until(lambda: all(self.knows(gate, name) for gate in self.gates))
        return hand

    def knows(self, gate: Gate, name: str) -> bool:
        """Whether a gateway would send a worker requests."""
        return name in {worker.id for worker in gate._registry.serving(None)}

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for something that tells no one when it happens."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def request(self, data: Struct, **more: Any) -> Request:
        """A request as a gateway makes it."""
        declaration = self.app.requests[type(data).wire_name]  # type: ignore[attr-defined]
        lane = getattr(data, "shop", "") if declaration.kind == "command" else ""
        fields: dict[str, Any] = {
            "id": next(self._ids),
            "kind": declaration.kind,
            "name": declaration.name,
            "data": msgspec.json.encode(data),
            "principal": Principal(user="alice", id="user:alice"),
            "lane": lane,
        }
        return Request(**(fields | more))

    def place(self, item: str, shop: str = "corner", *, keyed: bool = True, **more: Any) -> Request:
        """A command with a key."""
        if keyed:
            more.setdefault("key", f"key-{next(self._ids):08}")
        return self.request(Place(shop, item), **more)

    def wait(self, number: int, **more: Any) -> Request:
        """A query that waits until the test lets go."""
        return self.request(Wait(number), **more)

    def slow(self, **more: Any) -> Request:
        """A command that takes 0.8 s."""
        return self.request(Slow("corner"), **more)

    async def items(self, shop: str = "corner") -> list[str]:
        """What was ordered, in the order of the events."""
        reader = self.store.log_reader()
        try:
            events = (await reader.read(f"orders:{shop}", 0, 10_000))[1]
        finally:
            await reader.close()
        return [msgspec.json.decode(event.data)["item"] for event in events]

    async def close(self) -> None:
        """End everything."""
        if self.closed:
            return
        self.closed = True
        self.let_go.set()
        for hand in self.hands:
            hand.bus.go()
            await hand.stop()
        for gate in self.gates:
            await gate.close()
            await gate.bus.close()
        await self._broker.close()
        await self.store.close()


class StartSite(Protocol):
    """How a test begins that has a Redis of its own."""

    def __call__(self, server: HasUrl) -> Site: ...


@pytest.fixture
async def start_site(tmp_path: Path, redis_prefix: str) -> AsyncIterator[StartSite]:
    """An installation without gateways or workers, around this Redis."""
    sites: list[Site] = []

    def start(server: HasUrl) -> Site:
        site = Site(server, redis_prefix, open_sqlite(tmp_path / "site.db", migrations=make_migrations()))
        sites.append(site)
        return site

    yield start
    for site in sites:
        await site.close()


@pytest.fixture
async def site(start_site: StartSite, redis_server: RedisServer) -> Site:
    """An installation around the shared Redis."""
    return start_site(redis_server)


def make_migrations() -> Sequence[Any]:
    """The app's own tables."""
    app = App("shop")
    app.tables(metadata)
    return app.migrations
