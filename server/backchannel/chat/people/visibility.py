"""Who may see whether somebody is there: SQL conditions, the same wherever it is asked."""

from __future__ import annotations

import sqlalchemy as sa

from backchannel import Context

from ..tables import members
from .tables import blocks, profiles

__all__ = ["may_see", "no_block"]

User = sa.ColumnElement[str]


def may_see(ctx: Context, user: User) -> sa.ColumnElement[bool]:
    """Whether the asking user sees this one: themselves; whoever shares a channel with them, or is open to all, unless
    they are deactivated, or one of the two has blocked the other."""
    who = profiles.alias("deactivated_profiles")
    out = sa.exists().where(who.c.app == ctx.app, who.c.user == user, who.c.deactivated.is_not(None))
    others = sa.and_(sa.or_(_shares(ctx, user), _open(ctx, user)), no_block(ctx, user), ~out)
    return sa.or_(user == ctx.user, others)


def no_block(ctx: Context, user: User) -> sa.ColumnElement[bool]:
    """Whether neither the asking user nor this one has blocked the other."""
    mine, theirs = blocks.alias("blocks_of_mine"), blocks.alias("blocks_of_theirs")
    return sa.and_(
        ~sa.exists().where(mine.c.app == ctx.app, mine.c.user == ctx.user, mine.c.blocked == user),
        ~sa.exists().where(theirs.c.app == ctx.app, theirs.c.user == user, theirs.c.blocked == ctx.user),
    )


def _shares(ctx: Context, user: User) -> sa.ColumnElement[bool]:
    """Whether both are members of one channel. It stops at the first that is found."""
    mine, theirs = members.alias("my_membership"), members.alias("their_membership")
    return sa.exists().where(
        theirs.c.app == ctx.app,
        theirs.c.user == user,
        mine.c.app == ctx.app,
        mine.c.channel == theirs.c.channel,
        mine.c.user == ctx.user,
    )


def _open(ctx: Context, user: User) -> sa.ColumnElement[bool]:
    return sa.exists().where(profiles.c.app == ctx.app, profiles.c.user == user, profiles.c.open)
