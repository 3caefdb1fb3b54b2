"""Commands: order, declarations, reads of what was declared, events, positions and replies.

One file, though long: all of it is asked of one app, whose handlers can do whatever a test needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from backchannel import App, Command, Context, Event, Namespace, Query, Refused, Struct
from backchannel.worker.runtime import WorkerLimits

if TYPE_CHECKING:
    from tests.unit.worker.conftest import Bench, StartWorker

metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)


class Signals:
    """What handlers tell the test; made anew for each."""

    begun: ClassVar[asyncio.Event]
    """Set when a handler that waits has begun."""
    go_on: ClassVar[asyncio.Event]
    """What a handler that pauses waits for."""
    no_number: ClassVar[Any] = None
    """What no type checker sees and no client expects."""


app = App("notebook")
app.tables(metadata)


@app.namespace("room")
class Room(Namespace):
    """A durable channel."""


class Note(Struct):
    """An answer."""

    id: str
    seq: int


class Count(Struct):
    """An answer."""

    count: int
    position: int = 0


@app.event("note.written")
class Written(Event):
    """A durable event."""

    seq: int


@app.command("note.write", lane="channel", errors=["full"])
class Write(Command[Note]):
    """Write a note, and fail in one of many ways."""

    channel: str
    text: str = ""
    id: str | None = None
    then: str = ""


@app.handle(Write)
async def write(ctx: Context, request: Write) -> Note:
    """Write a note."""
    if request.then.startswith("advance"):
        await ctx.advance(f"seq:{request.channel}", int(request.text))
    seq = await ctx.next(f"seq:{request.channel}")
    values = {"channel": request.channel, "seq": seq, "text": request.text}
    note = ctx.insert(notes, **values) if request.id is None else ctx.insert(notes, id=request.id, **values)
    ctx.publish(request.channel, Written(seq))
    if request.then == "read and refuse":
        await ctx.db.rows(sa.select(notes.c.id))
    match request.then:
        case "refuse" | "read and refuse" | "advance and refuse":
            raise Refused("full", "No room.", details={"left": 0})
        case "refuse undeclared":
            raise Refused("empty", "Not declared.")
        case "fail":
            raise RuntimeError("secret of the house")
        case "wait":
            Signals.begun.set()
            await asyncio.Event().wait()
        case "pause":
            Signals.begun.set()
            await Signals.go_on.wait()
        case "cancelled":
            other = asyncio.create_task(asyncio.sleep(0))
            other.cancel()
            await other
        case "exit":
            raise SystemExit(3)
        case "answer wrongly":
            return Note(note, Signals.no_number)
        case "answer nothing":
            return Signals.no_number  # type: ignore[no-any-return]
        case "publish wrongly":
            ctx.publish(request.channel, Written(Signals.no_number))
        case "swallow":
            try:
                ctx.insert(notes, id="taken", **values)
                ctx.insert(notes, id="taken", **values)
                await ctx.db.get(notes, id="taken")
            except Exception:
                pass  # what a careless handler does
    return Note(note, seq)


@app.command("note.count")
class CountAll(Command[Count]):
    """Count the notes of a room, as a command sees them."""

    channel: str


@app.handle(CountAll)
async def count_all(ctx: Context, request: CountAll) -> Count:
    """Count."""
    found = await ctx.db.value(sa.select(sa.func.count()).select_from(notes).where(notes.c.channel == request.channel))
    return Count(found, await ctx.position(request.channel))


@app.query("note.list")
class ListNotes(Query[list[tuple[int, str]]]):
    """All notes of a room."""

    channel: str


@app.handle(ListNotes)
async def list_notes(ctx: Context, request: ListNotes) -> list[tuple[int, str]]:
    """List."""
    await ctx.position(request.channel)
    statement = sa.select(notes.c.seq, notes.c.text).where(notes.c.channel == request.channel).order_by(notes.c.seq)
    return [(row.seq, row.text) for row in await ctx.db.rows(statement)]


@app.command("note.move")
class Move(Command[Count]):
    """Change and remove rows without reading them."""

    id: str
    remove: bool = False


@app.handle(Move)
async def move(ctx: Context, request: Move) -> Count:
    """Move or remove."""
    if request.remove:
        ctx.delete(notes, {"id": request.id})
    else:
        ctx.update(notes, {"id": request.id}, channel="room:b")
    return Count(0)


DEFECTS = {
    "exit": "3",
    "answer wrongly": "note.write: a Note came where Note is declared, and it does not fit: "
    "Expected `int`, got `null` - at `$.seq`.",
    "answer nothing": "note.write: a NoneType came where Note is declared, and it does not fit: "
    "Expected `object`, got `null`.",
    "publish wrongly": "note.written: a Written came where Written is declared, and it does not fit: "
    "Expected `int`, got `null` - at `$.seq`.",
}
"""What a handler can do that its declaration does not allow, and what the log says."""


async def notes_of(bench: Bench, channel: str = "room:a") -> list[list[object]]:
    """What is committed."""
    found: list[list[object]] = await bench.call("note.list", {"channel": channel})
    return found


async def test_command_writes_counts_publishes_and_answers(start_worker: StartWorker) -> None:
    """A command's row, counter value and event are there when its answer is."""
    bench = await start_worker(app)
    answer = await bench.call("note.write", {"channel": "room:a", "text": "x"})
    assert answer["seq"] == 1
    assert len(answer["id"]) == 26
    assert await notes_of(bench) == [[1, "x"]]
    (event,) = await bench.log("room:a")
    assert (event.name, event.data, event.offset, event.user) == ("note.written", b'{"seq":1}', 1, "alice")
    assert [(e.channel, e.offset, e.epoch) for e in bench.broker.published] == [("room:a", 1, event.epoch)]


