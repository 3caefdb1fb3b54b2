"""Reading ahead: fewer statements, and no handler sees what it could not have seen without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from backchannel import App, Command, Context, Refused, Struct

metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("shelf", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
numbered = sa.Table(
    "numbered",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
)


class Seen(Struct):
    """What the handler saw."""

    text: str | None


class Counting:
    """A store whose transactions write down which rows they are asked for, and other questions by name."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def begin(self, lanes: Sequence[str]) -> Any:
        return _Asked(await self._inner.begin(lanes), self.asked)

    def take(self) -> list[Any]:
        """What was asked since the last time."""
        taken = list(self.asked)
        self.asked.clear()
        return taken


class _Asked:
    def __init__(self, inner: Any, asked: list[Any]) -> None:
        self._inner = inner
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get(self, table: sa.Table, key: Mapping[str, Any]) -> Any:
        self._asked.append("get")
        return await self._inner.get(table, key)

    async def get_many(self, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> Any:
        self._asked.append(sorted("/".join(key.values()) for key in keys))
        return await self._inner.get_many(table, keys)


app = App("desk")
app.tables(metadata)


class World:
    """What a test has a command do before it gets its row."""

    before: Callable[[Context, Any], Awaitable[None]]


@app.command("note.get", lane="lane")
class Get(Command[Seen]):
    """Get a row."""

    lane: str
    shelf: str
    do: str = ""
    more: bool = False


@app.handle(Get)
async def get(ctx: Context, request: Get) -> Seen:
    """Get a row; `do` something before it, or name `more` than its key."""
    if request.do:
        await World.before(ctx, request)
    row = await ctx.db.get(notes, shelf=request.shelf, user=ctx.user, **({"text": "x"} if request.more else {}))
    return Seen(None if row is None else row.text)


@app.command("note.put", lane="shelf")
class Put(Command[Seen]):
    """Make a row."""

    shelf: str
    text: str


@app.handle(Put)
async def put(ctx: Context, request: Put) -> Seen:
    """Make a row."""
    ctx.insert(notes, shelf=request.shelf, user=ctx.user, text=request.text)
    return Seen(request.text)


@app.command("note.odd", lane="shelf")
class Odd(Command[Seen]):
    """Get rows whose keys do not come from texts of the data, or from the user."""

    shelf: str
    number: int


@app.handle(Odd)
async def odd(ctx: Context, request: Odd) -> Seen:
    """Get them."""
    await ctx.db.get(numbered, number=request.number)
    await ctx.db.get(notes, shelf="always this", user=ctx.user)
    return Seen(None)


@pytest.fixture
async def bench(start_worker: Any) -> Any:
    """A worker that has seen one command, whose row was there for alice on the shelf `a`."""
    bench = await start_worker(app, wrap=Counting)
    for shelf in "abc":
        await bench.call("note.put", {"shelf": shelf, "text": f"text {shelf}"})
    await bench.call("note.get", {"lane": "1", "shelf": "a"})
    assert asked(bench) == ["get"]
    return bench


def asked(bench: Any) -> list[Any]:
    """What the store was asked since the last time."""
    taken: list[Any] = bench.worker._runtime.store.take()
    return taken


async def texts(bench: Any, *shelves: str, do: Mapping[int, str] | None = None) -> list[Any]:
    """What commands of one batch see."""
    requests = [
        bench.request("note.get", {"lane": str(n), "shelf": shelf, "do": (do or {}).get(n, "")})
        for n, shelf in enumerate(shelves)
    ]
    replies = await bench.ask_all(requests)
    assert all(reply.failure is None for reply in replies), replies
    return [msgspec.json.decode(reply.data)["text"] for reply in replies]


async def test_the_rows_of_a_batch_are_read_by_one_statement(bench: Any) -> None:
    """Also for keys that were never asked for before, and for rows that are not there; each row once."""
    assert await texts(bench, "a", "c", "nowhere", "a") == ["text a", "text c", None, "text a"]
    assert asked(bench) == [["a/alice", "c/alice", "nowhere/alice"]]


async def test_a_command_alone_reads_by_itself(bench: Any) -> None:
    """So it never costs a statement more."""
    assert await texts(bench, "b") == ["text b"]
    assert asked(bench) == ["get"]


async def test_a_row_that_was_declared_in_the_batch_is_read_again(bench: Any) -> None:
    """A change by a command before it in the batch, a row that it made, and one that it deleted."""

    async def change(ctx: Context, request: Any) -> None:
        if request.do == "update":
            ctx.update(notes, {"shelf": "b", "user": "alice"}, text="new")
        elif request.do == "insert":
            ctx.insert(notes, shelf="d", user="alice", text="made")
        else:
            ctx.delete(notes, {"shelf": "c", "user": "alice"})

    World.before = change
    seen = await texts(bench, "a", "b", "a", "d", "a", "c", do={0: "update", 2: "insert", 4: "delete"})
    assert seen == ["text a", "new", "text a", "made", "text a", None]


@pytest.mark.parametrize("what", ["select", "counter", "position", "other row", "wait"])
async def test_whoever_asks_or_waits_reads_for_himself_from_then_on(bench: Any, what: str) -> None:
    """And so does every command behind him: no read is older than one before it, or than a lock or a position."""

    async def before(ctx: Context, request: Any) -> None:
        if what == "select":
            await ctx.db.rows(sa.select(sa.func.count()).select_from(numbered))
        elif what == "counter":
            await ctx.next("never used before")
        elif what == "position":
            await ctx.position("user:alice")
        elif what == "other row":
            await ctx.db.get(numbered, number=1)
        else:
            await asyncio.sleep(0)

    World.before = before
    assert await texts(bench, "a", "b", "c", do={1: what}) == ["text a", "text b", "text c"]
    own = ["get"] * (3 if what == "other row" else 2)
    assert asked(bench) == [["a/alice", "b/alice", "c/alice"], *own]


async def test_what_is_of_no_use_is_forgotten(bench: Any) -> None:
    """Rows that no command of a batch asked for are not read again for the next one."""

    async def refuse(ctx: Context, request: Any) -> None:
        raise Refused("forbidden", "No.")

    World.before = refuse
    for expected in ([["a/alice"]], []):
        requests = [bench.request("note.get", {"lane": "1", "shelf": "a", "do": "refuse"}) for _ in range(2)]
        assert all(reply.failure is not None for reply in await bench.ask_all(requests))
        assert asked(bench) == expected


async def test_keys_that_come_from_elsewhere_are_not_guessed(bench: Any) -> None:
    """A number, and a text that the handler made up, are read when they are asked for."""
    for _ in range(2):
        requests = [bench.request("note.odd", {"shelf": "a", "number": n}) for n in range(2)]
        await bench.ask_all(requests)
        assert asked(bench) == ["get"] * 4


async def test_a_key_that_is_wrong_is_refused_as_ever(bench: Any) -> None:
    """More than the primary key is a mistake of the handler, whatever was read ahead."""
    data = {"lane": "1", "shelf": "a"}
    replies = await bench.ask_all([bench.request("note.get", data | {"more": more}) for more in (False, True)])
    assert [reply.failure and reply.failure.code for reply in replies] == [None, "internal"]
