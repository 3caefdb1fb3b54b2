"""What is understood about people: typing, for now in a channel."""

from __future__ import annotations

from backchannel import Command, Event, Struct

from ..common import ChatChannel, app

__all__ = ["StartTyping", "StopTyping", "Typing", "TypingStarted", "TypingStopped"]


@app.event("typing.started", ephemeral=True)
class TypingStarted(Event):
    """A user is typing. Show it for a few seconds unless it comes again."""

    channel: str
    user: str


@app.event("typing.stopped", ephemeral=True)
class TypingStopped(Event):
    """A user stopped typing."""

    channel: str
    user: str


class Typing(Struct):
    """The channel in which it is told."""

    channel: str


@app.command("typing.start", lane="channel")
class StartTyping(Command[Typing]):
    """Tell the other members that one is typing."""

    channel: ChatChannel


@app.command("typing.stop", lane="channel")
class StopTyping(Command[Typing]):
    """Tell the other members that one stopped typing."""

    channel: ChatChannel
