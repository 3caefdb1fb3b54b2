"""The audit log: every act of a moderator, written in the transaction that does it."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access, is_operator
from ..common import app
from ..paging import paged
from .contract import Act, ActList, ActRecorded, ListActs
from .tables import acts

__all__ = ["actor_of", "record", "require_operator", "review_channel"]


def actor_of(ctx: Context) -> str:
    """Who acts: a user, or `key:` with the id of an API key that acts for itself."""
    return ctx.user or f"key:{ctx.api_key or ''}"


def review_channel(channel: str) -> str:
    """The channel on which a channel's reviewers hear of its cases and acts."""
    return "review:" + channel.removeprefix("chat:")


async def record(
    ctx: Context,
    channel: str,
    act: str,
    target: str,
    *,
    reason: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write down what a moderator does. Call it in the command that does it, under the channel's lane.

    Args:
        ctx: the command's context.
        channel: where; `*` for what holds everywhere.
        act: the command's name, such as `ban.add`.
        target: a user, `message:7`, `filter:names`, `case:<id>`, `channel`.
        reason: why, in the moderator's words.
        before: what was so; None: nothing.
        after: what is so now; None: nothing.
    """
    seq = await ctx.next(f"chat.acts:{channel}")
    actor = actor_of(ctx)
    ctx.insert(
        acts,
        channel=channel,
        seq=seq,
        actor=actor,
        act=act,
        target=target,
        reason=reason,
        before=None if before is None else msgspec.json.encode(before).decode(),
        after=None if after is None else msgspec.json.encode(after).decode(),
        time=ctx.now,
    )
    if channel != "*":
        told = ActRecorded(
            channel=channel,
            seq=seq,
            actor=actor,
            act=act,
            target=target,
            time=ctx.now,
            reason=reason,
            before=before,
            after=after,
        )
        ctx.publish(review_channel(channel), told)


def require_operator(ctx: Context, what: str) -> None:
    """
    Raises:
        Refused: `forbidden`, the request is not an operator's.
    """
    if not is_operator(ctx):
        raise Refused(
            "forbidden",
            f"{what} is for operators: ask with an API key that acts for itself.",
            details={"reason": "operators"},
        )


@app.handle(ListActs)
async def list_acts(ctx: Context, request: ListActs) -> ActList:
    """One statement for a page, whatever it is restricted to."""
    if request.channel in (None, "*"):
        require_operator(ctx, "What is about no one channel")
    elif not is_operator(ctx):  # who also asks of channels that are deleted
        await access(ctx, str(request.channel), "moderate.review")
    statement = sa.select(acts).where(acts.c.app == ctx.app)
    for name in ("channel", "actor", "target", "act"):
        wanted = getattr(request, name)
        if wanted is not None:
            statement = statement.where(acts.c[name] == wanted)
    order = [acts.c.seq] if request.channel is not None else [acts.c.time, acts.c.channel, acts.c.seq]
    page = await paged(ctx, statement, order, request, newest_first=True)
    return ActList([_act(row) for row in page.rows], page.next, page.previous, page.total)


def _act(row: sa.Row[Any]) -> Act:
    return Act(
        channel=row.channel,
        seq=row.seq,
        actor=row.actor,
        act=row.act,
        target=row.target,
        time=row.time,
        reason=row.reason,
        before=None if row.before is None else msgspec.json.decode(row.before),
        after=None if row.after is None else msgspec.json.decode(row.after),
    )
