"""Commands that run alone: who waits for the outside world is waited for by its own lane only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from backchannel import App, Command, Context, Event, Namespace
from backchannel.worker.runtime import WorkerLimits

if TYPE_CHECKING:
    from tests.unit.worker.conftest import Bench, StartWorker

    from backchannel.relay.relay import Reply

metadata = sa.MetaData()
rows = sa.Table(
    "rows",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("lane", sa.Text, nullable=False),
)

app = App("outside")
app.tables(metadata)


@app.namespace("lane")
class Lane(Namespace):
    """A durable channel."""


@app.event("row.put")
class WasPut(Event):
    """A row was put."""

    number: int


class World:
    """What handlers and the test tell each other; made anew for each test."""

    begun: ClassVar[list[str]]
    changed: ClassVar[asyncio.Event]
    gates: ClassVar[dict[str, asyncio.Event]]
    ended: ClassVar[list[str]]

    @classmethod
    def gate(cls, name: str) -> asyncio.Event:
        """What a handler of this name waits for."""
        return cls.gates.setdefault(name, asyncio.Event())

    @classmethod
    async def wait(cls, name: str, stubborn: bool = False) -> None:
        """A handler's way to wait."""
        cls.begun.append(name)
        cls.changed.set()
        try:
            await cls.gate(name).wait()
        except asyncio.CancelledError:
            cls.ended.append(name)
            if not stubborn:
                raise
            await cls.gate(name).wait()

    @classmethod
    async def until(cls, *names: str) -> None:
        """Until handlers of these names have begun."""
        async with asyncio.timeout(10):
            while not set(names) <= set(cls.begun):
                cls.changed.clear()
                await cls.changed.wait()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    World.begun, World.ended, World.gates, World.changed = [], [], {}, asyncio.Event()


class _Put(Command[int]):
    lane: str
    name: str = ""
    read: bool = False
    """Read before it waits."""
    stubborn: bool = False
    """Heed no cancelling."""


@app.command("row.put", lane="lane")
class Put(_Put):
    """Put a row."""


@app.command("row.ask", lane="lane")
class Ask(_Put):
    """Put a row; with a name, wait first, which is not declared."""


@app.command("row.fetch", lane="lane", own_transaction=True)
class Fetch(_Put):
    """Put a row, in a transaction of its own; with a name, wait first."""


async def _put(ctx: Context, request: _Put) -> int:
    if request.read:
        await asyncio.gather(ctx.db.rows(sa.select(rows)), ctx.next("reads"))
    if request.name:
        await World.wait(request.name, request.stubborn)
    number = await ctx.next(f"rows:{request.lane}")
    ctx.insert(rows, lane=request.lane)
    ctx.publish(f"lane:{request.lane}", WasPut(number))
    return number


@app.handle(Put)
async def put(ctx: Context, request: Put) -> int:
    """Put a row."""
    return await _put(ctx, request)


@app.handle(Ask)
async def ask(ctx: Context, request: Ask) -> int:
    """Put a row after a wait."""
    return await _put(ctx, request)


@app.handle(Fetch)
async def fetch(ctx: Context, request: Fetch) -> int:
    """Put a row, alone."""
    return await _put(ctx, request)


KEY = "key-of-the-call"


def send(bench: Bench, name: str, data: dict[str, Any], **more: Any) -> asyncio.Task[Reply]:
    """Ask, beside the test."""
    return asyncio.create_task(bench.ask(bench.request(name, data, **more)))


async def number(asking: asyncio.Task[Reply]) -> int:
    """What was answered."""
    reply = await asking
    assert reply.failure is None, reply.failure
    answer = msgspec.json.decode(reply.data)
    assert isinstance(answer, int)
    return answer


@pytest.mark.parametrize("command", ["row.fetch", "row.ask"])
async def test_other_lanes_go_on_while_one_waits(start_worker: StartWorker, command: str) -> None:
    """While a handler waits, declared so or not, other lanes are answered; what its own lane is sent waits in order."""
    bench = await start_worker(app, limits=WorkerLimits())
    with capture_logs():
        waiting = send(bench, command, {"lane": "a", "name": "first"})
        await World.until("first")
        behind = [send(bench, name, {"lane": "a"}) for name in ("row.put", "row.fetch", "row.fetch", "row.put")]
        for expected in range(1, 21):
            assert await bench.call("row.put", {"lane": "b"}) == expected
        assert await bench.call("row.fetch", {"lane": "b"}) == 21
        assert not any(asking.done() for asking in (waiting, *behind))
        World.gate("first").set()
        assert [await number(asking) for asking in (waiting, *behind)] == [1, 2, 3, 4, 5]
    assert [event.offset for event in await bench.log("lane:a")] == [1, 2, 3, 4, 5]


