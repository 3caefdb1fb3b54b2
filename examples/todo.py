"""A list of things to do: three commands, and nothing written for routes, documents, clients or the command line.

backchannel serve todo:app --dev                 POST /v1/todo.add, /docs, /openapi.json, the WebSocket
backchannel call todo.add '{"list": "home", "text": "Water the plants"}' --user alice
backchannel schema typescript todo:app           a typed client's contract
"""

from __future__ import annotations

from typing import Annotated

from sqlalchemy import Boolean, Column, MetaData, String, Table

from backchannel import App, Command, Context, Event, Meta, Namespace, Refused

app = App("todo")
tables = MetaData()
todos = Table(
    "todo_todos",
    tables,
    Column("app", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("list", String),
    Column("text", String),
    Column("done", Boolean),
)
app.tables(tables)

ListName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$(?!\n)", description="A list, as in `todos:home`.")]
TodoId = Annotated[str, Meta(min_length=1, max_length=40)]


@app.namespace("todos")
class Todos(Namespace):
    """One channel per list; whoever is logged in may watch."""

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        return True


@app.event("todo.changed")
class Todo(Event):
    """One thing to do, as it is now."""

    id: str
    list: ListName
    text: str
    done: bool = False
    removed: bool = False
    """It is gone from its list."""


@app.command("todo.add", lane="list")
class Add(Command[Todo]):
    """Put something on a list."""

    list: ListName
    text: Annotated[str, Meta(min_length=1, max_length=200)]


@app.command("todo.finish", lane="list", errors=["already_done"])
class Finish(Command[Todo]):
    """Tick something off."""

    list: ListName
    id: TodoId


@app.command("todo.remove", lane="list")
class Remove(Command[Todo]):
    """Take something off its list."""

    list: ListName
    id: TodoId


@app.handle(Add)
async def add(ctx: Context, wish: Add) -> Todo:
    return tell(ctx, Todo(ctx.insert(todos, list=wish.list, text=wish.text, done=False), wish.list, wish.text))


@app.handle(Finish)
async def finish(ctx: Context, wish: Finish) -> Todo:
    todo = await find(ctx, wish)
    if todo.done:
        raise Refused("already_done", f"{todo.text!r} is done already.")
    ctx.update(todos, {"id": todo.id}, done=True)
    return tell(ctx, Todo(todo.id, todo.list, todo.text, done=True))


@app.handle(Remove)
async def remove(ctx: Context, wish: Remove) -> Todo:
    todo = await find(ctx, wish)
    ctx.delete(todos, {"id": todo.id})
    return tell(ctx, Todo(todo.id, todo.list, todo.text, todo.done, removed=True))


async def find(ctx: Context, wish: Finish | Remove) -> Todo:
    row = await ctx.db.get(todos, id=wish.id)
    if row is None or row.list != wish.list:
        raise Refused("not_found", f"There is no {wish.id!r} on the list {wish.list!r}.")
    return Todo(row.id, row.list, row.text, row.done)


def tell(ctx: Context, todo: Todo) -> Todo:
    ctx.publish(f"todos:{todo.list}", todo)
    return todo
