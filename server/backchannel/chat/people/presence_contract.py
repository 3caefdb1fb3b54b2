"""What is understood about presence and status."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import UserName, app

__all__ = [
    "GetOwnPresence",
    "GetPresences",
    "OwnPresence",
    "OwnPresenceChanged",
    "Presence",
    "PresenceChanged",
    "Presences",
    "SetPresence",
    "SetStatus",
]

Instant = Annotated[int, Meta(ge=0, le=2**53 - 1, description="Unix milliseconds; 0: none.")]


class Presence(Struct, omit_defaults=True):
    """Whether a user is there, over all of their devices, and what they say about it."""

    user: str
    online: bool = False
    last_seen: int = 0
    """When they came or left last, Unix milliseconds; 0: not known."""
    text: str = ""
    """Their status; it is over at `until`."""
    emoji: str = ""
    until: int = 0
    """0: without an end."""
    quiet: int = 0
    """Until when they do not want to be disturbed; 0: they do not mind."""


@app.event("presence.changed")
class PresenceChanged(Event):
    """On `people:<id>`: all of a user's presence, as it is now."""

    user: str
    online: bool = False
    last_seen: int = 0
    text: str = ""
    emoji: str = ""
    until: int = 0
    quiet: int = 0


class OwnPresence(Struct, omit_defaults=True):
    """One's own presence: what others see, but for `online` while `invisible` is set."""

    user: str
    online: bool = False
    last_seen: int = 0
    text: str = ""
    emoji: str = ""
    until: int = 0
    quiet: int = 0
    invisible: bool = False


@app.event("own_presence.changed")
class OwnPresenceChanged(Event):
    """On one's own `user:<id>`: what one says about one's presence, as it is now."""

    user: str
    text: str = ""
    emoji: str = ""
    until: int = 0
    quiet: int = 0
    invisible: bool = False


class Presences(Struct):
    """The presence of those users who are known and whom one may see, in the order asked for."""

    people: list[Presence]


@app.query("presence.get")
class GetPresences(Query[Presences]):
    """Who of some users is there. One sees who shares a channel, and whoever an operator made open to all."""

    users: Annotated[list[UserName], Meta(min_length=1, max_length=200)]


@app.query("presence.own")
class GetOwnPresence(Query[OwnPresence]):
    """One's own presence."""


@app.command("status.set")
class SetStatus(Command[OwnPresence]):
    """Say something about oneself; without text and emoji, nothing any more."""

    text: Annotated[str, Meta(max_length=140)] = ""
    emoji: Annotated[str, Meta(max_length=64)] = ""
    until: Instant = 0
    """When it is over; 0: it stays."""


@app.command("presence.set")
class SetPresence(Command[OwnPresence]):
    """How one wants to be seen. What is not named stays."""

    invisible: bool | None = None
    """Others see one as away, since now."""
    quiet: Instant | None = None
    """Until when one does not want to be disturbed; 0: one does not mind."""
