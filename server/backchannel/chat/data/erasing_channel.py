"""What a user has left in one channel, taken away under the channel's lane."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Command, Context, Struct

from ..access import Access
from ..channels.describe import DIRECT
from ..channels.entering import give_role, go, heir_of
from ..common import app
from ..extensions import type_of
from ..messages.expiry import erase
from ..messages.mark_contract import ReactionChanged
from ..messages.tables import edits, reaction_counts, reactions
from ..rules import rules_of
from ..tables import channels, members, messages
from .contract import MessagesAnonymised
from .ledger import LEDGER, OWN
from .naming import STEP, mentions_name, rename
from .tables import erasures, holds

__all__ = ["EraseInChannel", "ErasedRows"]


class ErasedRows(Struct):
    """How many rows went or changed, and whether there are more."""

    rows: int
    more: bool


@app.command("erasure.channel", lane="channel", internal=True)
class EraseInChannel(Command[ErasedRows]):
    """Take away what is left of a user in one channel."""

    channel: str
    id: str
    """The erasure."""


@app.handle(EraseInChannel)
async def erase_in_channel(ctx: Context, request: EraseInChannel) -> ErasedRows:
    """A number of rows; none if the channel is on hold by now."""
    erasure = await ctx.db.get(erasures, id=request.id)
    if erasure is None or erasure.finished is not None:
        return ErasedRows(0, more=False)
    if await ctx.db.get(holds, channel=request.channel) is not None:
        return ErasedRows(0, more=False)
    left = STEP
    # What is deleted for good goes first: what hangs on it need not be changed then.
    for part in (_messages, _copies, _reactions, _edits, _title, _leave):
        if left > 0:
            left -= await part(ctx, request.channel, erasure, left)
    for entry in LEDGER:
        if left > 0 and entry.table.name not in OWN:
            here = entry.table.c.channel == request.channel
            left -= await rename(ctx, entry, erasure, left, here)
    return ErasedRows(STEP - left, more=left <= 0)


async def _messages(ctx: Context, channel: str, erasure: Any, limit: int) -> int:
    """What the user said: it goes, or is somebody's whom nobody knows; what it said before its edits goes."""
    rows = await ctx.db.rows(
        sa.select(messages)
        .where(messages.c.app == ctx.app, messages.c.user == erasure.user, messages.c.channel == channel)
        .order_by(messages.c.seq)
        .limit(limit)
    )
    for row in rows:
        key = {"channel": channel, "seq": row.seq}
        ctx.update(messages, key, user=erasure.ghost)
        ctx.delete(edits, key)
    if rows and erasure.messages == "delete":
        await erase(ctx, channel, rows)
    elif told := [row.seq for row in rows if row.deleted is None and not row.shadow]:
        ctx.publish(channel, MessagesAnonymised(channel=channel, user=erasure.ghost, seqs=told))
    return len(rows)


async def _copies(ctx: Context, channel: str, erasure: Any, limit: int) -> int:
    """What others have forwarded of the user goes with what it was forwarded from."""
    if erasure.messages != "delete":
        return 0
    rows = await ctx.db.rows(
        sa.select(messages)
        .where(
            messages.c.app == ctx.app,
            messages.c.channel == channel,
            mentions_name(messages.c.forwarded, erasure.user),
        )
        .limit(limit)
    )
    theirs = [row for row in rows if msgspec.json.decode(row.forwarded).get("user") == erasure.user]
    if theirs:
        await erase(ctx, channel, theirs)
    return len(theirs)


async def _reactions(ctx: Context, channel: str, erasure: Any, limit: int) -> int:
    """They stay, as the ghost's, or go with their numbers."""
    rows = await ctx.db.rows(
        sa.select(reactions)
        .where(reactions.c.app == ctx.app, reactions.c.channel == channel, reactions.c.user == erasure.user)
        .limit(limit)
    )
    fewer: Counter[tuple[int, str]] = Counter()
    for row in rows:
        key = {"channel": channel, "seq": row.seq, "user": row.user, "emoji": row.emoji}
        if erasure.messages == "delete":
            ctx.delete(reactions, key)
            fewer[row.seq, row.emoji] += 1
        else:
            ctx.update(reactions, key, user=erasure.ghost)
    if fewer:
        counted = await ctx.db.rows(
            sa.select(reaction_counts).where(
                reaction_counts.c.app == ctx.app,
                reaction_counts.c.channel == channel,
                reaction_counts.c.seq.in_(sorted({seq for seq, _ in fewer})),
            )
        )
        for row in counted:
            less = fewer.get((row.seq, row.emoji), 0)
            if not less:
                continue
            key = {"channel": channel, "seq": row.seq, "emoji": row.emoji}
            now = row.number - less
            if now > 0:
                ctx.update(reaction_counts, key, number=now)
            else:
                ctx.delete(reaction_counts, key)
            ctx.publish(
                channel,
                ReactionChanged(
                    channel=channel,
                    seq=row.seq,
                    emoji=row.emoji,
                    user=erasure.ghost,
                    reacted=False,
                    count=max(now, 0),
                ),
            )
    return len(rows)


async def _edits(ctx: Context, channel: str, erasure: Any, limit: int) -> int:
    """What the user has edited of others stays edited, by the ghost."""
    rows = await ctx.db.rows(
        sa.select(edits.c.seq, edits.c.edit)
        .where(edits.c.app == ctx.app, edits.c.channel == channel, edits.c.user == erasure.user)
        .limit(limit)
    )
    for row in rows:
        ctx.update(edits, {"channel": channel, "seq": row.seq, "edit": row.edit}, user=erasure.ghost)
    return len(rows)


async def _title(ctx: Context, channel: str, erasure: Any, limit: int) -> int:
    """A direct channel is called by its members."""
    row = await ctx.db.get(channels, channel=channel)
    if row is None or row.type != DIRECT:
        return 0
    name = ", ".join(erasure.ghost if one == erasure.user else one for one in row.name.split(", "))
    if name == row.name:
        return 0
    ctx.update(channels, {"channel": channel}, name=name)
    return 1


async def _leave(ctx: Context, channel: str, erasure: Any, limit: int) -> int:
    """The user is a member no more; who has stayed longest owns what was theirs."""
    member = await ctx.db.get(members, channel=channel, user=erasure.user)
    if member is None:
        return 0
    row = await ctx.db.get(channels, channel=channel)
    if row is None:
        ctx.delete(members, {"channel": channel, "user": erasure.user})
        return 1
    rules = rules_of(type_of(row.type), row.type_rules, row.rules)
    heir = await heir_of(ctx, channel, [erasure.user]) if member.role == "owner" else None
    if heir is not None:
        give_role(ctx, rules, heir, "owner")
    go(ctx, Access(row, member, rules, member.role, operator=False), [erasure.user])
    return 1
