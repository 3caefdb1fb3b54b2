"""Keys: one key has one effect, in one batch, at the same time, afterwards, and whatever happens to the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from backchannel import App, Command, Context, Event, Namespace, Refused, Struct
from backchannel.auth.principal import Principal
from backchannel.worker.runtime import WorkerLimits

if TYPE_CHECKING:
    from tests.unit.worker.conftest import Bench, StartWorker

metadata = sa.MetaData()
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("item", sa.Text, nullable=False),
)

app = App("shop")
app.tables(metadata)
runs: list[str] = []


@app.namespace("orders")
class Orders(Namespace):
    """A durable channel."""


@app.event("order.placed")
class Placed(Event):
    """An order was placed."""

    number: int


class Order(Struct):
    """An answer."""

    id: str
    number: int


@app.command("order.place", lane="shop", errors=["sold_out"])
class Place(Command[Order]):
    """Place an order."""

    shop: str
    item: str = "tea"
    options: dict[str, int] = msgspec.field(default_factory=dict)


@app.handle(Place)
async def place(ctx: Context, order: Place) -> Order:
    """Place it."""
    runs.append(order.item)
    if order.item == "nothing":
        raise Refused("sold_out", "None left.")
    number = await ctx.next("orders")
    ctx.publish(f"orders:{order.shop}", Placed(number))
    return Order(ctx.insert(orders, item=order.item), number)


KEY = "key-00000001"


@pytest.fixture(autouse=True)
def _forget() -> None:
    runs.clear()


async def committed(bench: Bench) -> tuple[int, int]:
    """How many orders and events there are."""
    snapshot = await bench.store.snapshot()
    rows = await snapshot.rows(sa.select(orders.c.id))
    await snapshot.close()
    return len(rows), len(await bench.log("orders:a"))


async def test_same_key_has_one_effect_and_one_answer(start_worker: StartWorker) -> None:
    """A repeat is answered with the stored reply, positions included, and not run."""
    bench = await start_worker(app)
    first = await bench.ask(bench.request("order.place", {"shop": "a"}, key=KEY))
    again = await bench.ask(bench.request("order.place", {"shop": "a"}, key=KEY))
    assert first.positions == {"orders:a": 1}
    assert (again.data, again.positions, again.failure) == (first.data, first.positions, None)
    assert runs == ["tea"]
    assert await committed(bench) == (1, 1)


@pytest.mark.parametrize("size", [2, 50])
async def test_same_key_in_one_batch_has_one_effect(start_worker: StartWorker, size: int) -> None:
    """However often a key comes at once, it has one effect, and everybody gets the same answer."""
    bench = await start_worker(app)
    replies = await bench.ask_all([bench.request("order.place", {"shop": "a"}, key=KEY) for _ in range(size)])
    assert bench.worker.stats.batches == 1
    assert len({reply.data for reply in replies}) == 1
    assert {tuple((reply.positions or {}).items()) for reply in replies} == {(("orders:a", 1),)}
    assert runs == ["tea"]
    assert await committed(bench) == (1, 1)


async def test_key_of_a_failed_command_is_free(start_worker: StartWorker) -> None:
    """Only success is stored: a refused command may be sent again with its key, also within its batch."""
    bench = await start_worker(app)
    replies = await bench.ask_all(
        [
            bench.request("order.place", {"shop": "a", "item": "nothing"}, key=KEY),
            bench.request("order.place", {"shop": "a", "item": "tea"}, key=KEY),
        ]
    )
    assert [reply.failure.code if reply.failure else None for reply in replies] == ["sold_out", None]
    assert await committed(bench) == (1, 1)


@pytest.mark.parametrize("together", [True, False])
async def test_other_data_under_a_used_key_is_a_conflict(start_worker: StartWorker, together: bool) -> None:
    """The same key for another request is refused, in the same batch and afterwards."""
    bench = await start_worker(app)
    requests = [
        bench.request("order.place", {"shop": "a", "item": "tea"}, key=KEY),
        bench.request("order.place", {"shop": "a", "item": "coffee"}, key=KEY),
    ]
    replies = await bench.ask_all(requests) if together else [await bench.ask(request) for request in requests]
    assert replies[0].failure is None
    failure = replies[1].failure
    assert failure is not None
    assert (failure.code, failure.outcome, failure.retry) == ("conflict", "none", False)
    assert "new key" in failure.message
    assert await committed(bench) == (1, 1)


async def test_spelling_of_the_data_does_not_matter(start_worker: StartWorker) -> None:
    """The digest is of the decoded data: order of fields, encoding, unknown fields and stated defaults are nothing."""
    bench = await start_worker(app)
    bodies = [
        b'{"shop":"a","options":{"x":1,"y":2}}',
        b' {"options": {"y": 2, "x": 1}, "item": "tea", "shop": "a", "unknown": true}',
    ]
    requests = [bench.request("order.place", key=KEY) for _ in range(3)]
    for request, body in zip(requests, bodies, strict=False):
        request.data = body
    requests[2].data = msgspec.msgpack.encode({"shop": "a", "options": {"x": 1, "y": 2}})
    requests[2].encoding = "msgpack"
    assert len({(await bench.ask(request)).data for request in requests}) == 1
    assert await committed(bench) == (1, 1)


async def test_scope_of_a_key_is_its_principal(start_worker: StartWorker) -> None:
    """Two principals may use the same key, an API key on behalf of a user among them."""
    bench = await start_worker(app)
    for principal in (
        Principal(user="alice", id="user:alice"),
        Principal(user="bob", id="user:bob"),
        Principal(user="alice", id="key:k1:alice"),
    ):
        await bench.call("order.place", {"shop": "a"}, key=KEY, principal=principal)
    assert await committed(bench) == (3, 3)


async def test_reply_that_is_no_longer_kept_is_told_as_done(start_worker: StartWorker) -> None:
    """After the reply's body was let go, a repeat is a `conflict` that says `done`, and still has no effect."""
    bench = await start_worker(app)
    await bench.call("order.place", {"shop": "a"}, key=KEY)
    month = 31 * 86_400_000
    await bench.store.housekeeping({}, bench.worker._runtime.clock() + month)
    failure = await bench.refusal("order.place", {"shop": "a"}, key=KEY)
    assert (failure.code, failure.details) == ("conflict", {"done": True})
    assert await committed(bench) == (1, 1)


