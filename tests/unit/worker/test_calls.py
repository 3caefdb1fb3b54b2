"""`ctx.call`: another handler in the same transaction; and transactions of a handler's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from backchannel import App, Command, Context, Event, Namespace, Query, Refused

if TYPE_CHECKING:
    from tests.unit.worker.conftest import Bench, StartWorker

metadata = sa.MetaData()
parents = sa.Table(
    "parents",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("children", sa.Integer, nullable=False, default=0),
)
children = sa.Table(
    "children",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("parent", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["app", "parent"], ["parents.app", "parents.id"]),
)

app = App("family")
app.tables(metadata)


@app.namespace("family")
class Family(Namespace):
    """A durable channel."""


@app.event("child.born")
class Born(Event):
    """A child was born."""

    number: int


@app.command("parent.add")
class AddParent(Command[str]):
    """Add a parent with a child, the child first."""

    id: str
    then: str = ""


@app.command("child.add", errors=["unwanted"])
class AddChild(Command[int]):
    """Add a child."""

    parent: str
    then: str = ""


@app.query("child.count")
class CountChildren(Query[int]):
    """Count the children."""


@app.command("family.purge", own_transaction=True)
class Purge(Command[int]):
    """Remove everything by free SQL."""

    fail: bool = False


@app.command("family.call_purge")
class CallPurge(Command[int]):
    """Call a handler that needs a transaction of its own."""


@app.command("parent.ask", lane="id", own_transaction=True)
class AskForParent(Command[int]):
    """Have a parent added beside this handler, and count them."""

    id: str
    fail: bool = False


@app.handle(AskForParent)
async def ask_for_parent(ctx: Context, request: AskForParent) -> int:
    """Ask first, and read afterwards."""
    await ctx.publisher.call(AddParent(id=request.id), user=ctx.user)
    if request.fail:
        raise RuntimeError("after it")
    found: int = await ctx.db.value(sa.select(sa.func.count()).select_from(parents))
    return found


@app.handle(AddParent)
async def add_parent(ctx: Context, request: AddParent) -> str:
    """Add a parent and call for a child."""
    parent = ctx.insert(parents, id=request.id)
    try:
        if request.then == "by name":
            await ctx.call("child.add", {"parent": request.id})
        elif request.then == "wrong data":
            await ctx.call("child.add", {"parent": 7})
        else:
            await ctx.call(AddChild(request.id, request.then))
    except Refused as exc:
        if request.then in ("raise", "wrong data"):
            raise
        return exc.code
    count = await ctx.call(CountChildren())
    ctx.update(parents, {"id": request.id}, children=count)
    return parent


@app.handle(AddChild)
async def add_child(ctx: Context, request: AddChild) -> int:
    """Add a child."""
    number = await ctx.next("children")
    ctx.insert(children, parent=request.parent)
    ctx.publish("family:all", Born(number))
    if request.then == "read and refuse":
        await ctx.call(CountChildren())
    if request.then in ("refuse", "raise", "read and refuse"):
        raise Refused("unwanted", "No.")
    return number


@app.handle(CountChildren)
async def count_children(ctx: Context, request: CountChildren) -> int:
    """Count."""
    found: int = await ctx.db.value(sa.select(sa.func.count()).select_from(children))
    return found


@app.handle(Purge)
async def purge(ctx: Context, request: Purge) -> int:
    """Purge."""
    ctx.insert(parents, id="last")
    await ctx.db.execute(sa.delete(children).where(children.c.app == ctx.app))
    gone = await ctx.db.execute(sa.delete(parents).where(parents.c.app == ctx.app))
    if request.fail:
        raise Refused("conflict", "No.")
    return gone.rowcount  # type: ignore[attr-defined, no-any-return]


@app.handle(CallPurge)
async def call_purge(ctx: Context, request: CallPurge) -> int:
    """Call."""
    return await ctx.call(Purge())


async def committed(bench: Bench) -> tuple[list[tuple[str, int]], int, int]:
    """Parents with their children, children, and events."""
    snapshot = await bench.store.snapshot()
    rows = await snapshot.rows(sa.select(parents.c.id, parents.c.children).order_by(parents.c.id))
    born = await snapshot.rows(sa.select(children.c.id))
    await snapshot.close()
    return [(row.id, row.children) for row in rows], len(born), len(await bench.log("family:all"))


@pytest.mark.parametrize("then", ["", "by name"])
async def test_called_handler_shares_the_transaction(start_worker: StartWorker, then: str) -> None:
    """What both declare is written together, parents before the rows that refer to them, in a batch too."""
    bench = await start_worker(app)
    await bench.ask_all([bench.request("parent.add", {"id": str(i), "then": then}) for i in range(3)])
    assert bench.worker.stats.batches == 1
    assert await committed(bench) == ([("0", 1), ("1", 2), ("2", 3)], 3, 3)


async def test_caught_refusal_takes_back_what_was_called(start_worker: StartWorker) -> None:
    """A caller may go on after a refusal: what the called handler declared is gone, its counter value too."""
    bench = await start_worker(app)
    assert await bench.call("parent.add", {"id": "a", "then": "refuse"}) == "unwanted"
    assert await committed(bench) == ([("a", 0)], 0, 0)
    await bench.call("parent.add", {"id": "b"})
    assert [event.data for event in await bench.log("family:all")] == [b'{"number":1}']


async def test_refusal_of_what_was_called_passes_on(start_worker: StartWorker) -> None:
    """A code that the called handler declares may leave the caller, and nothing of either counts."""
    bench = await start_worker(app)
    assert (await bench.refusal("parent.add", {"id": "a", "then": "raise"})).code == "unwanted"
    assert (await bench.refusal("parent.add", {"id": "a", "then": "wrong data"})).code == "invalid"
    assert await committed(bench) == ([], 0, 0)


@pytest.mark.parametrize("size", [1, 3])
async def test_what_was_written_cannot_be_taken_back_alone(start_worker: StartWorker, size: int) -> None:
    """If a read had the called handler's rows written, going on after its refusal fails the whole command."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        replies = await bench.ask_all(
            [bench.request("parent.add", {"id": str(i), "then": "read and refuse"}) for i in range(size)]
        )
    assert {reply.failure.code if reply.failure else None for reply in replies} == {"internal"}
    assert any("let it raise" in entry["event"] for entry in logs)
    assert await committed(bench) == ([], 0, 0)


