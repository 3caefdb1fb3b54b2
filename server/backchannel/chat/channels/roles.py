"""What members are: roles, the owner, what is kept with them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..limits import merge_data
from ..moderation.audit import record
from ..tables import members
from .describe import member_info, object_of
from .entering import check_role, give_role, refuse_direct
from .member_contract import MemberInfo, MemberUpdated, SetRole, TransferChannel, UpdateMember

__all__: list[str] = []


@app.handle(SetRole)
async def set_role(ctx: Context, request: SetRole) -> MemberInfo:
    """Give a member another role. Owners alone make owners, and change those who may change roles."""
    found = await access(ctx, request.channel, "member.role")
    refuse_direct(found)
    check_role(found.rules, request.role)
    row = await _member(ctx, request.channel, request.user)
    if row.role == request.role:
        return member_info(row)
    if found.role != "owner" and (request.role == "owner" or found.rules.allow(row.role, "member.role")):
        raise Refused(
            "forbidden",
            "Only an owner makes others owners, or changes those who may change roles.",
            details={"reason": "rank"},
        )
    if row.role == "owner" and not await _other_owner(ctx, request.channel, request.user):
        raise Refused(
            "conflict",
            f"{request.user} is the only owner; make somebody else one first, or ask channel.transfer.",
            details={"reason": "last_owner"},
        )
    await _record_role(ctx, row, request.role)
    return give_role(ctx, found.rules, row, request.role)


@app.handle(TransferChannel)
async def transfer_channel(ctx: Context, request: TransferChannel) -> MemberInfo:
    """Make a member the owner, and whoever owns it, oneself or for an operator everybody, a moderator."""
    found = await access(ctx, request.channel)
    refuse_direct(found)
    if found.role != "owner":
        raise Refused("forbidden", "Only an owner gives a channel to somebody else.", details={"reason": "role"})
    row = await _member(ctx, request.channel, request.user)
    owners = await ctx.db.rows(
        sa.select(members).where(
            members.c.app == ctx.app, members.c.channel == request.channel, members.c.role == "owner"
        )
    )
    after = "moderator" if "moderator" in found.rules.permissions else "member"
    for owner in owners:
        if owner.user != request.user and (found.operator or owner.user == ctx.user):
            await _record_role(ctx, owner, after)
            give_role(ctx, found.rules, owner, after)
    if row.role == "owner":
        return member_info(row)
    await _record_role(ctx, row, "owner")
    return give_role(ctx, found.rules, row, "owner")


async def _record_role(ctx: Context, row: Any, role: str) -> None:
    await record(ctx, row.channel, "member.set_role", row.user, before={"role": row.role}, after={"role": role})


@app.handle(UpdateMember)
async def update_member(ctx: Context, request: UpdateMember) -> MemberInfo:
    """Change what is kept with a member: one's own, or another's with `member.update`."""
    found = await access(ctx, request.channel)
    user = request.user or ctx.user
    if found.operator or user != ctx.user:
        found.require("member.update")
    elif found.member is None:
        found.require("member.list")
    row = await _member(ctx, request.channel, user)
    data = merge_data(row.data, request.data, "data")
    info = member_info(row)
    if data != row.data:
        info.data = object_of(data)
        ctx.update(members, {"channel": request.channel, "user": user}, data=data)
        ctx.publish(request.channel, MemberUpdated(channel=request.channel, user=user, role=row.role, data=info.data))
    return info


async def _member(ctx: Context, channel: str, user: str) -> sa.Row[Any]:
    row = await ctx.db.get(members, channel=channel, user=user)
    if row is None:
        raise Refused(
            "not_found", f"{user or 'The API key'} is no member of {channel}.", details={"reason": "not_member"}
        )
    return row


async def _other_owner(ctx: Context, channel: str, user: str) -> bool:
    owner = await ctx.db.value(
        sa.select(members.c.user)
        .where(
            members.c.app == ctx.app,
            members.c.channel == channel,
            members.c.role == "owner",
            members.c.user != user,
        )
        .limit(1)
    )
    return owner is not None
