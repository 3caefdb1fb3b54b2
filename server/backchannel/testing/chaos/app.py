"""The app that a chaos run puts under load unless told otherwise: durable boards, a live pulse, and rights to both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from zlib import crc32

import sqlalchemy as sa

from backchannel import App, Command, Context, Event, Namespace, Query, Refused, Struct

from .workload import Asked, Execute, LoggedEvent, RightsChange, Workload

__all__ = ["BOARDS", "OPERATOR", "BoardWorkload", "app", "workload"]

app = App("chaos")

OPERATOR = Workload.operator
BOARDS = ("board:one", "board:two", "board:three")
_BULK = "board:bulk"
_PULSE = "pulse:all"

metadata = sa.MetaData()
notes = sa.Table(
    "chaos_notes",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("effect", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Index("chaos_notes_channel", "app", "channel"),
)
rights = sa.Table(
    "chaos_rights",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("since", sa.BigInteger, nullable=False),
)
"""Who may hear and write a board, from behind an offset."""
app.tables(metadata)


@app.namespace("board")
class Board(Namespace):
    """Durable, and never trimmed while a run lasts, so that the log tells everything that happened."""

    history = 1_000_000_000
    recovery = 1_000_000
    presence = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Whoever has the right; whoever got it later hears nothing older."""
        right = await ctx.db.get(rights, channel=channel, user=ctx.user)
        return right is not None and (right.since or True)


@app.namespace("pulse")
class Pulse(Namespace):
    """Live; everybody may hear and publish."""

    kind = "live"
    history = 5_000
    recovery = 5_000
    clients_may_publish = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        """Everybody."""
        return True


@app.event("note.written")
class NoteWritten(Event):
    """A note is on the board."""

    effect: str
    filling: str = ""


@app.event("right.granted")
class RightGranted(Event):
    """Somebody may hear and write from here on."""

    user: str


@app.event("right.revoked")
class RightRevoked(Event):
    """Somebody may not any more."""

    user: str


@app.event("pulse.felt")
class PulseFelt(Event):
    """A sign of life."""

    effect: str


class Written(Struct):
    """The answer to a note: its id, which a repeated question gets again."""

    id: str


class Done(Struct):
    """The answer to what has no other."""

    channel: str


class Counted(Struct):
    """How many notes a board has."""

    count: int


@app.command("note.write", lane="channel")
class WriteNote(Command[Written]):
    """Put a note on a board."""

    channel: str
    effect: str
    filling: str = ""


@app.query("note.count")
class CountNotes(Query[Counted]):
    """How many notes a board has."""

    channel: str


@app.command("right.grant", lane="channel")
class GrantRight(Command[Done]):
    """Let a user hear and write."""

    channel: str
    user: str


@app.command("right.revoke", lane="channel")
class RevokeRight(Command[Done]):
    """Take that away."""

    channel: str
    user: str


@app.command("user.banish", lane="user")
class BanishUser(Command[Done]):
    """Make a user's tokens void."""

    user: str


@app.handle(WriteNote)
async def write_note(ctx: Context, request: WriteNote) -> Written:
    """A row and an event in one transaction; for one note in four a live event that leaves after it."""
    if await ctx.db.get(rights, channel=request.channel, user=ctx.user) is None:
        raise Refused("forbidden", f"You have no right to {request.channel}.")
    note = ctx.insert(notes, channel=request.channel, effect=request.effect, user=ctx.user)
    ctx.publish(request.channel, NoteWritten(request.effect, request.filling))
    if crc32(request.effect.encode()) % 4 == 0:
        ctx.publish(_PULSE, PulseFelt(f"note-{request.effect}"))
    return Written(note)


@app.handle(CountNotes)
async def count_notes(ctx: Context, request: CountNotes) -> Counted:
    """One snapshot: the count, and the position that it belongs to."""
    await ctx.position(request.channel)
    count = await ctx.db.value(
        sa.select(sa.func.count()).select_from(notes).where(notes.c.app == ctx.app, notes.c.channel == request.channel)
    )
    return Counted(count or 0)


