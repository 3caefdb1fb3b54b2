"""Two workers on one database: what one process could do with its own memory must hold without it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import Struct

from backchannel import App, Command, Context, Event, Namespace, Refused
from backchannel.app import Migrations
from backchannel.broker.broker import Envelope
from backchannel.store.postgres import PostgresStore
from backchannel.store.postgres_limits import PostgresLimits
from backchannel.store.store import KeyRow

OpenStore = Callable[..., Awaitable[PostgresStore]]

app = App("many")
rows = sa.Table(
    "rows",
    sa.MetaData(),
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)
app.tables(rows.metadata)


@app.namespace("lane")
class Lane(Namespace):
    """Durable channels."""


@app.event("row.added")
class Added(Event):
    """A row."""

    number: int


class Sum(Struct):
    """A number."""

    number: int


@app.command("row.add", lane="lane")
class Add(Command[Sum]):
    """Add a row, and count it with a counter that all lanes share."""

    lane: str


@app.handle(Add)
async def add(ctx: Context, request: Add) -> Sum:
    """Add."""
    number = await ctx.next("rows")
    ctx.insert(rows, number=number)
    ctx.publish(f"lane:{request.lane}", Added(number))
    return Sum(number)


class World:
    """What a handler waits for; made anew for each test."""

    gate: asyncio.Event
    begun: asyncio.Semaphore


@app.command("row.wait", lane="lane", own_transaction=True)
class Wait(Command[int]):
    """Count the rows, then wait for the outside world."""

    lane: str


@app.handle(Wait)
async def wait(ctx: Context, request: Wait) -> int:
    """Wait with an open transaction."""
    found = await ctx.db.rows(sa.select(rows).where(rows.c.app == ctx.app))
    World.begun.release()
    await World.gate.wait()
    return len(found)


async def numbers(store: PostgresStore) -> list[int]:
    """The rows' numbers, in order."""
    reader = await store.snapshot()
    try:
        return [row.number for row in await reader.rows(sa.select(rows.c.number).order_by(rows.c.number))]
    finally:
        await reader.close()


async def test_one_key_at_once_in_two_lanes_has_one_effect(start_worker: Any) -> None:
    """Whichever worker is first; the other one tells the same reply. Other data under the key is a conflict."""
    one, two = await start_worker(app), await start_worker(app)
    for attempt in range(10):
        key = f"key-number-{attempt:04}"
        replies = await asyncio.gather(
            one.ask("row.add", {"lane": "a"}, key=key),
            two.ask("row.add", {"lane": "a"}, key=key),
            two.ask("row.add", {"lane": "b"}, key=key),
        )
        told = {reply.data for reply in replies if reply.failure is None}
        assert len(told) == 1
        assert {reply.failure.code for reply in replies if reply.failure is not None} == {"conflict"}
    assert await numbers(one.store) == list(range(1, 11))


async def test_a_key_is_seen_by_whoever_gets_the_lane_next(open_store: OpenStore) -> None:
    """Who waited for a lane sees in its next statement what the lane's last transaction wrote."""
    one, two = await open_store(), await open_store()
    first = await one.begin(["lane"])
    waiting = asyncio.create_task(two.begin(["lane"]))
    await first.save_keys([KeyRow("p", "k", b"d", b"r", 1)])
    await first.commit()
    second = await waiting
    assert list(await second.keys([("p", "k")])) == [("p", "k")]
    await second.rollback()


async def test_offsets_and_counters_are_dense_whoever_gives_them(open_store: OpenStore) -> None:
    """Appends to the same channels from two processes, in every order of channels, leave no hole and nothing twice."""
    stores = [await open_store(), await open_store()]
    channels = ["c:a", "c:b", "c:c"]

    async def write(store: PostgresStore, writer: int) -> None:
        for turn in range(12):
            transaction = await store.begin([f"lane {writer}"])
            order = channels if (turn + writer) % 2 else channels[::-1]
            await transaction.set_counters({name: n + 1 for name, n in (await transaction.counters(order)).items()})
            await transaction.append([Envelope(channel=c, name="x.y", data=b"%d" % writer) for c in order * 2])
            await transaction.commit()

    await asyncio.gather(*(write(store, 2 * n + i) for i, store in enumerate(stores) for n in range(3)))
    reader = stores[0].log_reader()
    for channel in channels:
        head, events = await reader.read(channel, 0, 1000)
        assert [event.offset for event in events] == list(range(1, 6 * 12 * 2 + 1))
        assert head.offset == len(events)
    await reader.close()
    transaction = await stores[1].begin([])
    assert await transaction.counters(channels) == dict.fromkeys(channels, 6 * 12)
    await transaction.rollback()


async def test_a_log_never_shows_a_hole(open_store: OpenStore) -> None:
    """If offset n can be read, all below n can, also while several write."""
    stores = [await open_store(), await open_store()]
    reader = stores[0].log_reader()
    done = False

    async def write(store: PostgresStore) -> None:
        for _ in range(40):
            transaction = await store.begin([])
            await transaction.append([Envelope(channel="c:a", name="x.y", data=b"1")])
            await transaction.commit()

    async def watch() -> int:
        looks = 0
        while not done:
            head, events = await reader.read("c:a", 0, 1000)
            assert [event.offset for event in events] == list(range(1, head.offset + 1))
            looks += 1
        return looks

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write(store) for store in stores))
    done = True
    assert await watching > 1
    await reader.close()


