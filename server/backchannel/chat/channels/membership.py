"""Become a member and stop being one: join, leave, add, remove."""

from __future__ import annotations

from backchannel import Context, Refused

from ..access import Access, access
from ..common import app
from ..moderation.audit import record
from .contract import ChannelInfo, Left
from .describe import describe
from .entering import (
    check_role,
    default_role,
    enter,
    give_role,
    go,
    heir_of,
    members_among,
    refuse_direct,
)
from .links import role_by_link
from .member_contract import (
    AddMembers,
    JoinChannel,
    LeaveChannel,
    MemberInfo,
    MembersAdded,
    MembersRemoved,
    RemoveMembers,
)

__all__ = ["become_member"]


@app.handle(JoinChannel)
async def join_channel(ctx: Context, request: JoinChannel) -> ChannelInfo:
    """Become a member; joining again changes nothing, and uses no link."""
    found = await access(ctx, request.channel, known=request.link is not None)
    if found.member is not None:
        return await describe(ctx, found)
    if request.link is not None:
        role = await role_by_link(ctx, found, request.link)
    else:
        if found.operator:
            raise Refused("invalid", "An API key is nobody who could join; name the user with Backchannel-User.")
        role = default_role(found.rules)
    return await become_member(ctx, found, role)


async def become_member(ctx: Context, found: Access, role: str, *, by: str = "") -> ChannelInfo:
    """Make the asking user a member, who is none yet. Raises as `enter`."""
    return (await enter(ctx, found, {ctx.user: role}, by=by))[ctx.user]


@app.handle(LeaveChannel)
async def leave_channel(ctx: Context, request: LeaveChannel) -> Left:
    """Stop being a member; the right to listen ends in the log. Leaving twice changes nothing."""
    found = await access(ctx, request.channel)
    if found.member is None:
        return Left(request.channel)
    refuse_direct(found)
    heir = await heir_of(ctx, request.channel, [ctx.user]) if found.member.role == "owner" else None
    if heir is not None:
        give_role(ctx, found.rules, heir, "owner")
    go(ctx, found, [ctx.user])
    return Left(request.channel)


@app.handle(AddMembers)
async def add_members(ctx: Context, request: AddMembers) -> MembersAdded:
    """Make users members, all of them or none; another role than the usual one needs `member.role`, too."""
    found = await access(ctx, request.channel, "member.add")
    refuse_direct(found)
    role = request.role or default_role(found.rules)
    check_role(found.rules, role)
    if role != "member":
        found.require("member.role")
    if role == "owner" and found.role != "owner":
        raise Refused("forbidden", "Only an owner makes others owners.", details={"reason": "role"})
    there = await members_among(ctx, request.channel, request.users)
    new = {user: role for user in request.users if user not in there}
    if new:
        await enter(ctx, found, new, by=ctx.user)
    return MembersAdded(
        channel=request.channel,
        members=found.channel.member_count + len(new),
        added=[MemberInfo(user=user, role=role, joined=ctx.now) for user in new],
    )


@app.handle(RemoveMembers)
async def remove_members(ctx: Context, request: RemoveMembers) -> MembersRemoved:
    """Take users out; who is no member is left out of the answer."""
    found = await access(ctx, request.channel, "member.remove")
    refuse_direct(found)
    there = await members_among(ctx, request.channel, request.users)
    removed = [user for user in dict.fromkeys(request.users) if user in there]
    if found.role != "owner":
        for user in removed:
            if user != ctx.user and found.rules.allow(there[user].role, "member.remove"):
                raise Refused(
                    "forbidden",
                    f"{user} may remove members as well ({there[user].role}); only an owner can take them out.",
                    details={"reason": "rank", "user": user},
                )
    if any(there[user].role == "owner" for user in removed):
        heir = await heir_of(ctx, request.channel, removed)
        if heir is not None:
            give_role(ctx, found.rules, heir, "owner")
    left = go(ctx, found, removed, by=ctx.user) if removed else found.channel.member_count
    for user in removed:
        await record(ctx, request.channel, "member.remove", user, before={"role": there[user].role})
    return MembersRemoved(channel=request.channel, members=left, removed=removed)