async def test_handler_that_holds_up_its_batch_costs_the_others_no_effect(start_worker: StartWorker) -> None:
    """The first time a batch is rolled back and goes on without the one that waits; later none waits for it at all."""
    bench = await start_worker(app, limits=WorkerLimits(batch_seconds=30.0))

    async def round_of(name: str) -> None:
        lanes = ("x", "a", "x", "y")
        others = [bench.request("row.put", {"lane": lane}) for lane in lanes]
        others.insert(1, bench.request("row.ask", {"lane": "a", "name": name}))
        asking = [asyncio.create_task(bench.ask(request)) for request in others]
        for index in (0, 3, 4):
            await number(asking[index])
        assert not any(asking[index].done() for index in (1, 2))
        World.gate(name).set()
        assert await number(asking[1]) < await number(asking[2])

    with capture_logs() as logs:
        await round_of("first")
        World.begun.clear()
        await round_of("second")
    assert World.begun == ["second"]
    assert [entry["request"] for entry in logs if "runs alone" in entry["event"]] == ["row.ask"]
    assert [event.offset for event in await bench.log("lane:x")] == [1, 2, 3, 4]
    assert [event.offset for event in await bench.log("lane:a")] == [1, 2, 3, 4]


@pytest.mark.parametrize("key", [None, KEY])
async def test_no_writer_is_held_before_the_first_read(start_worker: StartWorker, key: str | None) -> None:
    """A handler that waits before it touches the database holds no transaction, and then has one."""
    bench = await start_worker(app)
    waiting = send(bench, "row.fetch", {"lane": "a", "name": "first"}, key=key)
    await World.until("first")
    async with asyncio.timeout(5):
        await (await bench.store.begin(["a"])).rollback()
    World.gate("first").set()
    assert await number(waiting) == 1


async def test_key_given_again_while_it_runs_has_one_effect(start_worker: StartWorker) -> None:
    """The same key, in the same lane or with other data in another: one effect, and each has its answer."""
    bench = await start_worker(app)
    first = send(bench, "row.fetch", {"lane": "a", "name": "first"}, key=KEY)
    await World.until("first")
    again = [send(bench, "row.fetch", {"lane": "a", "name": "first"}, key=KEY, attempt=attempt) for attempt in (1, 2)]
    other = send(bench, "row.fetch", {"lane": "b", "name": "other"}, key=KEY)
    await World.until("other")
    World.gate("first").set()
    assert [await number(asking) for asking in (first, *again)] == [1, 1, 1]
    World.gate("other").set()
    failure = (await other).failure
    assert failure is not None
    assert failure.code == "conflict"
    assert World.begun == ["first", "other"]
    assert [len(await bench.log(channel)) for channel in ("lane:a", "lane:b")] == [1, 0]


@pytest.mark.parametrize("stubborn", [False, True])
async def test_waiting_with_the_writer_held_is_bounded(start_worker: StartWorker, stubborn: bool) -> None:
    """Who reads and then waits is rolled back, whether it heeds its end or not; the log tells the cure."""
    bench = await start_worker(app, limits=WorkerLimits(held=0.3))
    with capture_logs() as logs:
        waiting = send(bench, "row.fetch", {"lane": "a", "name": "first", "read": True, "stubborn": stubborn})
        await World.until("first")
        assert await bench.call("row.put", {"lane": "b"}) == 1
        while not any(entry["log_level"] == "error" for entry in logs):  # noqa: ASYNC110  # a log wakes nobody
            await asyncio.sleep(0)
        World.gate("first").set()
        failure = (await waiting).failure
    assert failure is not None
    assert (failure.code, failure.outcome) == ("unavailable", "none")
    assert "0.3 s" in failure.message
    assert [entry["request"] for entry in logs if "wait first" in entry["event"].replace("\n", " ")] == ["row.fetch"]
    assert await bench.log("lane:a") == []
    assert await bench.call("row.fetch", {"lane": "a"}) == 1


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("stubborn", [False, True])
async def test_cancelled_while_it_runs_alone_is_stopped(start_worker: StartWorker, read: bool, stubborn: bool) -> None:
    """Cancelling stops a command that has not committed; it has no effect, and its lane is free."""
    bench = await start_worker(app)
    request = bench.request("row.fetch", {"lane": "a", "name": "first", "read": read, "stubborn": stubborn})
    codes: list[str] = []
    bench.relay.send(request, lambda reply: codes.append(reply.failure.code if reply.failure else ""))
    await World.until("first")
    bench.relay.cancel(request.id)
    behind = send(bench, "row.put", {"lane": "a"})
    if stubborn:
        World.gate("first").set()
    assert await number(behind) == 1
    assert (codes, World.ended) == (["cancelled"], ["first"])
    assert len(await bench.log("lane:a")) == 1


