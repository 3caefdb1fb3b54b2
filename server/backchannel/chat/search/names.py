"""Find channels and users by their names."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access, is_operator
from ..common import app
from ..cursors import cursor, read_cursor
from ..people.tables import blocks, profiles
from ..tables import channels, members
from .contract import ChannelHit, ChannelHits, SearchChannels, SearchUsers, UserHit, UserHits
from .matching import looked, name_matches
from .wording import read_wording

__all__: list[str] = []

_LOOKED_AT: Final = 2_000
"""Matches, those that fit best, that one request looks at."""


@app.handle(SearchChannels)
async def search_channels(ctx: Context, request: SearchChannels) -> ChannelHits:
    """Find channels."""
    matched = _matched(ctx, "channel", request.q)
    mine = members.alias("mine")
    source = matched.join(channels, sa.and_(channels.c.app == ctx.app, channels.c.channel == matched.c.name)).outerjoin(
        mine,
        sa.and_(mine.c.app == ctx.app, mine.c.channel == channels.c.channel, mine.c.user == ctx.user),
    )
    conditions: list[sa.ColumnElement[bool]] = [channels.c.deleted.is_(None)]
    if not is_operator(ctx):
        conditions.append(sa.or_(channels.c.public, mine.c.user.is_not(None)))
    if request.joined is not None:
        conditions.append(mine.c.user.is_not(None) if request.joined else mine.c.user.is_(None))
    found = sa.select(channels, mine.c.user.label("mine"), matched.c.score).select_from(source).where(*conditions)
    rows, following, total = await _page(ctx, request, found, channels.c.channel)
    hits = [
        ChannelHit(
            channel=row.channel,
            name=row.name,
            type=row.type,
            topic=row.topic,
            cover=row.cover,
            public=row.public,
            joined=row.mine is not None,
            members=row.member_count,
        )
        for row in rows
    ]
    return ChannelHits(hits, following, total)


@app.handle(SearchUsers)
async def search_users(ctx: Context, request: SearchUsers) -> UserHits:
    """Find users; who has blocked the asking user, or is blocked by them, is not found."""
    matched = _matched(ctx, "user", request.q)
    source = matched.join(profiles, sa.and_(profiles.c.app == ctx.app, profiles.c.user == matched.c.name))
    conditions: list[sa.ColumnElement[bool]] = [profiles.c.deactivated.is_(None)]
    if not is_operator(ctx):
        for blocker, blocked in ((ctx.user, profiles.c.user), (profiles.c.user, ctx.user)):
            conditions.append(
                ~sa.exists().where(blocks.c.app == ctx.app, blocks.c.user == blocker, blocks.c.blocked == blocked)
            )
    if request.channel is not None:
        await access(ctx, request.channel, "member.list")
        conditions.append(
            sa.exists().where(
                members.c.app == ctx.app, members.c.channel == request.channel, members.c.user == profiles.c.user
            )
        )
    found = sa.select(profiles, matched.c.score).select_from(source).where(*conditions)
    rows, following, total = await _page(ctx, request, found, profiles.c.user)
    return UserHits([UserHit(row.user, row.name, row.avatar) for row in rows], following, total)


def _matched(ctx: Context, kind: str, text: str) -> sa.Subquery:
    wording = read_wording(text, unfinished=True, filters=False)
    what = looked(wording.terms, kind=kind)
    if what is None or not wording.wanted:
        raise Refused("invalid", "`q` needs a letter or a digit to find by.", details={"reason": "search"})
    return name_matches(ctx.app, kind, what, most=_LOOKED_AT).subquery("matched")


async def _page(
    ctx: Context, request: SearchChannels | SearchUsers, found: sa.Select[Any], key: sa.ColumnElement[str]
) -> tuple[list[Any], str | None, int | None]:
    """The rows of the page that is asked for, the cursor of the next one, and how many there are, if that is asked."""
    skipped = 0 if request.cursor is None else read_cursor(request.cursor, tuple[int])[0]
    if not 0 <= skipped <= _LOOKED_AT:
        raise Refused("invalid", "This is no cursor of this query; begin without one.")
    ordered = found.order_by(sa.column("score").desc(), key).offset(skipped).limit(request.limit + 1)
    rows = await ctx.db.rows(ordered)
    total = None
    if request.total:
        total = int(await ctx.db.value(sa.select(sa.func.count()).select_from(found.subquery())))
    following = cursor(skipped + request.limit) if len(rows) > request.limit else None
    return list(rows[: request.limit]), following, total