async def test_transaction_of_its_own(start_worker: StartWorker) -> None:
    """Free SQL is for handlers that say so; it runs alone, sees what was declared, and is undone with the handler."""
    bench = await start_worker(app)
    await bench.call("parent.add", {"id": "a"})
    batches = bench.worker.stats.batches
    replies = await bench.ask_all(
        [
            bench.request("parent.add", {"id": "b"}),
            bench.request("family.purge", {"fail": True}),
            bench.request("parent.add", {"id": "c"}),
        ]
    )
    assert [reply.failure.code if reply.failure else None for reply in replies] == [None, "conflict", None]
    assert bench.worker.stats.batches - batches == 3
    assert await committed(bench) == ([("a", 1), ("b", 2), ("c", 3)], 3, 3)
    assert await bench.call("family.purge") == 4
    assert await committed(bench) == ([], 0, 3)


async def test_shared_transaction_is_not_for_handlers_that_need_their_own(start_worker: StartWorker) -> None:
    """Calling such a handler from one that shares its transaction is a defect, and the log tells the cure."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        assert (await bench.refusal("family.call_purge")).code == "internal"
    assert "own_transaction=True" in str(logs[0]["exc_info"])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_handler_asks_beside_itself(start_worker: StartWorker) -> None:
    """`ctx.publisher` asks in transactions of their own: what they did stays, whatever becomes of the handler."""
    bench = await start_worker(app)
    assert await bench.call("parent.ask", {"id": "p1"}) == 1
    assert (await bench.refusal("parent.ask", {"id": "p2", "fail": True})).code == "internal"
    assert await bench.call("parent.ask", {"id": "p3"}) == 3