def _operator(ctx: Context) -> None:
    if ctx.user != OPERATOR:
        raise Refused("forbidden", f"Only {OPERATOR} may do that.")


@app.handle(GrantRight)
async def grant_right(ctx: Context, request: GrantRight) -> Done:
    """The right reaches back to here, and no further."""
    _operator(ctx)
    key = {"channel": request.channel, "user": request.user}
    if await ctx.db.get(rights, **key) is None:
        ctx.insert(rights, **key, since=await ctx.position(request.channel))
        ctx.publish(request.channel, RightGranted(request.user))
    return Done(request.channel)


@app.handle(RevokeRight)
async def revoke_right(ctx: Context, request: RevokeRight) -> Done:
    """The right ends in the log, with the event that says so."""
    _operator(ctx)
    key = {"channel": request.channel, "user": request.user}
    if await ctx.db.get(rights, **key) is not None:
        ctx.delete(rights, key)
        ctx.publish(request.channel, RightRevoked(request.user), ends=[request.user])
    return Done(request.channel)


@app.handle(BanishUser)
async def banish_user(ctx: Context, request: BanishUser) -> Done:
    """All tokens that the user has until now."""
    _operator(ctx)
    ctx.revoke(request.user)
    return Done(request.user)


class BoardWorkload(Workload):
    """Notes on boards."""

    app: ClassVar[str] = f"{__name__}:app"
    channels: ClassVar[Sequence[str]] = BOARDS
    live: ClassVar[Sequence[str]] = (_PULSE,)
    bulk: ClassVar[str | None] = _BULK
    exact: ClassVar[bool] = True
    presence: ClassVar[bool] = True

    def prepare(self, users: Sequence[str]) -> Iterable[tuple[str, Asked]]:
        """Let everybody in."""
        for channel in (*BOARDS, _BULK):
            for user in users:
                yield OPERATOR, Asked("right.grant", {"channel": channel, "user": user})

    def ask(self, user: str, channel: str, effect: str, size: int) -> Asked:
        """A note."""
        filling = "x" * max(0, size - len(effect))
        return Asked("note.write", {"channel": channel, "effect": effect, "filling": filling})

    def effect(self, name: str, data: Any) -> Hashable:
        """What the note says."""
        return data["effect"] if name in ("note.written", "pulse.felt") else None

    def publish(self, channel: str, effect: str) -> Asked | None:
        """A sign of life."""
        return Asked("pulse.felt", {"effect": effect})

    def count(self, channel: str) -> Asked | None:
        """How many notes there are."""
        return Asked("note.count", {"channel": channel})

    def revoke(self, user: str, channel: str) -> Asked | None:
        """End a right."""
        return Asked("right.revoke", {"channel": channel, "user": user})

    def grant(self, user: str, channel: str) -> Asked | None:
        """Give it back."""
        return Asked("right.grant", {"channel": channel, "user": user})

    def banish(self, user: str) -> Asked | None:
        """Make tokens void."""
        return Asked("user.banish", {"user": user})

    def rights(self, name: str, data: Any) -> RightsChange | None:
        """What the board tells of rights."""
        if name == "right.granted":
            return RightsChange("granted", data["user"])
        return RightsChange("revoked", data["user"]) if name == "right.revoked" else None

    def disagreements(self, execute: Execute, log: Mapping[str, Sequence[LoggedEvent]]) -> Iterable[str]:
        """Each note has its row, and each row its note: they were written in one transaction."""
        rows = Counter((channel, effect) for channel, effect in execute("SELECT channel, effect FROM chaos_notes"))
        events = Counter(
            (channel, event.data["effect"])
            for channel, entries in log.items()
            for event in entries
            if event.name == "note.written"
        )
        for (channel, effect), count in (rows - events).items():
            yield f"{count} more rows than events on {channel} for {effect!r}."
        for (channel, effect), count in (events - rows).items():
            yield f"{count} more events than rows on {channel} for {effect!r}."


workload = BoardWorkload()
