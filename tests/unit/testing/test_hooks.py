"""Hooks of namespaces: who came and who is gone, told to the app's own functions with one effect each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel import App, Command, Context, Event, Namespace, RegistrationError
from backchannel.testing import Sandbox, sandboxed
from backchannel_protocol import Refused

metadata = sa.MetaData()
visits = sa.Table(
    "visits",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("here", sa.Boolean, nullable=False),
)
counts = sa.Table(
    "counts",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

app = App("hooks")
app.tables(metadata)


@app.event("visit.noted")
class Noted(Event):
    """Somebody came or went."""

    user: str
    here: bool


@app.namespace("door")
class Door(Namespace):
    """A door with a book; it does not tell who is present."""

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True

    async def joined(self, ctx: Context, channel: str) -> None:
        """Write it into the book."""
        self._note(ctx, channel, here=True)

    async def gone(self, ctx: Context, channel: str) -> None:
        """Write it into the book."""
        if channel == "door:broken":
            raise Refused("conflict", "The book is full.")
        self._note(ctx, channel, here=False)

    def _note(self, ctx: Context, channel: str, *, here: bool) -> None:
        ctx.insert(visits, channel=channel, user=ctx.user, here=here)
        ctx.publish("book:all", Noted(user=ctx.user, here=here))


@app.namespace("book")
class Book(Namespace):
    """What the door notes."""

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True


class _Counting(Command[int]):
    user: str = ""


@app.command("count.own")
class CountOwn(_Counting):
    """Count for oneself."""


@app.command("count.for", lane_of="user")
class CountFor(_Counting):
    """Count for another."""


async def _count(ctx: Context, user: str) -> int:
    row = await ctx.db.get(counts, user=user)
    if row is None:
        ctx.insert(counts, user=user, number=1)
        return 1
    ctx.update(counts, {"user": user}, number=row.number + 1)
    return int(row.number) + 1


@app.handle(CountOwn)
async def count_own(ctx: Context, request: CountOwn) -> int:
    """Count."""
    return await _count(ctx, ctx.user)


@app.handle(CountFor)
async def count_for(ctx: Context, request: CountFor) -> int:
    """Count."""
    return await _count(ctx, request.user)


def book(box: Sandbox) -> list[tuple[str, bool]]:
    """What is written, in its order."""
    return [(row.user, bool(row.here)) for row in box.rows(sa.select(visits).order_by(visits.c.id))]


async def at(client: Any, channel: str) -> Any:
    """A subscription that has begun."""
    subscription = client.subscribe(channel)
    await subscription.ready()
    return subscription


@sandboxed(app)
async def test_coming_and_going(box: Sandbox) -> None:
    """A user's first connection that listens, and the grace after the last, run one hook each; it may publish."""
    phone, laptop = await box.client("alice"), await box.client("alice")
    await at(phone, "door:front")
    await at(laptop, "door:front")
    await box.settle()
    assert book(box) == [("alice", True)]
    await phone.close()
    await box.advance(30)
    assert book(box) == [("alice", True)]
    await laptop.close()
    await box.advance(box.settings.grace + 1)
    assert book(box) == [("alice", True), ("alice", False)]
    assert box.events("book:all", Noted) == [Noted("alice", True), Noted("alice", False)]


@sandboxed(app)
async def test_hooks_alone_tell_listeners_nothing(box: Sandbox) -> None:
    """A namespace without `presence` has no presence frames, and refuses to say who is there."""
    wire = await box.wire("alice")
    await wire.ask("subscribe", channel="door:front")
    other = await box.client("bob")
    await at(other, "door:front")
    await box.settle()
    answer = await wire.ask("presence", channel="door:front")
    assert (answer["type"], answer["code"]) == ("error", "invalid")
    with pytest.raises(TimeoutError):
        await wire.until(lambda frame: frame["type"] == "presence", 1.0)


@sandboxed(app)
async def test_nothing_is_lost_with_a_worker(box: Sandbox) -> None:
    """What happens while no worker is there is told when one is; a worker that dies in a hook is asked again."""
    alice = await box.client("alice")
    box.worker.kill_at("committed")
    await at(alice, "door:front")
    await box.advance(1)
    assert not box.worker.running
    await alice.close()
    await box.advance(box.settings.grace + 1)
    await box.worker.start()
    await box.advance(30)
    assert book(box) == [("alice", True), ("alice", False)]


@sandboxed(app)
async def test_a_hook_that_refuses(box: Sandbox) -> None:
    """What a hook raises is logged, and the others go on."""
    alice, bob = await box.client("alice"), await box.client("bob")
    await at(alice, "door:broken")
    await at(bob, "door:front")
    await alice.close()
    await bob.close()
    await box.advance(box.settings.grace + 1)
    assert sorted(book(box)) == [("alice", True), ("bob", False), ("bob", True)]
    assert [entry for entry in box.logs if "hook of a namespace failed" in str(entry["event"])]


@sandboxed(app)
async def test_the_internal_command_is_no_clients(box: Sandbox) -> None:
    """Nobody says of another, or of themselves, that they came."""
    alice = await box.client("alice")
    with pytest.raises(Refused) as caught:
        await alice.call("presence.note", {"channel": "door:front", "here": True})
    assert caught.value.code == "not_found"


def test_a_hook_is_a_coroutine() -> None:
    """A hook that is no `async def` is refused when it is declared."""

    class Wrong(Namespace):
        def joined(self, ctx: Context, channel: str) -> None:  # type: ignore[override]
            """It does not wait."""

    with pytest.raises(RegistrationError, match="joined must be `async def`"):
        App("wrong").namespace("wrong")(Wrong)


@sandboxed(app)
async def test_a_command_in_the_lane_of_another_user(box: Sandbox) -> None:
    """`lane_of` serialises a command with those of the user that it names, so neither overwrites the other."""
    alice, bob = await box.client("alice"), await box.client("bob")
    answers = await asyncio.gather(
        *[alice.call("count.own", {}) for _ in range(10)],
        *[bob.call("count.for", {"user": "alice"}) for _ in range(10)],
    )
    assert sorted(answers) == list(range(1, 21))


def test_a_lane_of_a_user_that_is_no_field() -> None:
    """It names a field, and stands instead of `lane`."""

    class Wrong(Command[int]):
        user: str

    with pytest.raises(RegistrationError, match="not a field"):
        App("wrong").command("thing.do", lane_of="who")(Wrong)
    with pytest.raises(RegistrationError, match="not both"):
        App("wrong").command("thing.do", lane="user", lane_of="user")(Wrong)
