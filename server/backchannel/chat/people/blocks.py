"""Blocks between users. Neither can tell from what is refused who of the two has blocked the other."""

from __future__ import annotations

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access
from ..common import app
from ..cursors import cursor, read_cursor
from ..messages.pipeline import Draft, before_message
from ..tables import members
from .contract import BlockChanged, Blocked, BlockedUser, BlockedUsers, BlockUser, ListBlocked, UnblockUser
from .profiles import require_user
from .state import read_state
from .tables import blocks

__all__: list[str] = []


@app.handle(BlockUser)
async def block_user(ctx: Context, request: BlockUser) -> Blocked:
    """Keep it; who is blocked does not watch the user any more."""
    user = require_user(ctx)
    if request.user == user:
        raise Refused("invalid", "Nobody can block themselves.", details={"reason": "self"})
    if await ctx.db.get(blocks, user=user, blocked=request.user) is None:
        ctx.insert(blocks, user=user, blocked=request.user, time=ctx.now)
        ctx.publish(f"user:{user}", BlockChanged(user=request.user, blocked=True))
        (await read_state(ctx, user)).tell(ctx, ends=[request.user])
    return Blocked(request.user, blocked=True)


@app.handle(UnblockUser)
async def unblock_user(ctx: Context, request: UnblockUser) -> Blocked:
    """Forget it."""
    user = require_user(ctx)
    if await ctx.db.get(blocks, user=user, blocked=request.user) is not None:
        ctx.delete(blocks, {"user": user, "blocked": request.user})
        ctx.publish(f"user:{user}", BlockChanged(user=request.user, blocked=False))
    return Blocked(request.user, blocked=False)


@app.handle(ListBlocked)
async def list_blocked(ctx: Context, request: ListBlocked) -> BlockedUsers:
    """A page in either direction; a second statement if the total is asked."""
    own = (blocks.c.app == ctx.app, blocks.c.user == require_user(ctx))
    forward, at = (True, "") if request.cursor is None else read_cursor(request.cursor, tuple[bool, str])
    statement = sa.select(blocks.c.blocked, blocks.c.time).where(*own)
    if forward:
        statement = statement.where(blocks.c.blocked > at).order_by(blocks.c.blocked)
    else:
        statement = statement.where(blocks.c.blocked < at).order_by(blocks.c.blocked.desc())
    rows = list(await ctx.db.rows(statement.limit(request.limit + 1)))
    more = len(rows) > request.limit
    page = rows[: request.limit]
    if not forward:
        page.reverse()
    before = bool(at) if forward else more
    after = more if forward else True
    return BlockedUsers(
        users=[BlockedUser(row.blocked, row.time) for row in page],
        next=cursor(True, page[-1].blocked) if page and after else None,
        previous=cursor(False, page[0].blocked) if page and before else None,
        total=await ctx.db.value(sa.select(sa.func.count()).select_from(blocks).where(*own)) if request.total else None,
    )


@before_message("sender")
async def refuse_blocked(ctx: Context, found: Access, draft: Draft) -> Draft:
    """Nothing is sent in a direct conversation with a block in it; an extra statement in those alone."""
    if found.channel.type != "direct" or draft.purpose == "edit" or found.operator:
        return draft
    others = sa.select(members.c.user).where(members.c.app == ctx.app, members.c.channel == found.channel.channel)
    block = sa.select(sa.literal(1)).where(
        blocks.c.app == ctx.app,
        sa.or_(
            sa.and_(blocks.c.user == ctx.user, blocks.c.blocked.in_(others)),
            sa.and_(blocks.c.blocked == ctx.user, blocks.c.user.in_(others)),
        ),
    )
    if await ctx.db.value(block.limit(1)) is not None:
        raise Refused("forbidden", "You cannot send messages in this conversation.", details={"reason": "blocked"})
    return draft