class FaultyTransaction:
    """A transaction that fails at one method, before or after it did its work."""

    def __init__(self, transaction: Any, faults: list[tuple[str, str]]) -> None:
        self._transaction = transaction
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._transaction, name)

        async def call(*arguments: Any) -> Any:
            fault = self._faults[0][1] if self._faults and self._faults[0][0] == name else None
            if fault is not None:
                self._faults.pop(0)
            if fault == "before":
                raise ConnectionError("the database is gone")
            if fault == "refused":
                raise Refused("unavailable", "The disk is full.", outcome="none")
            answer = await method(*arguments)
            if fault == "after":
                raise ConnectionError("the answer was lost")
            return answer

        return call


def faulty(faults: list[tuple[str, str]]) -> Callable[[Any], Any]:
    """A store whose transactions fail as listed."""

    class FaultyStore:
        def __init__(self, store: Any) -> None:
            self._store = store

        async def begin(self, lanes: Sequence[str]) -> Any:
            if faults and faults[0][0] == "begin":
                faults.pop(0)
                raise ConnectionError("the database is gone")
            return FaultyTransaction(await self._store.begin(lanes), faults)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

    return FaultyStore


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("size", [1, 3])
async def test_commit_without_an_answer_is_unknown_and_a_retry_has_one_effect(
    start_worker: StartWorker, fault: str, size: int
) -> None:
    """If the commit's answer is lost, every command of the batch is `unavailable`, outcome `unknown`; sent again with
    its key it has one effect, whether the commit had happened or not."""
    bench = await start_worker(app, wrap=faulty([("commit", fault)]))

    def requests() -> list[Any]:
        return [bench.request("order.place", {"shop": "a"}, key=f"key-{i:08}") for i in range(size)]

    with capture_logs():
        lost = await bench.ask_all(requests())
    assert {(r.failure.code, r.failure.outcome, r.failure.retry) for r in lost if r.failure} == {
        ("unavailable", "unknown", True)
    }
    assert all(reply.failure for reply in lost)
    assert bench.broker.published == []
    assert bench.worker.stats.commits_failed == 1
    replies = await bench.ask_all(requests())
    assert [msgspec.json.decode(reply.data)["number"] for reply in replies] == list(range(1, size + 1))
    assert await committed(bench) == (size, size)
    assert [event.offset for event in await bench.log("orders:a")] == list(range(1, size + 1))


async def test_commit_that_did_not_happen_for_sure_is_told_so(start_worker: StartWorker) -> None:
    """If the database says that a commit undid everything, the outcome is `none`."""
    bench = await start_worker(app, wrap=faulty([("commit", "refused")]))
    failure = await bench.refusal("order.place", {"shop": "a"}, key=KEY)
    assert (failure.code, failure.outcome) == ("unavailable", "none")
    assert await committed(bench) == (0, 0)


@pytest.mark.parametrize("method", ["keys", "insert", "set_counters", "append", "save_keys"])
@pytest.mark.parametrize("fault", ["before", "after"])
async def test_fault_before_the_commit_costs_nothing(start_worker: StartWorker, method: str, fault: str) -> None:
    """A batch that breaks at any step before its commit is rolled back, and its commands run again alone."""
    bench = await start_worker(app, wrap=faulty([(method, fault)]))
    with capture_logs():
        replies = await bench.ask_all(
            [bench.request("order.place", {"shop": "a"}, key=f"key-{i:08}") for i in range(3)]
        )
    assert [reply.failure for reply in replies] == [None] * 3
    assert [msgspec.json.decode(reply.data)["number"] for reply in replies] == [1, 2, 3]
    assert bench.worker.stats.retried_alone == 3
    assert await committed(bench) == (3, 3)


async def test_database_that_is_not_there(start_worker: StartWorker) -> None:
    """If no transaction can begin, nothing happened, and the client may try again."""
    bench = await start_worker(app, wrap=faulty([("begin", "before")]))
    with capture_logs():
        failure = await bench.refusal("order.place", {"shop": "a"}, key=KEY)
    assert (failure.code, failure.outcome, failure.retry) == ("unavailable", "none", True)
    assert (await bench.call("order.place", {"shop": "a"}, key=KEY))["number"] == 1


async def test_concurrent_repeats_have_one_effect(start_worker: StartWorker) -> None:
    """Repeats that arrive while the first is running, in other ticks and batches, get its answer."""
    bench = await start_worker(app, limits=WorkerLimits(batch=2))

    async def once(i: int) -> bytes:
        for _ in range(i % 7):
            await asyncio.sleep(0)
        return (await bench.ask(bench.request("order.place", {"shop": "a"}, key=KEY, attempt=1 + i % 2))).data

    assert len(set(await asyncio.gather(*(once(i) for i in range(30))))) == 1
    assert runs == ["tea"]
    assert await committed(bench) == (1, 1)
