"""What one can ask of data: exporting and erasing a user, how long messages are kept, legal holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, Cursor, UserName, app

__all__ = [
    "EraseUser",
    "Erasure",
    "ExportUser",
    "GetErasure",
    "Hold",
    "Holds",
    "ListHolds",
    "ListRetention",
    "MessagesAnonymised",
    "Retention",
    "RetentionRule",
    "RetentionScope",
    "SetHold",
    "SetRetention",
    "UserRecord",
    "UserRecords",
]

RetentionScope = Annotated[
    str,
    Meta(
        pattern=r"^(\*|type:[a-z0-9_-]{1,64}|chat:[A-Za-z0-9_.@-]{1,128})$(?!\n)",
        description="A channel, `type:` with a type of channels, or `*` for all.",
    ),
]


class UserRecord(Struct):
    """Something that is kept of a user: a row of a table, without what is of no use elsewhere."""

    table: str
    row: dict[str, Any]


class UserRecords(Struct):
    """A page of what is kept of a user."""

    records: list[UserRecord]
    next: str | None = None
    """The cursor of the next page; None: this was the last."""


@app.query("user.export")
class ExportUser(Query[UserRecords]):
    """All that is kept of a user, page by page: profile, devices, memberships, messages, reactions, drafts, files and
    the rest. For the user, where the app lets them, and for operators."""

    user: UserName | None = None
    """Whose; only an operator names another user than the asking one."""
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 100


class Erasure(Struct, omit_defaults=True):
    """How the erasing of a user stands."""

    id: str
    ghost: str
    """The name that stands for the user where something of them stays; it says nothing of who it was."""
    messages: Literal["anonymise", "delete"]
    started: int
    rows: int = 0
    """How many rows went or changed so far."""
    finished: int | None = None
    """When nothing was left; None: it goes on by itself."""
    held: bool = False
    """It waits for a legal hold to end."""


@app.command("user.erase", lane_of="user")
class EraseUser(Command[Erasure]):
    """Erase a user: a job takes away all that is kept of them, in small steps, and goes on after a crash. Their tokens
    are void at once. Asking again while it runs gives how it stands; once it has finished, there is nothing to do.

    For operators, and for the users themselves where the app lets them.
    """

    user: UserName
    messages: Literal["anonymise", "delete"] = "anonymise"
    """Whether what the user said stays, as a ghost's, or goes."""


@app.query("erasure.get")
class GetErasure(Query[Erasure]):
    """How an erasing stands, for operators."""

    id: Annotated[str, Meta(max_length=64)]


@app.event("messages.anonymised")
class MessagesAnonymised(Event):
    """Messages are from somebody who was erased: `user` is the ghost's name."""

    channel: str
    user: str
    seqs: list[int]


class RetentionRule(Struct):
    """How long messages are kept."""

    scope: str
    days: int
    """0: for ever."""
    by: str
    time: int


class Retention(Struct):
    """All rules."""

    rules: list[RetentionRule]


@app.command("retention.set", lane="scope")
class SetRetention(Command[Retention]):
    """Say how long messages are kept in a channel, in all of a type, or in all; the nearest rule holds. Older ones go,
    with their edits, reactions and files; their places stay, so that counts stay right. For operators."""

    scope: RetentionScope
    days: Annotated[int, Meta(ge=0, le=36_500)] | None
    """0: for ever; null: there is no rule for this scope."""


@app.query("retention.list")
class ListRetention(Query[Retention]):
    """The rules, for operators."""


class Hold(Struct):
    """A channel on legal hold."""

    channel: str
    reason: str
    by: str
    time: int


class Holds(Struct):
    """The channels on legal hold."""

    holds: list[Hold]


@app.command("hold.set", lane="channel")
class SetHold(Command[Holds]):
    """Put a channel on legal hold, or end it. Nothing in it expires, ages out or is erased meanwhile. For operators;
    the answer is the channel's hold, if there is one."""

    channel: ChatChannel
    held: bool
    reason: Annotated[str, Meta(max_length=500)] = ""


@app.query("hold.list")
class ListHolds(Query[Holds]):
    """The channels on legal hold, for operators."""