async def test_cancelled_before_it_begins_frees_its_lane(start_worker: StartWorker) -> None:
    """A command that waits for room beside the batches does not run if it is cancelled, and its lane goes on."""
    bench = await start_worker(app, limits=WorkerLimits(alone=1))
    waiting = send(bench, "row.fetch", {"lane": "a", "name": "first"})
    await World.until("first")
    request = bench.request("row.fetch", {"lane": "b", "name": "second"})
    bench.relay.send(request, lambda reply: None)
    behind = send(bench, "row.put", {"lane": "b"})
    assert await bench.call("row.put", {"lane": "c"}) == 1
    bench.relay.cancel(request.id)
    assert await number(behind) == 1
    World.gate("first").set()
    assert await number(waiting) == 1
    assert World.begun == ["first"]


@pytest.mark.parametrize("command", ["row.fetch", "row.put"])
async def test_what_is_not_begun_in_time_is_told_so(start_worker: StartWorker, command: str) -> None:
    """A command whose time is over before its turn came is `unavailable`, outcome `none`, and does not run later."""
    bench = await start_worker(app)
    waiting = send(bench, "row.fetch", {"lane": "a", "name": "first"})
    await World.until("first")
    failure = (await bench.ask(bench.request(command, {"lane": "a", "name": "late"}, timeout=0.2))).failure
    assert failure is not None
    assert (failure.code, failure.outcome) == ("unavailable", "none")
    World.gate("first").set()
    assert await number(waiting) == 1
    assert await bench.call(command, {"lane": "a"}) == 2
    assert World.begun == ["first"]


async def test_no_user_takes_all_the_room(start_worker: StartWorker) -> None:
    """Of one user only so many run at once, users have their turns one after another, and `alone` bounds them all."""
    bench = await start_worker(app, limits=WorkerLimits(alone=3, alone_per_user=2))

    def fetch(user: str, number: int) -> asyncio.Task[Reply]:
        name = f"{user}{number}"
        return send(bench, "row.fetch", {"lane": name, "name": name}, user=user)

    greedy = [fetch("a", number) for number in range(4)]
    await World.until("a0", "a1")
    modest = [fetch("b", 0), fetch("c", 0)]
    await World.until("b0")
    assert World.begun == ["a0", "a1", "b0"]
    World.gate("b0").set()
    await World.until("c0")
    assert World.begun == ["a0", "a1", "b0", "c0"]
    for name in ("c0", "a0", "a1", "a2", "a3"):
        World.gate(name).set()
    assert [await number(asking) for asking in (*greedy, *modest)] == [1] * 6
    assert World.begun[4:] == ["a2", "a3"]


async def test_stop_gives_what_runs_alone_a_while(start_worker: StartWorker) -> None:
    """Stopping cancels what does not end in time; it has no effect, and what waits for its lane is refused."""
    bench = await start_worker(app, limits=WorkerLimits(stop=0.01))
    waiting = send(bench, "row.fetch", {"lane": "a", "name": "first"})
    await World.until("first")
    behind = send(bench, "row.put", {"lane": "a"})
    await bench.call("row.put", {"lane": "b"})
    with capture_logs():
        await bench.worker.stop()
    failures = [reply.failure for reply in await asyncio.gather(waiting, behind)]
    outcomes = [(failure.code, failure.outcome) for failure in failures if failure]
    assert outcomes == [("cancelled", "none"), ("unavailable", "none")]
    assert await bench.log("lane:a") == []
