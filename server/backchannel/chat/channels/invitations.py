"""Invitations: ask users to become members; they accept or decline."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..paging import paged
from ..people.tables import blocks
from ..tables import channels
from .contract import ChannelInfo, Left
from .describe import describe
from .entering import default_role, members_among, refuse_direct, restraints_of
from .member_contract import (
    AcceptInvitation,
    DeclineInvitation,
    InvitationAnswered,
    InvitationCreated,
    InvitationEnded,
    InvitationInfo,
    InvitationList,
    Invited,
    InviteMembers,
    ListInvitations,
    WithdrawInvitation,
)
from .membership import become_member
from .tables import invitations

__all__: list[str] = []


@app.handle(InviteMembers)
async def invite_members(ctx: Context, request: InviteMembers) -> Invited:
    """Ask users; who is asked already is not asked again."""
    found = await access(ctx, request.channel, "member.invite")
    refuse_direct(found)
    row, channel = found.channel, request.channel
    role = default_role(found.rules)
    there = await members_among(ctx, request.channel, request.users)
    about = await restraints_of(ctx, request.channel, request.users)
    asked = await ctx.db.rows(
        sa.select(invitations.c.user).where(
            invitations.c.app == ctx.app,
            invitations.c.channel == request.channel,
            invitations.c.user.in_(sorted(set(request.users))),
        )
    )
    known = {*there, *(one.user for one in asked), *(user for user, said in about.items() if said.banned)}
    # Who has blocked the one that asks is not told, and nobody can tell that.
    deaf = await ctx.db.rows(
        sa.select(blocks.c.user).where(
            blocks.c.app == ctx.app, blocks.c.blocked == ctx.user, blocks.c.user.in_(sorted(set(request.users)))
        )
    )
    untold = {one.user for one in deaf}
    invited = [user for user in dict.fromkeys(request.users) if user not in known]
    for user in invited:
        values: dict[str, Any] = {"channel": channel, "user": user, "by": ctx.user, "role": role, "time": ctx.now}
        ctx.insert(invitations, **values)
        if user not in untold:
            ctx.publish(f"user:{user}", InvitationCreated(**values, name=row.name, type=row.type))
    return Invited(request.channel, invited)


@app.handle(AcceptInvitation)
async def accept_invitation(ctx: Context, request: AcceptInvitation) -> ChannelInfo:
    """Become a member. Without an invitation the channel is as unknown as ever."""
    invitation = await ctx.db.get(invitations, channel=request.channel, user=ctx.user)
    found = await access(ctx, request.channel, known=invitation is not None)
    if found.member is not None:
        return await describe(ctx, found)
    if invitation is None:
        raise _not_invited(request.channel)
    # The role may be gone since.
    role = invitation.role if invitation.role in found.rules.permissions else default_role(found.rules)
    info = await become_member(ctx, found, role, by=invitation.by)
    _tell_ended(ctx, request.channel, invitation.by, accepted=True)
    return info


@app.handle(DeclineInvitation)
async def decline_invitation(ctx: Context, request: DeclineInvitation) -> Left:
    """Say no; who invited is told. Also where the channel is gone by now."""
    invitation = await ctx.db.get(invitations, channel=request.channel, user=ctx.user)
    if invitation is None:
        raise _not_invited(request.channel)
    ctx.delete(invitations, {"channel": request.channel, "user": ctx.user})
    _tell_ended(ctx, request.channel, invitation.by, accepted=False)
    return Left(request.channel)


@app.handle(WithdrawInvitation)
async def withdraw_invitation(ctx: Context, request: WithdrawInvitation) -> Left:
    """Take an invitation back; where there is none, nothing changes."""
    found = await access(ctx, request.channel, "member.invite")
    invitation = await ctx.db.get(invitations, channel=request.channel, user=request.user)
    if invitation is not None:
        if invitation.by != ctx.user:
            found.require("member.add")
        ctx.delete(invitations, {"channel": request.channel, "user": request.user})
        ctx.publish(f"user:{request.user}", InvitationEnded(channel=request.channel))
    return Left(request.channel)


@app.handle(ListInvitations)
async def list_invitations(ctx: Context, request: ListInvitations) -> InvitationList:
    """One's own, or a channel's for those who may invite. Those to channels that are gone are left out, and of one's
    own those by users whom one has blocked."""
    if request.channel is not None:
        await access(ctx, request.channel, "member.invite")
    if request.channel is None:
        by_blocked = sa.exists().where(
            blocks.c.app == ctx.app, blocks.c.user == ctx.user, blocks.c.blocked == invitations.c.by
        )
        mine = sa.and_(invitations.c.user == ctx.user, ~by_blocked)
    else:
        mine = invitations.c.channel == request.channel
    page = await paged(
        ctx,
        sa.select(invitations, channels.c.name, channels.c.type)
        .join(channels, sa.and_(channels.c.app == invitations.c.app, channels.c.channel == invitations.c.channel))
        .where(invitations.c.app == ctx.app, mine, channels.c.deleted.is_(None)),
        (invitations.c.time, invitations.c.channel, invitations.c.user),
        request,
        newest_first=True,
    )
    return InvitationList(
        invitations=[
            InvitationInfo(**{name: getattr(row, name) for name in InvitationInfo.__struct_fields__})
            for row in page.rows
        ],
        next=page.next,
        previous=page.previous,
        total=page.total,
    )


def _tell_ended(ctx: Context, channel: str, by: str, *, accepted: bool) -> None:
    ctx.publish(f"user:{ctx.user}", InvitationEnded(channel=channel))
    if by:
        ctx.publish(f"user:{by}", InvitationAnswered(channel=channel, user=ctx.user, accepted=accepted))


def _not_invited(channel: str) -> Refused:
    return Refused("not_found", f"No invitation to {channel} waits for you.")
