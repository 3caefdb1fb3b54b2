"""Standing: whom one may restrain, and how the rows of members come to say what holds a user back.

The rows of `chat_restraints` and `chat_bans` are what is true. The columns `silenced`, `shadowed` and `banned` of
`chat_members` repeat it, so that a member's own row tells all; they are set from those rows by one statement, in the
transaction that changes them. What holds everywhere is done beside the lanes of the user's channels, and may not see a
membership that begins at the same moment: so a job sets the user's rows once more when all that ran then has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from backchannel import Command, Context, Publisher, Refused

from ..access import Access, access
from ..common import app
from ..rules import Action
from ..tables import bans, members
from .audit import require_operator
from .tables import paces, restraints, settling

__all__ = ["apply", "may_restrain", "settle_later"]

_SETTLES_AFTER: Final = 30_000
"""Milliseconds; longer than a command may run."""
_LONGEST_PACE: Final = 21_600_000
"""Milliseconds; slow mode is no slower."""


async def may_restrain(ctx: Context, channel: str, user: str, action: Action) -> Access | None:
    """The access of who wants to restrain a user in a channel; None for `*`.

    Raises:
        Refused: `forbidden`, their role may not, or the user's role may do the same to others, which only an owner
            overrules.
    """
    if channel == "*":
        require_operator(ctx, "What holds everywhere")
        return None
    found = await access(ctx, channel, action)
    if found.operator:
        return found
    if user == ctx.user:
        raise Refused("forbidden", "You cannot restrain yourself; leave instead.", details={"reason": "self"})
    target = await ctx.db.get(members, channel=channel, user=user)
    if target is not None and (
        target.role == "owner" or (found.role != "owner" and found.rules.allow(target.role, action))
    ):
        raise Refused(
            "forbidden",
            f"{user} is {target.role} of {channel}; let someone of a higher role do it.",
            details={"reason": "rank"},
        )
    return found


async def apply(ctx: Context, users: Sequence[str], channel: str = "*") -> None:
    """Set the members' columns from what is true: of these users, in one channel or, for `*`, in all of theirs."""
    everywhere = sa.and_(
        restraints.c.app == members.c.app,
        restraints.c.user == members.c.user,
        restraints.c.channel.in_([members.c.channel, "*"]),
        restraints.c.until > ctx.now,
    )
    silenced = sa.select(sa.func.max(restraints.c.until)).where(everywhere, restraints.c.kind == "silence")
    banned = sa.select(bans.c.until).where(
        bans.c.app == members.c.app, bans.c.user == members.c.user, bans.c.channel == "*", bans.c.until > ctx.now
    )
    where = [members.c.app == ctx.app, members.c.user.in_(users)]
    if channel != "*":
        where.append(members.c.channel == channel)
    await ctx.db.execute(
        sa.update(members)
        .where(*where)
        .values(
            silenced=sa.func.coalesce(silenced.scalar_subquery(), 0),
            shadowed=sa.exists().where(everywhere, restraints.c.kind == "shadow"),
            banned=sa.func.coalesce(banned.scalar_subquery(), 0),
        )
    )


async def settle_later(ctx: Context, user: str) -> None:
    """Have a user's rows set once more, after what runs now has ended."""
    due = ctx.now + _SETTLES_AFTER
    if await ctx.db.get(settling, user=user) is None:
        ctx.insert(settling, user=user, due=due)
    else:
        ctx.update(settling, {"user": user}, due=due)


@app.command("moderation.settle", own_transaction=True, internal=True)
class Settle(Command[int]):
    """Set the members' columns of users for whom it is due, and forget what has ended; tells of how many users."""


@app.handle(Settle)
async def settle(ctx: Context, request: Settle) -> int:
    """The same few statements, however many there are."""
    due = [settling.c.app == ctx.app, settling.c.due <= ctx.now]
    rows = await ctx.db.rows(sa.select(settling.c.user).where(*due).order_by(settling.c.user).limit(500))
    users = [row.user for row in rows]
    if users:
        await apply(ctx, users)
        await ctx.db.execute(sa.delete(settling).where(*due, settling.c.user.in_(users)))
    return len(users)


@app.every(10)
async def settle_what_is_due(publisher: Publisher) -> None:
    """Look whether anything is due."""
    await publisher.call(Settle(), user="")


@app.command("moderation.tidy", own_transaction=True, internal=True)
class Tidy(Command[int]):
    """Forget restraints and paces that have ended; tells how many."""


@app.handle(Tidy)
async def tidy(ctx: Context, request: Tidy) -> int:
    """One statement per table. What has ended counts nowhere, so no lane is needed for it."""
    ended = 0
    for table, is_over in (
        (restraints, restraints.c.until <= ctx.now),
        (bans, bans.c.until <= ctx.now),
        (paces, paces.c.time <= ctx.now - _LONGEST_PACE),
    ):
        result = await ctx.db.execute(sa.delete(table).where(table.c.app == ctx.app, is_over))
        ended += int(getattr(result, "rowcount", 0))
    return ended


@app.every(3600)
async def tidy_up(publisher: Publisher) -> None:
    """Once an hour."""
    await publisher.call(Tidy(), user="")
