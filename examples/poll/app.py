"""A poll: who is logged in votes once per poll, may change the vote, and everybody sees the counts move."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from sqlalchemy import Column, MetaData, String, Table, func, select

from backchannel import App, Command, Context, Event, Meta, Namespace, Query, Struct

app = App("poll")
tables = MetaData()
votes = Table(
    "poll_votes",
    tables,
    Column("app", String, primary_key=True),
    Column("poll", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("choice", String, nullable=False),
)
app.tables(tables)

PollName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$(?!\n)")]
Choice = Annotated[str, Meta(min_length=1, max_length=40)]


class Counts(Struct):
    """How a poll stands."""

    poll: str
    counts: dict[str, int]


@app.namespace("poll")
class Polls(Namespace):
    """The channels `poll:<name>`; whoever is logged in may watch."""

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        """Everybody."""
        return True


@app.event("poll.changed")
class PollChanged(Event):
    """Somebody voted; this is how the poll stands now."""

    poll: str
    counts: dict[str, int]


@app.command("poll.vote", lane="poll")
class Vote(Command[Counts]):
    """Vote, or change one's vote."""

    poll: PollName
    choice: Choice


@app.query("poll.show")
class ShowPoll(Query[Counts]):
    """How a poll stands."""

    poll: PollName


@app.handle(Vote)
async def vote(ctx: Context, request: Vote) -> Counts:
    """Keep one vote per user, and tell everybody who watches."""
    counts = await count(ctx, request.poll)
    before = await ctx.db.get(votes, poll=request.poll, user=ctx.user)
    if before is None:
        ctx.insert(votes, poll=request.poll, user=ctx.user, choice=request.choice)
    else:
        ctx.update(votes, {"poll": request.poll, "user": ctx.user}, choice=request.choice)
        counts[before.choice] -= 1
    counts[request.choice] = counts.get(request.choice, 0) + 1
    counts = {choice: number for choice, number in counts.items() if number}
    ctx.publish(f"poll:{request.poll}", PollChanged(request.poll, counts))
    return Counts(request.poll, counts)


@app.handle(ShowPoll)
async def show(ctx: Context, request: ShowPoll) -> Counts:
    """The counts, and the position in the channel that they include."""
    await ctx.position(f"poll:{request.poll}")
    return Counts(request.poll, await count(ctx, request.poll))


async def count(ctx: Context, poll: str) -> dict[str, int]:
    """Votes per choice."""
    rows = await ctx.db.rows(
        select(votes.c.choice, func.count().label("number"))
        .where(votes.c.app == ctx.app, votes.c.poll == poll)
        .group_by(votes.c.choice)
        .order_by(votes.c.choice)
    )
    return {row.choice: row.number for row in rows}


HERE = Path(__file__).parent
app.static("/sdk", HERE.parent.parent / "client_js" / "dist")
app.static("/", HERE / "page")
