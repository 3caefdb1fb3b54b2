"""Events: what a command publishes, when it leaves, and what runs after its commit."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backchannel import App, Command, Context, Event, Namespace, Refused, Struct
from backchannel.store.sqlite import SqliteStore
from backchannel.worker.runtime import WorkerLimits

if TYPE_CHECKING:
    from tests.unit.worker.conftest import StartWorker

app = App("notebook")


@app.namespace("room")
class Room(Namespace):
    """A durable channel."""


@app.namespace("lights")
class Lights(Namespace):
    """A live channel."""

    kind = "live"
    history = 7
    max_age = 11.0


@app.namespace("cursor")
class Cursor(Namespace):
    """A channel without a log."""

    kind = "ephemeral"


class Count(Struct):
    """An answer."""

    count: int


@app.event("note.written")
class Written(Event):
    """A durable event."""

    seq: int
    text: str = ""


@app.event("note.typed", ephemeral=True)
class Typed(Event):
    """An event that is never logged."""

    user: str


class Undeclared(Event):
    """An event that nobody declared."""


@pytest.fixture(autouse=True)
def _forget() -> None:
    announced.clear()


@app.command("note.announce")
class Announce(Command[Count]):
    """Publish on every kind of channel, and call back after the commit."""

    text: str = ""
    fail: bool = False


announced: list[str] = []


@app.handle(Announce)
async def announce(ctx: Context, request: Announce) -> Count:
    """Announce."""
    ctx.publish("room:a", Typed(ctx.user))
    ctx.publish("lights:a", Written(1), subject="lamp")
    ctx.publish("cursor:a", Written(2))
    ctx.publish("room:a", Written(3), ends=["bob"])
    ctx.publish("user:bob", Written(4), user="bot")

    async def call_back() -> None:
        announced.append(request.text)
        raise RuntimeError("a callback failed")

    async def call_back_too() -> None:
        announced.append(request.text + "!")

    ctx.after_commit(call_back)
    ctx.after_commit(call_back_too)
    if request.fail:
        raise Refused("conflict", "No.")
    return Count(0)


@app.command("note.publish_wrong")
class PublishWrong(Command[Count]):
    """Publish what must not be published."""

    what: str


@app.handle(PublishWrong)
async def publish_wrong(ctx: Context, request: PublishWrong) -> Count:
    """Publish."""
    channel = {"namespace": "cellar:a", "channel": "room:a b"}.get(request.what, "room:a")
    event = Undeclared() if request.what == "event" else Written(1)
    with pytest.raises(ValueError, match=r"declared|not a channel"):
        ctx.publish(channel, event)
    return Count(1)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_every_kind_leaves_only_after_the_commit(start_worker: StartWorker) -> None:
    """Durable, ephemeral and live events leave once their command is committed, and callbacks run behind them."""
    bench = await start_worker(app)
    assert isinstance(bench.store, SqliteStore)
    path = bench.store.path
    seen: list[int] = []

    def look(_: object) -> None:
        # Another connection sees only what is committed.
        with contextlib.closing(sqlite3.connect(path)) as other:
            seen.append(other.execute("SELECT count(*) FROM events").fetchone()[0])

    bench.broker.on_publish = look
    with capture_logs() as logs:
        reply = await bench.ask(bench.request("note.announce", {"text": "x"}, key="key-12345678"))
        await bench.worker.stop()
    assert seen == [2]
    assert reply.positions == {"room:a": 1, "user:bob": 1}
    published = [(e.channel, e.name, e.offset, e.user, e.key) for e in bench.broker.published]
    assert published == [
        ("room:a", "note.typed", 0, "alice", "key-12345678"),
        ("cursor:a", "note.written", 0, "alice", "key-12345678"),
        ("room:a", "note.written", 1, "alice", "key-12345678"),
        ("user:bob", "note.written", 1, "bot", None),
    ]
    assert bench.broker.published[2].ends == ["bob"]
    ((live, bounds, publication),) = bench.broker.appended
    assert (live.channel, live.subject, bounds.size, bounds.age) == ("lights:a", "lamp", 7, 11.0)
    assert publication
    assert announced == ["x", "x!"]
    assert "an after_commit callback failed" in [entry["event"] for entry in logs]


async def test_nothing_leaves_if_the_handler_fails(start_worker: StartWorker) -> None:
    """No event of any kind, and no callback, comes from a command that was refused."""
    bench = await start_worker(app)
    failure = await bench.refusal("note.announce", {"fail": True})
    assert failure.code == "conflict"
    await bench.worker.stop()
    assert (bench.broker.published, bench.broker.appended, announced) == ([], [], [])


@pytest.mark.parametrize("what", ["event", "namespace", "channel"])
async def test_undeclared_cannot_be_published(start_worker: StartWorker, what: str) -> None:
    """Only declared events, on channels of declared namespaces."""
    bench = await start_worker(app)
    assert (await bench.call("note.publish_wrong", {"what": what}))["count"] == 1


@app.command("note.grow")
class Grow(Command[Count]):
    """Publish a large event."""

    size: int


@app.handle(Grow)
async def grow(ctx: Context, request: Grow) -> Count:
    """Publish."""
    ctx.publish("room:a", Written(1, "x" * request.size))
    return Count(0)


async def test_event_over_the_limit_is_refused_before_it_is_logged(start_worker: StartWorker) -> None:
    """An event that no frame can carry is `too_large`, and nothing happened."""
    bench = await start_worker(app, limits=WorkerLimits(frame=3000))
    failure = await bench.refusal("note.grow", {"size": 3000})
    assert (failure.code, failure.outcome) == ("too_large", "none")
    await bench.call("note.grow", {"size": 1000})
    assert [e.offset for e in await bench.log("room:a")] == [1]


async def test_command_counts_although_its_events_cannot_be_published(start_worker: StartWorker) -> None:
    """What is committed is answered, whatever the broker does: the events are in the log."""
    bench = await start_worker(app)

    def fail(_: object) -> None:
        raise ConnectionError("the bus is gone")

    bench.broker.on_publish = fail
    with capture_logs() as logs:
        await bench.call("note.announce", {})
        await bench.worker.stop()
    assert [e.offset for e in await bench.log("room:a")] == [1]
    assert "events could not be published" in [entry["event"] for entry in logs]


@app.command("note.number")
class Number(Command[Count]):
    """Publish or answer a number."""

    published: int
    answered: int


@app.handle(Number)
async def number(ctx: Context, request: Number) -> Count:
    """Publish one, answer the other."""
    ctx.publish("room:a", Written(request.published * 2))
    return Count(request.answered * 2)


@pytest.mark.parametrize(("published", "answered"), [(2**53 - 1, 1), (1, 2**53 - 1)])
async def test_no_handler_makes_what_clients_cannot_hold(
    start_worker: StartWorker, published: int, answered: int
) -> None:
    """ENC-3: an event or a reply with an integer beyond 2^53 - 1 fails its command, and nothing of it is kept."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        failure = await bench.refusal("note.number", {"published": published, "answered": answered})
    assert (failure.code, failure.outcome) == ("internal", "none")
    assert any("as strings" in str(entry.get("exc_info", "")) for entry in logs)
    assert await bench.log("room:a") == []
    assert (await bench.call("note.number", {"published": 1, "answered": 1}))["count"] == 2
