"""A small app for the test kit's own tests: boards with notes, feeds, hints. Tests that name no app get it."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
import sqlalchemy as sa

from backchannel import App, Command, Context, Event, Namespace, Publisher, Query, Struct
from backchannel.testing.pytest import pytest_asyncio_loop_factories, pytest_configure, sandbox

__all__ = ["pytest_asyncio_loop_factories", "pytest_configure", "sandbox"]

app = App("boards")
metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("board", sa.Text),
    sa.Column("text", sa.Text),
)
app.tables(metadata)


class Open(Namespace):
    """Everybody may do everything."""

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        return True

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        return True


@app.namespace("board")
class Board(Open):
    presence = True


@app.namespace("few")
class Few(Open):
    recovery = 2


@app.namespace("feed")
class Feed(Open):
    kind = "live"
    clients_may_publish = True


@app.namespace("wide")
class Wide(Open):
    kind = "live"
    slow = "gap"
    clients_may_publish = True


@app.event("note.written")
class NoteWritten(Event):
    text: str


@app.event("tick.told")
class Ticked(Event):
    n: int = 0
    filling: str = ""


@app.event("hint.given", ephemeral=True)
class Hinted(Event):
    text: str


class Written(Struct):
    """The answer to `note.write`."""

    id: str


@app.command("note.write", lane="channel")
class Write(Command[Written]):
    channel: str
    text: str


@app.handle(Write)
async def write(ctx: Context, note: Write) -> Written:
    ctx.publish(note.channel, NoteWritten(note.text))
    return Written(ctx.insert(notes, board=note.channel, text=note.text))


@app.command("note.think", own_transaction=True)
class Think(Command[Written]):
    seconds: float


@app.handle(Think)
async def think(ctx: Context, thought: Think) -> Written:
    """Wait in the middle of a transaction, and be as stubborn about it as code can be."""
    try:
        await asyncio.sleep(thought.seconds)
    except asyncio.CancelledError:
        ctx.log.info("was told to stop, and goes on")
    return Written(ctx.insert(notes, board="mind", text=""))


@app.query("note.count")
class Count(Query[int]):
    pass


@app.handle(Count)
async def count_notes(ctx: Context, _asked: Count) -> int:
    found = await ctx.db.value(sa.select(sa.func.count()).select_from(notes))
    assert isinstance(found, int)
    return found


@app.query("time.tell")
class Tell(Query[int]):
    pass


@app.handle(Tell)
async def tell(ctx: Context, _asked: Tell) -> int:
    return ctx.now


@app.command("token.revoke")
class Revoke(Command[Written]):
    token_id: str


@app.handle(Revoke)
async def revoke(ctx: Context, wanted: Revoke) -> Written:
    ctx.revoke(token_id=wanted.token_id)
    return Written("")


beats = count(1)


@app.every(10.0)
async def beat(publisher: Publisher) -> None:
    await publisher.publish("feed:beats", Ticked(next(beats)))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the app above to every test that has a sandbox and names no app."""
    if "sandbox" in getattr(item, "fixturenames", ()):
        marker = item.get_closest_marker("sandbox")
        if marker is None or not marker.args:
            item.add_marker(pytest.mark.sandbox(app, **(marker.kwargs if marker else {})), append=False)


@pytest.fixture
def boards() -> App:
    """The app itself, for tests that make sandboxes of their own."""
    return app