async def test_commands_of_one_lane_take_effect_in_the_order_sent(start_worker: StartWorker) -> None:
    """A hundred commands sent in one tick get rising numbers and offsets, over several batches."""
    bench = await start_worker(app)
    requests = [bench.request("note.write", {"channel": "room:a", "text": str(i)}) for i in range(120)]
    replies = await bench.ask_all(requests)
    assert [msgspec.json.decode(reply.data)["seq"] for reply in replies] == list(range(1, 121))
    assert [reply.positions for reply in replies] == [{"room:a": n} for n in range(1, 121)]
    assert await notes_of(bench) == [[i + 1, str(i)] for i in range(120)]
    assert [e.offset for e in bench.broker.published] == list(range(1, 121))
    stats = bench.worker.stats
    assert (stats.commands_in_batches, stats.batches) == (120, 3)
    assert stats.events == 120


@pytest.mark.parametrize(
    "then", ["refuse", "refuse undeclared", "fail", "read and refuse", "swallow", "cancelled", *DEFECTS]
)
async def test_failing_handler_leaves_no_trace(start_worker: StartWorker, then: str) -> None:
    """What a failing handler declared is nowhere: no row, no event, no counter value, whoever shared its batch."""
    bench = await start_worker(app)
    with capture_logs():
        replies = await bench.ask_all(
            [
                bench.request("note.write", {"channel": "room:a", "text": "before"}),
                bench.request("note.write", {"channel": "room:a", "text": "failing", "then": then}),
                bench.request("note.write", {"channel": "room:a", "text": "after"}),
            ]
        )
    assert [reply.failure is None for reply in replies] == [True, False, True]
    assert await notes_of(bench) == [[1, "before"], [2, "after"]]
    assert [e.data for e in await bench.log("room:a")] == [b'{"seq":1}', b'{"seq":2}']
    assert [e.offset for e in bench.broker.published] == [1, 2]
    assert [reply.positions for reply in replies] == [{"room:a": 1}, None, {"room:a": 2}]


async def test_failing_handler_alone_in_its_transaction_leaves_no_trace(start_worker: StartWorker) -> None:
    """As in a batch, when there is nobody beside it."""
    bench = await start_worker(app)
    failure = await bench.refusal("note.write", {"channel": "room:a", "then": "read and refuse"})
    assert (failure.code, failure.message, failure.details) == ("full", "No room.", {"left": 0})
    assert (failure.retry, failure.outcome) == (False, "none")
    assert await notes_of(bench) == []
    assert (await bench.call("note.write", {"channel": "room:a"}))["seq"] == 1


