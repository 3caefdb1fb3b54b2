"""Reactions: who reacted with what, and how many that are; events tell the number as it is now."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access
from ..common import app
from ..paging import paged
from .finding import find_message
from .mark_contract import (
    AddReaction,
    ListReactions,
    ReactionChanged,
    ReactionList,
    ReactionState,
    Reactor,
    RemoveReaction,
)
from .sending import require_open
from .tables import reaction_counts, reactions

__all__ = ["MOST_EMOJI"]

MOST_EMOJI: Final = 50
"""Different reactions that a message may have."""


@app.handle(AddReaction)
async def add_reaction(ctx: Context, request: AddReaction) -> ReactionState:
    """React, unless one did; the message's number for this emoji is one more."""
    found, row = await _reacting(ctx, request)
    counts = await ctx.db.rows(
        sa.select(reaction_counts).where(
            reaction_counts.c.app == ctx.app,
            reaction_counts.c.channel == request.channel,
            reaction_counts.c.seq == request.seq,
        )
    )
    stored = next((one for one in counts if one.emoji == request.emoji), None)
    count = 0 if stored is None else stored.number
    if row is not None:
        return _state(request, count, own=True)
    if stored is None and len(counts) >= MOST_EMOJI:
        raise Refused(
            "conflict",
            f"Message {request.seq} has {MOST_EMOJI} different reactions; choose one of them.",
            details={"reason": "emoji", "most": MOST_EMOJI},
        )
    count += 1
    if found.shadowed:
        return _state(request, count, own=True)
    key = {"channel": request.channel, "seq": request.seq, "emoji": request.emoji}
    ctx.insert(reactions, **key, user=ctx.user, time=ctx.now)
    if stored is None:
        place = max((one.place for one in counts), default=0) + 1
        ctx.insert(reaction_counts, **key, number=count, place=place)
    else:
        ctx.update(reaction_counts, key, number=count)
    _tell(ctx, request, count, reacted=True)
    return _state(request, count, own=True)


@app.handle(RemoveReaction)
async def remove_reaction(ctx: Context, request: RemoveReaction) -> ReactionState:
    """Take it back, if one reacted; the message's number for this emoji is one less."""
    _, row = await _reacting(ctx, request)
    key = {"channel": request.channel, "seq": request.seq, "emoji": request.emoji}
    stored = await ctx.db.get(reaction_counts, **key)
    count = 0 if stored is None else stored.number
    if row is None:
        return _state(request, count, own=False)
    count -= 1
    ctx.delete(reactions, {**key, "user": ctx.user})
    if count:
        ctx.update(reaction_counts, key, number=count)
    else:
        ctx.delete(reaction_counts, key)
    _tell(ctx, request, count, reacted=False)
    return _state(request, count, own=False)


async def _reacting(ctx: Context, request: AddReaction | RemoveReaction) -> tuple[Access, sa.Row[Any] | None]:
    """The channel, and the row of the reaction if it is there."""
    found = await access(ctx, request.channel, "reaction.add")
    if not found.rules.features.reactions:
        raise Refused("invalid", "Nobody reacts to messages of this channel.", details={"reason": "feature"})
    if not ctx.user:
        raise Refused("invalid", "Users react; ask on behalf of one.", details={"reason": "user"})
    require_open(found)
    await find_message(ctx, found, request.seq)
    row = await ctx.db.get(reactions, channel=request.channel, seq=request.seq, user=ctx.user, emoji=request.emoji)
    return found, row


def _tell(ctx: Context, request: AddReaction | RemoveReaction, count: int, *, reacted: bool) -> None:
    ctx.publish(
        request.channel,
        ReactionChanged(
            channel=request.channel,
            seq=request.seq,
            emoji=request.emoji,
            user=ctx.user,
            reacted=reacted,
            count=count,
        ),
    )


def _state(request: AddReaction | RemoveReaction, count: int, *, own: bool) -> ReactionState:
    return ReactionState(request.channel, request.seq, request.emoji, count, own)


@app.handle(ListReactions)
async def list_reactions(ctx: Context, request: ListReactions) -> ReactionList:
    """Who reacted, the earliest first."""
    found = await access(ctx, request.channel, "channel.read")
    await ctx.position(request.channel)
    await find_message(ctx, found, request.seq)
    statement = sa.select(reactions.c.time, reactions.c.user, reactions.c.emoji).where(
        reactions.c.app == ctx.app, reactions.c.channel == request.channel, reactions.c.seq == request.seq
    )
    if request.emoji is not None:
        statement = statement.where(reactions.c.emoji == request.emoji)
    page = await paged(ctx, statement, [reactions.c.time, reactions.c.user, reactions.c.emoji], request)
    return ReactionList(
        [Reactor(row.user, row.emoji, row.time) for row in page.rows], page.next, page.previous, page.total
    )
