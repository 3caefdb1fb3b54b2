"""Queries: each in one snapshot, beside the batches, without a task as long as it does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from backchannel import App, Command, Context, Event, LogPart, Namespace, Query, Refused, Struct
from backchannel.relay.relay import Reply
from backchannel.worker.runtime import WorkerLimits

if TYPE_CHECKING:
    from tests.unit.worker.conftest import StartWorker

metadata = sa.MetaData()
words = sa.Table(
    "words",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("word", sa.Text, primary_key=True),
)

app = App("dictionary")
app.tables(metadata)
variable: ContextVar[str] = ContextVar("variable", default="unset")
cleaned: list[str] = []


class Signals:
    """What handlers and tests tell each other; made anew for each test."""

    begun: ClassVar[asyncio.Event]
    proceed: ClassVar[asyncio.Event]


@app.namespace("words")
class Words(Namespace):
    """A durable channel."""


@app.event("word.added")
class Added(Event):
    """A word was added."""

    word: str


class Found(Struct):
    """An answer."""

    words: list[str]
    task: bool = False


@app.command("word.add")
class Add(Command[Found]):
    """Add a word."""

    word: str


@app.handle(Add)
async def add(ctx: Context, request: Add) -> Found:
    """Add."""
    if request.word == "read the log":
        await ctx.events({"words:all": 0})
    ctx.insert(words, word=request.word)
    ctx.publish("words:all", Added(request.word))
    return await ctx.call(Look())


@app.query("word.look", errors=["no_word"])
class Look(Query[Found]):
    """Look at the words, in one of many ways."""

    how: str = ""


@app.handle(Look)
async def look(ctx: Context, request: Look) -> Found:
    """Look."""
    assert variable.get() == "unset"
    variable.set("set by a query")
    await ctx.position("words:all")
    found = [row.word for row in await ctx.db.rows(sa.select(words.c.word).order_by(words.c.word))]
    match request.how:
        case "wait":
            Signals.begun.set()
            try:
                await Signals.proceed.wait()
            finally:
                cleaned.append("waited")
            assert [row.word for row in await ctx.db.rows(sa.select(words.c.word).order_by(words.c.word))] == found
        case "timeout":
            async with asyncio.timeout(5):
                await ctx.presence("words:all")
        case "cancelled":
            other = asyncio.get_running_loop().create_future()
            other.cancel()
            await other
        case "exit":
            raise SystemExit(3)
        case "wrong":
            found = [cast("Any", 5)]
        case "refuse":
            raise Refused("no_word", "No such word.")
        case "fail":
            raise RuntimeError("secret")
        case "insert":
            ctx.insert(words, word="x")
        case "next":
            await ctx.next("x")
        case "advance":
            await ctx.advance("x", 1)
        case "publish":
            ctx.publish("words:all", Added("x"))
        case "execute":
            await ctx.db.execute(sa.text("DELETE FROM words"))
        case "call":
            await ctx.call("word.add", {"word": "x"})
        case "events":
            parts = await ctx.events({"words:all": 1, "words:none": 0, "words:before": 7}, 2)
            assert parts["words:none"] == LogPart(parts["words:all"].epoch, 0, False, [])
            assert parts["words:before"].gap
            assert parts["words:all"].newest == 4
            found = [event.decode(Added).word for event in parts["words:all"].events]
            assert [(event.offset, event.user) for event in parts["words:all"].events] == [(2, "alice"), (3, "alice")]
        case "wrong events":
            await ctx.events({"words:all": -1})
        case "long":
            found = ["x" * 3000]
    return Found(found, asyncio.current_task() is not None)


@pytest.fixture(autouse=True)
def _forget() -> None:
    Signals.begun = asyncio.Event()
    Signals.proceed = asyncio.Event()
    cleaned.clear()


async def test_query_sees_what_was_committed_before_it_was_asked(start_worker: StartWorker) -> None:
    """A command's effect is in every query asked after its answer, and the position says so."""
    bench = await start_worker(app)
    for count, word in enumerate(["a", "b"], 1):
        assert (await bench.call("word.add", {"word": word}))["words"] == ["a", "b"][:count]
        reply = await bench.ask(bench.request("word.look"))
        assert msgspec.json.decode(reply.data)["words"] == ["a", "b"][:count]
        assert reply.positions == {"words:all": count}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_query_that_does_not_wait_needs_no_task(start_worker: StartWorker) -> None:
    """Many queries at once run in one turn of the loop, each in a context of its own."""
    bench = await start_worker(app)
    replies = await bench.ask_all([bench.request("word.look") for _ in range(20)])
    assert [msgspec.json.decode(reply.data)["task"] for reply in replies] == [False] * 20
    assert bench.worker.stats.queries == 20


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_queries_are_answered_in_the_turn_in_which_they_came(start_worker: StartWorker) -> None:
    """What comes together is answered together before the loop goes on: behind it, others may hold the interpreter."""
    bench = await start_worker(app, monotonic=lambda: 0.0)  # so that no turn is over early
    told: list[Any] = []
    reply = bench.relay.reply

    def replied(replies: Sequence[Reply]) -> None:
        told.append(len(replies))
        reply(replies)

    bench.relay.reply = replied  # type: ignore[method-assign]
    bench.worker._receive([bench.request("word.look") for _ in range(20)])
    assert told == [20]