async def test_internals_never_leave_the_worker(start_worker: StartWorker) -> None:
    """A defect is told as `internal` without details, and its traceback is in the log."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        failure = await bench.refusal("note.write", {"channel": "room:a", "then": "fail"})
    assert (failure.code, failure.outcome, failure.retry, failure.details) == ("internal", "none", True, None)
    assert "secret" not in failure.message
    (entry,) = [entry for entry in logs if entry["event"] == "a handler failed"]
    assert entry["request"] == "note.write"
    assert str(entry["exc_info"]) == "secret of the house"


@pytest.mark.parametrize("then", DEFECTS)
async def test_what_breaks_its_declaration_is_a_defect(start_worker: StartWorker, then: str) -> None:
    """Output is checked as input is: the client gets `internal`, the log what to cure, and the worker goes on."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        failure = await bench.refusal("note.write", {"channel": "room:a", "then": then})
    assert (failure.code, failure.outcome) == ("internal", "none")
    (entry,) = [entry for entry in logs if entry["event"] == "a handler failed"]
    assert str(entry["exc_info"]) == DEFECTS[then]
    assert (await bench.call("note.write", {"channel": "room:a"}))["seq"] == 1


async def test_undeclared_code_is_internal(start_worker: StartWorker) -> None:
    """A code that the declaration does not name is a defect of the handler: clients never see it."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        failure = await bench.refusal("note.write", {"channel": "room:a", "then": "refuse undeclared"})
    assert failure.code == "internal"
    assert [entry["code"] for entry in logs if "not declared" in entry["event"]] == ["empty"]


async def test_refused_row_rolls_back_and_runs_each_alone(start_worker: StartWorker) -> None:
    """One row that the database refuses costs its command `conflict`, and the others nothing."""
    bench = await start_worker(app)
    await bench.call("note.write", {"channel": "room:a", "id": "taken", "text": "first"})
    with capture_logs():
        replies = await bench.ask_all(
            [
                bench.request("note.write", {"channel": "room:a", "text": "b"}),
                bench.request("note.write", {"channel": "room:a", "id": "taken", "text": "c"}),
                bench.request("note.write", {"channel": "room:a", "text": "d"}),
            ]
        )
    codes = [reply.failure.code if reply.failure else None for reply in replies]
    assert codes == [None, "conflict", None]
    assert await notes_of(bench) == [[1, "first"], [2, "b"], [3, "d"]]
    assert bench.worker.stats.retried_alone == 3
    assert [e.offset for e in bench.broker.published] == [1, 2, 3]


async def test_read_sees_what_the_batch_declared(start_worker: StartWorker) -> None:
    """A command reads the rows that the commands before it in its batch declared, and its position includes theirs."""
    bench = await start_worker(app)
    replies = await bench.ask_all(
        [
            bench.request("note.write", {"channel": "room:a"}),
            bench.request("note.write", {"channel": "room:a"}),
            bench.request("note.count", {"channel": "room:a"}),
            bench.request("note.write", {"channel": "room:a"}),
        ]
    )
    assert bench.worker.stats.batches == 1
    assert msgspec.json.decode(replies[2].data) == {"count": 2, "position": 2}
    assert replies[2].positions == {"room:a": 2}


async def test_updates_and_deletes_without_a_read_are_in_order(start_worker: StartWorker) -> None:
    """Within one batch a row can be inserted, changed and removed by different commands."""
    bench = await start_worker(app)
    await bench.ask_all(
        [
            bench.request("note.write", {"channel": "room:a", "id": "one", "text": "moved"}),
            bench.request("note.write", {"channel": "room:a", "id": "two", "text": "gone"}),
            bench.request("note.move", {"id": "one"}),
            bench.request("note.move", {"id": "two", "remove": True}),
            bench.request("note.write", {"channel": "room:a", "id": "two", "text": "again"}),
        ]
    )
    assert bench.worker.stats.batches == 1
    assert await notes_of(bench, "room:b") == [[1, "moved"]]
    assert await notes_of(bench, "room:a") == [[3, "again"]]


async def test_handler_that_takes_too_long_is_cancelled(start_worker: StartWorker) -> None:
    """After its time a handler is cancelled: `unavailable`, nothing happened, and the others go on."""
    bench = await start_worker(app, limits=WorkerLimits(handler=0.5))
    with capture_logs():
        replies = await bench.ask_all(
            [
                bench.request("note.write", {"channel": "room:a", "then": "wait"}),
                bench.request("note.write", {"channel": "room:a", "text": "after"}),
            ]
        )
    failure = replies[0].failure
    assert failure is not None
    assert (failure.code, failure.outcome, failure.retry) == ("unavailable", "none", True)
    assert "0.5 s" in failure.message
    assert await notes_of(bench) == [[1, "after"]]


async def test_batch_ends_when_its_time_is_over(start_worker: StartWorker) -> None:
    """Commands that a batch has no time for wait for the next one, in their order."""
    bench = await start_worker(app, limits=WorkerLimits(batch_seconds=0.0))
    replies = await bench.ask_all([bench.request("note.write", {"channel": "room:a"}) for _ in range(10)])
    assert [msgspec.json.decode(reply.data)["seq"] for reply in replies] == list(range(1, 11))
    assert (bench.worker.stats.commands_in_batches, bench.worker.stats.batches) == (10, 10)


async def test_slow_handler_is_named_and_runs_alone(start_worker: StartWorker) -> None:
    """A handler that holds its batch for too long is named in the log once, and shares no batch any more."""
    bench = await start_worker(app, limits=WorkerLimits(handler=0.02, slow=0.01))

    async def three() -> None:
        waiting = bench.request("note.write", {"channel": "room:a", "then": "wait"})
        writing = [bench.request("note.write", {"channel": "room:a"}) for _ in range(2)]
        await bench.ask_all([waiting, *writing])

    with capture_logs() as logs:
        await three()
        before = bench.worker.stats.batches
        await three()
    assert bench.worker.stats.batches - before == 3
    assert [entry["request"] for entry in logs if "runs alone" in entry["event"]] == ["note.write"]


async def test_second_attempt_runs_alone(start_worker: StartWorker) -> None:
    """A command that is sent again shares no transaction, since it may be what broke the first."""
    bench = await start_worker(app)
    await bench.ask_all(
        [
            bench.request("note.write", {"channel": "room:a"}),
            bench.request("note.write", {"channel": "room:a"}, attempt=2),
            bench.request("note.write", {"channel": "room:a"}),
        ]
    )
    assert bench.worker.stats.batches == 3


async def test_reply_over_the_limit_has_no_effect(start_worker: StartWorker) -> None:
    """A reply is measured before the commit: `too_large` means that nothing happened."""
    bench = await start_worker(app, limits=WorkerLimits(frame=2000))
    long = "n" * 2000
    replies = await bench.ask_all(
        [
            bench.request("note.write", {"channel": "room:a", "id": long}),
            bench.request("note.write", {"channel": "room:a", "id": "short"}),
        ]
    )
    failure = replies[0].failure
    assert failure is not None
    assert (failure.code, failure.outcome) == ("too_large", "none")
    assert await notes_of(bench) == [[1, ""]]


@pytest.mark.parametrize(
    ("name", "data", "code", "words"),
    [
        ("note.write", {"text": "x"}, "invalid", "channel"),
        ("note.write", {"channel": 7}, "invalid", "$.channel"),
        ("note.burn", {}, "not_found", "note.burn"),
    ],
)
async def test_bad_requests_are_refused(
    start_worker: StartWorker, name: str, data: object, code: str, words: str
) -> None:
    """Data that is not what the declaration says is `invalid` and names the field; a name that nobody declared is
    `not_found`."""
    bench = await start_worker(app)
    failure = await bench.refusal(name, data)
    assert (failure.code, failure.outcome, failure.retry) == (code, "none", False)
    assert words in failure.message
    assert bench.worker.stats.refused == {code: 1}


async def test_msgpack_bodies(start_worker: StartWorker) -> None:
    """The body comes in the encoding of its connection; the answer is always JSON."""
    bench = await start_worker(app)
    request = bench.request("note.write", encoding="msgpack")
    request.data = msgspec.msgpack.encode({"channel": "room:a", "text": "packed"})
    reply = await bench.ask(request)
    assert msgspec.json.decode(reply.data)["seq"] == 1


class CountingTransaction:
    """A transaction that remembers which of its methods were called; each is one statement."""

    def __init__(self, transaction: Any, calls: list[str]) -> None:
        self._transaction = transaction
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls.append(name)
        return getattr(self._transaction, name)


class CountingStore:
    """A store whose transactions are counted."""

    def __init__(self, store: Any, calls: list[str]) -> None:
        self._store = store
        self._calls = calls

    async def begin(self, lanes: Sequence[str]) -> Any:
        self._calls.append(f"begin {' '.join(lanes)}")
        return CountingTransaction(await self._store.begin(lanes), self._calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_statements_do_not_grow_with_the_batch(start_worker: StartWorker) -> None:
    """A batch of fifty is written with as many statements as one of five, its lanes locked once, sorted."""
    calls: list[str] = []
    bench = await start_worker(
        app, limits=WorkerLimits(batch_seconds=10), wrap=lambda store: CountingStore(store, calls)
    )

    numbers = count()

    async def statements_of(size: int) -> list[str]:
        channels = [f"room:{i % 5}" for i in range(size)]
        requests = [
            bench.request("note.write", {"channel": channel}, key=f"key-{next(numbers):08}") for channel in channels
        ]
        calls.clear()
        replies = await bench.ask_all(requests)
        assert all(reply.failure is None for reply in replies)
        return list(calls)

    expected = ["keys", "counters", "insert", "set_counters", "append", "save_keys", "commit"]
    first = await statements_of(50)
    assert first.count("counters") == 5  # nobody knows yet which counters these commands use
    for size in (5, 50):
        assert await statements_of(size) == ["begin room:0 room:1 room:2 room:3 room:4", *expected]


@pytest.fixture(autouse=True)
def _forget() -> None:
    Signals.begun = asyncio.Event()
    Signals.go_on = asyncio.Event()


async def test_stop_finishes_the_batch_and_refuses_the_rest(start_worker: StartWorker) -> None:
    """Stopping: what has begun is committed and answered, what waits is `unavailable` and did not happen."""
    bench = await start_worker(app, limits=WorkerLimits(batch=2))
    data = [{"channel": "room:a", "text": str(i), "then": "pause" if i == 0 else ""} for i in range(4)]
    answers = asyncio.gather(*(bench.ask(bench.request("note.write", one)) for one in data))
    await Signals.begun.wait()
    stopping = asyncio.create_task(bench.worker.stop())
    with pytest.raises(Refused) as refused:
        await bench.call("note.write", {"channel": "room:a"})
    assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
    assert not stopping.done()
    Signals.go_on.set()
    await stopping
    codes = [(reply.failure.code, reply.failure.outcome) if reply.failure else None for reply in await answers]
    assert codes == [None, None, ("unavailable", "none"), ("unavailable", "none")]
    assert [e.offset for e in await bench.log("room:a")] == [1, 2]


async def test_cancelled_command_that_waits_does_not_run(start_worker: StartWorker) -> None:
    """A command that nobody waits for any more is not begun."""
    bench = await start_worker(app, limits=WorkerLimits(batch=1, handler=0.05))
    bench.relay.send(bench.request("note.write", {"channel": "room:a", "then": "wait"}), lambda reply: None)
    request = bench.request("note.write", {"channel": "room:a", "text": "cancelled"})
    cancelled: list[str] = []
    bench.relay.send(request, lambda reply: cancelled.append(reply.failure.code if reply.failure else ""))
    await Signals.begun.wait()
    bench.relay.cancel(request.id)
    assert cancelled == ["cancelled"]
    await bench.call("note.write", {"channel": "room:a", "text": "last"})
    assert await notes_of(bench) == [[1, "last"]]


async def test_a_counter_that_is_advanced(start_worker: StartWorker) -> None:
    """It stands at the value at least, never lower, and goes on behind it; a command that fails gives that back."""
    bench = await start_worker(app)

    async def write(text: str, then: str = "advance") -> int:
        note = await bench.call("note.write", {"channel": "room:a", "text": text, "then": then})
        return int(note["seq"])

    assert await write("7") == 8
    assert await write("3") == 9
    assert (await bench.refusal("note.write", {"channel": "room:a", "text": "50", "then": "advance and refuse"})).code
    assert await write("0") == 10
    assert (await bench.refusal("note.write", {"channel": "room:a", "text": "-1", "then": "advance"})).code
    assert await write("", "") == 11
