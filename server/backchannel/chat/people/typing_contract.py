"""What is understood about typing."""

from __future__ import annotations

from backchannel import Command, Event, Query, Struct

from ..common import ChatChannel, app

__all__ = ["GetTyping", "StartTyping", "StopTyping", "Typing", "TypingNow", "TypingStarted", "TypingStopped"]


@app.event("typing.started", ephemeral=True)
class TypingStarted(Event):
    """A user is typing, until `expires` (Unix milliseconds), their next message, or `typing.stopped`.

    In a large room not all are told: `count` is how many are typing there now, up to 1000.
    """

    channel: str
    user: str
    expires: int = 0
    count: int | None = None


@app.event("typing.stopped", ephemeral=True)
class TypingStopped(Event):
    """A user stopped typing before it expired, and sent nothing."""

    channel: str
    user: str


class Typing(Struct, omit_defaults=True):
    """The channel in which it is told. Tell it again while it goes on, a second before `expires`."""

    channel: str
    expires: int | None = None


@app.command("typing.start", lane="channel")
class StartTyping(Command[Typing]):
    """Tell the others that one is typing. It ends by itself."""

    channel: ChatChannel


@app.command("typing.stop", lane="channel")
class StopTyping(Command[Typing]):
    """Tell the others that one stopped typing without sending anything."""

    channel: ChatChannel


class TypingNow(Struct):
    """Who is typing in a large room: how many, up to 1000, and some of them."""

    channel: str
    count: int
    users: list[str]


@app.query("typing.get")
class GetTyping(Query[TypingNow]):
    """Who is typing in a large room. In others the events say all of it."""

    channel: ChatChannel