async def test_query_that_waits_holds_up_nobody(start_worker: StartWorker) -> None:
    """While one query waits, commands commit and other queries answer; its snapshot stays what it was."""
    bench = await start_worker(app)
    waiting = asyncio.create_task(bench.call("word.look", {"how": "wait"}))
    await Signals.begun.wait()
    await bench.call("word.add", {"word": "a"})
    assert (await bench.call("word.look"))["words"] == ["a"]
    Signals.proceed.set()
    assert await waiting == {"words": [], "task": True}
    # Its name is known now: it begins in a task.
    assert (await bench.call("word.look"))["task"] is True


async def test_query_may_need_a_task_from_its_beginning(start_worker: StartWorker) -> None:
    """What asyncio offers only within a task works in a query, and nothing is logged."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        assert (await bench.call("word.look", {"how": "timeout"}))["task"] is True
        assert (await bench.call("word.look", {"how": "timeout"}))["task"] is True
    assert logs == []


async def test_query_that_takes_too_long(start_worker: StartWorker) -> None:
    """A query is cancelled when its time is over, and what it holds is let go."""
    bench = await start_worker(app, limits=WorkerLimits(handler=0.02))
    for _ in range(2):
        failure = await bench.refusal("word.look", {"how": "wait"})
        assert (failure.code, failure.outcome, failure.retry) == ("unavailable", "none", True)
    assert cleaned == ["waited", "waited"]


async def test_cancelled_query_stops(start_worker: StartWorker) -> None:
    """A query that nobody waits for any more is cancelled."""
    bench = await start_worker(app)
    request = bench.request("word.look", {"how": "wait"})
    replies: list[str] = []
    bench.relay.send(request, lambda reply: replies.append(reply.failure.code if reply.failure else ""))
    await Signals.begun.wait()
    bench.relay.cancel(request.id)
    await bench.worker.stop()
    assert cleaned == ["waited"]
    assert replies == ["cancelled"]


async def test_a_query_reads_logs(start_worker: StartWorker) -> None:
    """Behind an offset come that channel's events, with their authors and offsets, at most so many; an offset that was
    never given is a gap. A command, whose own events are in no log yet, may not."""
    bench = await start_worker(app)
    for word in "abcd":
        await bench.call("word.add", {"word": word})
    assert (await bench.call("word.look", {"how": "events"}))["words"] == ["b", "c"]
    assert (await bench.refusal("word.look", {"how": "wrong events"})).code == "internal"
    assert (await bench.refusal("word.add", {"word": "read the log"})).code == "internal"


@pytest.mark.parametrize("how", ["insert", "next", "advance", "publish", "execute", "call", "fail", "cancelled"])
async def test_query_changes_nothing(start_worker: StartWorker, how: str) -> None:
    """Every verb that changes something is a defect in a query: `internal`, with the cure in the log."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        failure = await bench.refusal("word.look", {"how": how})
    assert (failure.code, failure.outcome) == ("internal", "none")
    (entry,) = logs
    assert ("changes nothing" in str(entry["exc_info"])) is (how not in ("fail", "cancelled"))
    assert (await bench.call("word.look"))["words"] == []


async def test_refusals_of_queries(start_worker: StartWorker) -> None:
    """A declared code is told; a reply over the limit is `too_large`."""
    bench = await start_worker(app, limits=WorkerLimits(frame=2000))
    assert (await bench.refusal("word.look", {"how": "refuse"})).code == "no_word"
    assert (await bench.refusal("word.look", {"how": "long"})).code == "too_large"
    assert (await bench.refusal("word.look", {"how": 1})).code == "invalid"
    assert (await bench.refusal("secret.internal", kind="internal")).code == "not_found"


@pytest.mark.parametrize(("how", "words"), [("exit", "3"), ("wrong", "Expected `str`, got `int` - at `$.words[0]`")])
async def test_defects_of_queries(start_worker: StartWorker, how: str, words: str) -> None:
    """Whatever a query's handler raises or answers wrongly is `internal`, and the next one has its turn."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        assert (await bench.refusal("word.look", {"how": how})).code == "internal"
    (entry,) = [entry for entry in logs if entry["event"] == "a handler failed"]
    assert words in str(entry["exc_info"])
    assert (await bench.call("word.look"))["words"] == []


async def test_stop_cancels_queries_that_do_not_end(start_worker: StartWorker) -> None:
    """Stopping gives waiting queries a while, then cancels them; each has its answer."""
    bench = await start_worker(app, limits=WorkerLimits(stop=0.01))
    waiting = asyncio.create_task(bench.refusal("word.look", {"how": "wait"}))
    await Signals.begun.wait()
    await bench.worker.stop()
    assert (await waiting).code == "cancelled"
    assert cleaned == ["waited"]
