"""Join links: codes by which whoever has one may join, also a private channel."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access, no_channel
from ..common import app
from ..tables import channels, members
from .contract import Left
from .entering import check_role, default_role, refuse_direct
from .member_contract import (
    CreateLink,
    JoinLinkInfo,
    JoinLinkList,
    JoinLinkPreview,
    ListLinks,
    LookAtLink,
    RevokeLink,
)
from .tables import links

__all__ = ["MAX_LINKS", "role_by_link"]

MAX_LINKS = 100
"""Links that a channel may have at once."""


@app.handle(CreateLink)
async def create_link(ctx: Context, request: CreateLink) -> JoinLinkInfo:
    """Make a link; those that have ended make room."""
    found = await access(ctx, request.channel, "member.link")
    refuse_direct(found)
    role = request.role or default_role(found.rules)
    check_role(found.rules, role)
    if role == "owner":
        raise Refused("invalid", "Nobody becomes an owner by a link; ask member.set_role.", details={"reason": "role"})
    if role != "member":
        found.require("member.role")
    if request.expires is not None and request.expires <= ctx.now:
        raise Refused("invalid", "`expires` is over already; give Unix milliseconds to come.")
    rows = await _links(ctx, request.channel)
    ended = [row for row in rows if _has_ended(ctx, row)]
    if len(rows) - len(ended) >= MAX_LINKS:
        raise Refused(
            "conflict",
            f"{request.channel} has {MAX_LINKS} links; revoke one first.",
            details={"reason": "links", "limit": MAX_LINKS},
        )
    for row in ended:
        ctx.delete(links, {"channel": row.channel, "code": row.code})
    info = JoinLinkInfo(
        channel=request.channel,
        code=secrets.token_urlsafe(16),
        by=ctx.user,
        role=role,
        created=ctx.now,
        expires=request.expires or 0,
        uses=request.uses,
        used=0,
    )
    ctx.insert(links, **{name: getattr(info, name) for name in JoinLinkInfo.__struct_fields__})
    return info


@app.handle(RevokeLink)
async def revoke_link(ctx: Context, request: RevokeLink) -> Left:
    """End a link; ending it again changes nothing."""
    await access(ctx, request.channel, "member.link")
    ctx.delete(links, {"channel": request.channel, "code": request.code})
    return Left(request.channel)


@app.handle(ListLinks)
async def list_links(ctx: Context, request: ListLinks) -> JoinLinkList:
    """For those who may make links: who has a code may join."""
    await access(ctx, request.channel, "member.link")
    return JoinLinkList(
        [
            JoinLinkInfo(**{name: getattr(row, name) for name in JoinLinkInfo.__struct_fields__})
            for row in await _links(ctx, request.channel)
        ]
    )


@app.handle(LookAtLink)
async def look_at_link(ctx: Context, request: LookAtLink) -> JoinLinkPreview:
    """For whoever has the code. One that has ended is as good as none."""
    member = members.alias("mine")
    row = await ctx.db.row(
        sa.select(
            links.c.expires,
            links.c.uses,
            links.c.used,
            channels,
            member.c.user.is_not(None).label("joined"),
        )
        .join(channels, sa.and_(channels.c.app == links.c.app, channels.c.channel == links.c.channel))
        .outerjoin(
            member,
            sa.and_(member.c.app == links.c.app, member.c.channel == links.c.channel, member.c.user == ctx.user),
        )
        .where(links.c.app == ctx.app, links.c.code == request.code, channels.c.deleted.is_(None))
    )
    if row is None or _has_ended(ctx, row):
        raise _no_link()
    return JoinLinkPreview(
        channel=row.channel,
        name=row.name,
        type=row.type,
        members=row.member_count,
        joined=bool(row.joined),
        topic=row.topic,
        cover=row.cover,
    )


async def role_by_link(ctx: Context, found: Access, code: str) -> str:
    """Use a link, in its channel's lane: what its holder becomes.

    Raises:
        Refused: `not_found`, there is no such link, or it has ended: nobody learns whether the channel is there.
    """
    row = await ctx.db.get(links, channel=found.channel.channel, code=code)
    if row is None or _has_ended(ctx, row):
        raise _no_link() if found.channel.public else no_channel(found.channel.channel)
    if found.operator:
        raise Refused("invalid", "An API key is nobody who could join; name the user with Backchannel-User.")
    ctx.update(links, {"channel": row.channel, "code": code}, used=row.used + 1)
    # The role may be gone since.
    check_role(found.rules, row.role)
    return str(row.role)


async def _links(ctx: Context, channel: str) -> list[sa.Row[Any]]:
    return list(
        await ctx.db.rows(
            sa.select(links)
            .where(links.c.app == ctx.app, links.c.channel == channel)
            .order_by(links.c.created.desc(), links.c.code)
        )
    )


def _has_ended(ctx: Context, row: Any) -> bool:
    return bool(0 < row.expires <= ctx.now or 0 < row.uses <= row.used)


def _no_link() -> Refused:
    return Refused("not_found", "There is no such link, or it has ended; ask for a new one.")
