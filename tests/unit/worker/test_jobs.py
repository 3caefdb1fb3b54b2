"""Jobs, and the publisher that they are given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest
from structlog.testing import capture_logs

from backchannel import App, Command, Context, Event, Namespace, Publisher, Query, Refused, RegistrationError
from backchannel.broker.broker import LogHead

if TYPE_CHECKING:
    from tests.unit.worker.conftest import StartWorker


class Sampled(Event):
    """A sample."""

    value: int


class Typed(Event):
    """Never logged."""


class Undeclared(Event):
    """Not declared."""


class Who(Command[tuple[str, str]]):
    """Tell who asks."""

    fail: bool = False


class Ping(Query[int]):
    """Answer a number."""


class Host(Namespace):
    """A live channel."""

    kind = "live"


class Room(Namespace):
    """A durable channel."""


class Tally:
    """What handlers did; made anew for each test."""

    calls: ClassVar[int]


async def who(ctx: Context, request: Who) -> tuple[str, str]:
    """Tell."""
    Tally.calls += 1
    if request.fail:
        raise Refused("conflict", "No.")
    ctx.publish("room:a", Typed())
    return ctx.user, ctx.key or ""


async def ping(ctx: Context, request: Ping) -> int:
    """Answer."""
    return 7


def new_app() -> App:
    """An app whose jobs the test adds."""
    Tally.calls = 0
    app = App("jobs")
    app.event("host.sampled")(Sampled)
    app.event("user.typed", ephemeral=True)(Typed)
    app.command("who.asks")(Who)
    app.query("host.ping")(Ping)
    app.namespace("host")(Host)
    app.namespace("room")(Room)
    app.handle(Who)(who)
    app.handle(Ping)(ping)
    return app


async def test_publish_on_live_and_ephemeral_channels(start_worker: StartWorker) -> None:
    """A job's event is with the broker when `publish` returns."""
    bench = await start_worker(new_app())
    await bench.worker.publisher.publish("host:a", Sampled(1), subject="cpu")
    await bench.worker.publisher.publish("room:a", Typed())
    ((envelope, bounds, publication),) = bench.broker.appended
    assert (envelope.channel, envelope.data, envelope.subject) == ("host:a", b'{"value":1}', "cpu")
    assert (bounds.size, bool(publication)) == (Host.history, True)
    assert [(e.channel, e.name, e.offset) for e in bench.broker.published] == [("room:a", "user.typed", 0)]


@pytest.mark.parametrize(
    ("channel", "event", "words"),
    [
        ("room:a", Sampled(1), "is durable"),
        ("cellar:a", Sampled(1), "not declared"),
        ("host:a", Undeclared(), "not declared"),
        ("host:a b", Sampled(1), "not a channel"),
    ],
)
async def test_publish_tells_what_is_wrong(start_worker: StartWorker, channel: str, event: Event, words: str) -> None:
    """Durable events come from commands alone; what is not declared cannot be published."""
    bench = await start_worker(new_app())
    with pytest.raises(ValueError, match=words):
        await bench.worker.publisher.publish(channel, event)
    assert (bench.broker.published, bench.broker.appended) == ([], [])


async def test_publish_that_the_broker_does_not_accept(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that fails is `unavailable`, without its details."""
    bench = await start_worker(new_app())

    async def fail(*_: object) -> LogHead:
        raise ConnectionError("secret")

    monkeypatch.setattr(bench.broker, "append", fail)
    with pytest.raises(Refused) as refused:
        await bench.worker.publisher.publish("host:a", Sampled(1))
    assert refused.value.code == "unavailable"
    assert "secret" not in str(refused.value)


async def test_call_runs_as_a_handler_of_its_own(start_worker: StartWorker) -> None:
    """A call acts for the user it names, is typed in both forms, and a key has one effect."""
    bench = await start_worker(new_app())
    publisher = bench.worker.publisher
    assert await publisher.call(Who(), user="bob", key="key-12345678") == ("bob", "key-12345678")
    assert await publisher.call("who.asks", {}, user="bob", key="key-12345678") == ("bob", "key-12345678")
    assert Tally.calls == 1
    assert await publisher.call(Ping(), user="bob") == 7
    with pytest.raises(Refused, match="conflict: No"):
        await publisher.call(Who(fail=True), user="bob")
    with pytest.raises(Refused, match="not_found"):
        await publisher.call("who.cares", {}, user="bob")
    with pytest.raises(Refused, match="invalid"):
        await publisher.call("who.asks", {"fail": 1}, user="bob")


async def test_starters_run_before_requests_are_taken(start_worker: StartWorker) -> None:
    """`on_start` may already ask; requests wait until it is done."""
    app = new_app()
    ready: list[bool] = []

    @app.on_start
    async def begin(publisher: Publisher) -> None:
        ready.append(bench.relay.ready())
        ready.append(await publisher.call(Ping(), user="x") == 7)

    bench = await start_worker(app, start=False)
    await bench.worker.start()
    assert ready == [False, True]
    assert bench.relay.ready()


async def test_failing_starter_ends_the_start(start_worker: StartWorker) -> None:
    """A worker whose `on_start` failed takes no requests."""
    app = new_app()

    @app.on_start
    async def begin(publisher: Publisher) -> None:
        raise RuntimeError("no model")

    bench = await start_worker(app, start=False)
    with pytest.raises(RuntimeError, match="no model"):
        await bench.worker.start()
    assert not bench.relay.ready()


async def test_app_without_a_handler_does_not_start(start_worker: StartWorker) -> None:
    """A request that nobody handles is found at start."""
    app = App("empty")
    app.query("host.ping")(Ping)
    bench = await start_worker(app, start=False)
    with pytest.raises(RegistrationError, match=r"No handler for host\.ping"):
        await bench.worker.start()


async def test_job_runs_again_although_it_fails(start_worker: StartWorker) -> None:
    """A job runs at once and then again and again; what it raises is logged and ends nothing."""
    app = new_app()
    runs: list[int] = []
    third = asyncio.Event()

    @app.every(0.001)
    async def sample(publisher: Publisher) -> None:
        runs.append(len(runs))
        if len(runs) == 3:
            third.set()
        raise SystemExit("no sensor") if len(runs) == 2 else RuntimeError("no sensor")

    with capture_logs() as logs:
        bench = await start_worker(app)
        await third.wait()
        await bench.worker.stop()
    count = len(runs)
    assert {entry["job"].rpartition(".")[2] for entry in logs} == {"sample"}
    await bench.relay.ask(bench.request("host.ping"))
    assert len(runs) == count


async def test_job_keeps_its_beat_and_never_overlaps(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs begin at whole multiples of the seconds after the first; beats that fall into a run are left out."""
    app = new_app()
    loop = asyncio.get_running_loop()
    clock = 1000.0
    begun: list[float] = []
    done = asyncio.Event()

    @app.every(10.0)
    async def work(publisher: Publisher) -> None:
        nonlocal clock
        begun.append(clock - 1000.0)
        clock += [3.0, 0.0, 25.0, 9.5, 0.0][len(begun) - 1]
        if len(begun) == 5:
            done.set()
            await asyncio.Event().wait()

    bench = await start_worker(app, start=False)
    sleep = asyncio.sleep

    async def sleep_virtually(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        await sleep(0)

    with monkeypatch.context() as patch:
        patch.setattr("backchannel.worker.jobs.asyncio.sleep", sleep_virtually)
        patch.setattr(loop, "time", lambda: clock)
        await bench.worker.start()
        await done.wait()
    assert begun == [0.0, 10.0, 20.0, 50.0, 60.0]
