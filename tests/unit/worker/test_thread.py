"""A worker in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from backchannel import App, Command, Context, Event, Namespace, Query
from backchannel.auth.principal import Principal
from backchannel.broker.broker import Envelope
from backchannel.broker.memory import MemoryBroker
from backchannel.relay.memory import MemoryRelay
from backchannel.relay.relay import Reply, Request, RequestKind
from backchannel.store.sqlite import open_sqlite
from backchannel.worker.thread import WorkerThread
from backchannel.worker.worker import Worker

metadata = sa.MetaData()
lines = sa.Table(
    "lines",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("text", sa.Text),
)
app = App("log")
app.tables(metadata)


@app.namespace("log")
class Log(Namespace):
    """A durable channel."""


@app.namespace("live")
class Live(Namespace):
    """A live channel."""

    kind = "live"


@app.event("line.added")
class Added(Event):
    """A line was added."""

    number: int


@app.command("line.add")
class Add(Command[int]):
    """Add a line."""

    text: str = ""


@app.query("line.where")
class Where(Query[tuple[int, int, int]]):
    """Which thread answers, how many lines there are, and who is present."""


@app.handle(Add)
async def add(ctx: Context, request: Add) -> int:
    """Add."""
    ctx.insert(lines, text=request.text)
    number = await ctx.next("lines")
    ctx.publish("log:a", Added(number))
    ctx.publish("live:a", Added(number))
    return number


@app.handle(Where)
async def where(ctx: Context, request: Where) -> tuple[int, int, int]:
    """Tell."""
    count = await ctx.db.value(sa.select(sa.func.count()).select_from(lines))
    return threading.get_ident(), count, len(await ctx.presence("live:a"))


def ask(relay: MemoryRelay, number: int, kind: RequestKind, name: str) -> asyncio.Task[Reply]:
    principal = Principal(user="alice", id="user:alice")
    asked = Request(id=number, kind=kind, name=name, data=b"{}", principal=principal)
    return asyncio.create_task(relay.ask(asked))


Make = Callable[[], AbstractAsyncContextManager[Worker]]


def maker(path: Path, broker: MemoryBroker, relay: MemoryRelay, closed: list[int]) -> Make:
    @asynccontextmanager
    async def make() -> AsyncIterator[Worker]:
        store = open_sqlite(path / "x.db", migrations=app.migrations)
        try:
            yield Worker(app, store, broker, relay)
        finally:
            await store.close()
            closed.append(threading.get_ident())

    return make


async def test_worker_in_a_thread(tmp_path: Path) -> None:
    """Handlers run on another thread while replies and events arrive on this loop; stopping closes the store there."""
    relay, broker = MemoryRelay(asyncio.get_running_loop()), MemoryBroker()
    events: list[Envelope] = []
    all_there = asyncio.Event()

    def receive(envelopes: object) -> None:
        assert isinstance(envelopes, list)
        events.extend(envelopes)
        if len(events) == 200:
            all_there.set()

    broker.attach(receive, lambda change: None, lambda: None)
    await broker.listen("log:a")
    await broker.listen("live:a")
    await broker.enter("live:a", "alice", "c1")
    closed: list[int] = []
    thread = WorkerThread(maker(tmp_path, broker, relay, closed))
    await thread.start()
    assert relay.ready()
    replies = await asyncio.gather(*(ask(relay, i, "command", "line.add") for i in range(1, 101)))
    assert [msgspec.json.decode(reply.data) for reply in replies] == list(range(1, 101))
    await all_there.wait()
    for channel in ("log:a", "live:a"):
        assert [e.offset for e in events if e.channel == channel] == list(range(1, 101))
    ident, count, present = msgspec.json.decode((await ask(relay, 200, "query", "line.where")).data)
    assert ident != threading.get_ident()
    assert (count, present) == (100, 1)
    await thread.stop()
    assert closed == [ident]
    assert not relay.ready()
    await thread.stop()
    with pytest.raises(RuntimeError, match="started before"):
        await thread.start()
    await broker.close()


async def test_loop_is_free_while_the_thread_stops(tmp_path: Path) -> None:
    """Starting and stopping never block the gateway's loop: it goes on turning."""
    relay, broker = MemoryRelay(asyncio.get_running_loop()), MemoryBroker()
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    thread = WorkerThread(maker(tmp_path, broker, relay, []))
    await thread.start()
    started, turns = turns, 0
    await thread.stop()
    assert started > 1
    assert turns > 1
    turning.cancel()
    await broker.close()


async def test_cancelled_start_leaves_no_thread(tmp_path: Path) -> None:
    """If whoever starts it is cancelled, the worker is stopped again and the thread has ended."""
    relay, broker = MemoryRelay(asyncio.get_running_loop()), MemoryBroker()
    closed: list[int] = []
    before = threading.active_count()
    starting = asyncio.create_task(WorkerThread(maker(tmp_path, broker, relay, closed)).start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert threading.active_count() == before
    assert len(closed) == 1
    assert not relay.ready()
    await broker.close()


async def test_failure_to_start_propagates(tmp_path: Path) -> None:
    """What opening or starting the worker raises comes out of `start`, and the thread has ended."""
    relay, broker = MemoryRelay(asyncio.get_running_loop()), MemoryBroker()

    @asynccontextmanager
    async def make() -> AsyncIterator[Worker]:
        store = open_sqlite(tmp_path / "nowhere" / "x.db")
        yield Worker(app, store, broker, relay)

    before = threading.active_count()
    thread = WorkerThread(make)
    with pytest.raises(Exception, match="nowhere"):
        await thread.start()
    assert threading.active_count() == before
    assert not relay.ready()

    broken = App("broken")
    broken.query("line.where")(Where)

    @asynccontextmanager
    async def make_broken() -> AsyncIterator[Worker]:
        store = open_sqlite(tmp_path / "x.db")
        try:
            yield Worker(broken, store, broker, relay)
        finally:
            await store.close()

    with pytest.raises(Exception, match="No handler"):
        await WorkerThread(make_broken).start()
    assert threading.active_count() == before
    await broker.close()