async def test_a_stopped_worker_frees_its_lanes(open_store: OpenStore) -> None:
    """A transaction in which nothing happens is ended by the server; its lane is another worker's then, and its late
    commit says that nothing happened."""
    stopped = await open_store(limits=PostgresLimits(idle=0.3))
    other = await open_store()
    forgotten = await stopped.begin(["lane"])
    await forgotten.append([Envelope(channel="c:a", name="x.y", data=b"1")])
    transaction = await other.begin(["lane"])
    (event,) = await transaction.append([Envelope(channel="c:a", name="x.y", data=b"2")])
    await transaction.commit()
    assert event.offset == 1
    with pytest.raises(Refused) as refused:
        await forgotten.commit()
    assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
    await (await stopped.begin(["lane"])).rollback()


async def test_a_lane_that_stays_taken_is_refused(open_store: OpenStore) -> None:
    """Whoever waits for too long is told so and may try again, in the same process or in another one."""
    store = await open_store(limits=PostgresLimits(lock=0.2))
    other = await open_store(limits=PostgresLimits(lock=0.2))
    holding = await store.begin(["lane"])
    for waiting in (store, other):
        with pytest.raises(Refused) as refused:
            await waiting.begin(["other", "lane"])
        assert (refused.value.code, refused.value.outcome, refused.value.retry) == ("unavailable", "none", True)
    await (await other.begin(["other"])).rollback()
    await holding.rollback()
    await (await other.begin(["lane"])).rollback()


async def test_a_statement_that_takes_too_long_is_ended(open_store: OpenStore) -> None:
    """A slow select of a handler does not hold its lane for ever."""
    store = await open_store(limits=PostgresLimits(statement=0.2))
    transaction = await store.begin(["lane"])
    with pytest.raises(Refused, match="took too long"):
        await transaction.rows(sa.select(sa.func.pg_sleep(20)))
    await transaction.rollback()
    await (await store.begin(["lane"])).rollback()


async def test_a_deadlock_has_no_effect_and_may_be_tried_again(open_store: OpenStore) -> None:
    """Two transactions that lock rows crosswise: one goes on, the other is undone and told that nothing happened."""
    migrations = [Migrations("many", rows.metadata, None)]
    one, two = await open_store(migrations=migrations), await open_store(migrations=migrations)
    transaction = await one.begin([])
    await transaction.insert(rows, [{"id": "a", "number": 0}, {"id": "b", "number": 0}])
    await transaction.commit()
    met = asyncio.Barrier(2)

    async def cross(store: PostgresStore, first: str, second: str) -> str:
        transaction = await store.begin([first])
        try:
            await transaction.update(rows, [({"id": first}, {"number": 1})])
            await met.wait()
            await transaction.update(rows, [({"id": second}, {"number": 1})])
            await transaction.commit()
        except Refused as exc:
            return f"{exc.code} {exc.outcome} {exc.retry}"
        finally:
            await transaction.rollback()
        return "done"

    assert sorted(await asyncio.gather(cross(one, "a", "b"), cross(two, "b", "a"))) == ["done", "unavailable none True"]


async def test_lone_commands_leave_a_writer_to_the_batches(start_worker: Any) -> None:
    """However many handlers wait with their transactions open, commands in batches go on; several wait at once."""
    bench = await start_worker(app, pool=6)
    World.gate, World.begun = asyncio.Event(), asyncio.Semaphore(0)
    asked = [asyncio.create_task(bench.call("row.wait", {"lane": f"w{n}"}, user=f"user{n}")) for n in range(5)]
    async with asyncio.timeout(10):
        for _ in range(bench.store.writers - 1):
            await World.begun.acquire()
        assert await bench.call("row.add", {"lane": "a"}) == {"number": 1}
        assert World.begun.locked(), "one writer is left for batches"
        World.gate.set()
        answers = await asyncio.gather(*asked)
    assert sorted(answers) == [0, 0, 1, 1, 1]


async def test_a_job_of_the_installation_runs_on_one_worker(start_worker: Any) -> None:
    """Of two workers one runs it; when that one stops, the other one does."""
    ran: list[str] = []
    heard = asyncio.Event()

    def app_of(name: str) -> App:
        app = App("jobs")

        @app.every(0.02)
        async def beat(publisher: object) -> None:
            ran.append(name)
            heard.set()

        beat.__qualname__ = "beat"
        return app

    async def next_beat() -> str:
        heard.clear()
        async with asyncio.timeout(10):
            await heard.wait()
        return ran[-1]

    one = await start_worker(app_of("one"))
    await next_beat()
    await start_worker(app_of("two"))
    for _ in range(10):
        assert await next_beat() == "one"
    await one.worker.stop()
    ran.clear()
    assert await next_beat() == "two"
    assert set(ran) == {"two"}


async def test_cancelling_a_begin_leaves_nothing_taken(open_store: OpenStore) -> None:
    """Who gives up while it waits for a lane of another process holds neither lane nor connection afterwards."""
    one, two = await open_store(), await open_store(pool=2)
    holding = await one.begin(["lane"])
    waiting = asyncio.create_task(two.begin(["lane"]))
    async with asyncio.timeout(10):
        while not two._writing._used:  # noqa: ASYNC110 - it waits in the server, which tells nobody
            await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await holding.rollback()
    for _ in range(2):
        await (await two.begin(["lane"])).rollback()
    await (await one.begin(["lane"])).rollback()
