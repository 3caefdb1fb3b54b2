"""The app under load: one live and one durable namespace, a query and a durable command, all typed."""

from __future__ import annotations

from backchannel import App, Command, Context, Event, Namespace, Query, Struct

__all__ = ["app"]

app = App("bench")


@app.namespace("bench")
class Bench(Namespace):
    """Live channels with history that any client may publish on."""

    kind = "live"
    history = 1000
    clients_may_publish = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        """Everybody."""
        return True


@app.namespace("log")
class Log(Namespace):
    """Durable channels."""

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True


@app.event("load.sent")
class LoadSent(Event):
    """A payload with the sender's clock in it, in nanoseconds of one machine's monotonic clock."""

    at: int
    fill: str


class Echo(Struct):
    """What was asked."""

    value: int


@app.query("echo.ask")
class Ask(Query[Echo]):
    """A query that reads nothing."""

    value: int


@app.handle(Ask)
async def ask(ctx: Context, request: Ask) -> Echo:
    """Answer with what was asked."""
    return Echo(request.value)


@app.command("log.append", lane="channel")
class Append(Command[Echo]):
    """A durable command: one event in a log."""

    channel: str
    value: int


@app.handle(Append)
async def append(ctx: Context, request: Append) -> Echo:
    """Append an event."""
    ctx.publish(request.channel, LoadSent(at=request.value, fill=""))
    return Echo(request.value)
