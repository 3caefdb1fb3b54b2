"""How users become members, and stop being it: what all ways in and out have in common, under the channel's lane."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access
from ..moderation.tables import restraints
from ..rules import OUTSIDER, Rules
from ..tables import bans, channels, members
from .contract import ChannelInfo, Membership, RemovedFromChannel
from .describe import DIRECT, added, info_of, member_info, newest_seq
from .member_contract import MemberInfo, MemberJoined, MemberLeft, MemberUpdated
from .tables import invitations

__all__ = [
    "banned_users",
    "check_role",
    "default_role",
    "enter",
    "give_role",
    "go",
    "heir_of",
    "make_members",
    "members_among",
    "refuse_direct",
    "restraints_of",
]


def refuse_direct(found: Access) -> None:
    """
    Raises:
        Refused: `invalid`, the channel is direct, whose members are always the same.
    """
    if found.channel.type == DIRECT:
        raise Refused(
            "invalid",
            f"{found.channel.channel} is between the same users for ever; hide it, or open another with "
            f"channel.direct.",
            details={"reason": "direct"},
        )


def check_role(rules: Rules, role: str) -> None:
    """
    Raises:
        Refused: `invalid`, channels with these rules have no such role to give.
    """
    if role != "owner" and (role == OUTSIDER or role not in rules.permissions):
        roles = ", ".join(["owner", *sorted(set(rules.permissions) - {OUTSIDER, "owner"})])
        raise Refused("invalid", f"There is no role {role!r} here; there are: {roles}.", details={"reason": "role"})


def default_role(rules: Rules) -> str:
    """What users become where nothing is said.

    Raises:
        Refused: `invalid`, the type has no `member`, as an open room, whose only members are those with a task.
    """
    if "member" not in rules.permissions:
        raise Refused(
            "invalid",
            f"Channels of the type {rules.type.name!r} are read without being a member; only those whom member.add "
            f"gives a `role` with a task are members.",
            details={"reason": "no_membership"},
        )
    return "member"


class Restraints(msgspec.Struct):
    """What moderators have said about a user who is not in yet."""

    silenced: int = 0
    shadowed: bool = False
    banned: bool = False


async def restraints_of(ctx: Context, channel: str, users: Collection[str]) -> Mapping[str, Restraints]:
    """What holds for users in a channel or everywhere, by name; nobody for whom nothing does. One statement."""
    both = sa.union_all(
        *(
            sa.select(table.c.user, kind.label("kind"), table.c.until).where(
                table.c.app == ctx.app,
                table.c.channel.in_([channel, "*"]),
                table.c.user.in_(sorted(users)),
                table.c.until > ctx.now,
            )
            for table, kind in ((bans, sa.literal("ban", sa.Text)), (restraints, restraints.c.kind))
        )
    ).subquery()
    found: dict[str, Restraints] = {}
    for row in await ctx.db.rows(sa.select(both)):
        about = found.setdefault(row.user, Restraints())
        if row.kind == "ban":
            about.banned = True
        elif row.kind == "silence":
            about.silenced = max(about.silenced, row.until)
        else:
            about.shadowed = True
    return found


def banned_users(about: Mapping[str, Restraints]) -> list[str]:
    """Who of them is banned."""
    return sorted(user for user, said in about.items() if said.banned)


async def members_among(ctx: Context, channel: str, users: Collection[str]) -> dict[str, sa.Row[Any]]:
    """Who of these users is a member, with their rows. One statement."""
    rows = await ctx.db.rows(
        sa.select(members).where(
            members.c.app == ctx.app, members.c.channel == channel, members.c.user.in_(sorted(users))
        )
    )
    return {row.user: row for row in rows}


async def enter(ctx: Context, found: Access, roles: Mapping[str, str], *, by: str = "") -> dict[str, ChannelInfo]:
    """Make users members of a channel that is there; none of them is one. Nobody's invitation stays. Answers with the
    channel as each of them sees it.

    Args:
        ctx: a command in the channel's lane.
        found: the channel.
        roles: what each user becomes.
        by: who adds them.

    Raises:
        Refused: `conflict`, somebody is banned, or the channel is full.
    """
    row = found.channel
    about = await restraints_of(ctx, row.channel, roles)
    if banned := banned_users(about):
        raise Refused(
            "conflict",
            f"Banned from {row.channel}: {', '.join(banned)}; leave them out, or lift the ban.",
            details={"reason": "banned", "users": banned},
        )
    newest = await newest_seq(ctx, row.channel)
    hides = found.rules.features.history == "joined"
    # What was said before is in the log as well, for who may listen.
    offset = await ctx.position(row.channel) if hides else 0
    made = make_members(
        ctx,
        row,
        found.rules,
        roles,
        about,
        by=by,
        newest=newest,
        before=row.member_count,
        history_from=newest if hides else 0,
        events_from=offset,
    )
    ctx.update(channels, {"channel": row.channel}, member_count=row.member_count + len(roles))
    for user in roles:
        ctx.delete(invitations, {"channel": row.channel, "user": user})
    return made


def make_members(
    ctx: Context,
    row: Any,
    rules: Rules,
    roles: Mapping[str, str],
    about: Mapping[str, Restraints],
    *,
    by: str = "",
    newest: int = 0,
    before: int = 0,
    history_from: int = 0,
    events_from: int = 0,
) -> dict[str, ChannelInfo]:
    """Declare the rows and events of new members; what was said until now is nothing that they have left unread.
    Answers with the channel as each of them sees it.

    Args:
        ctx: the command.
        row: the channel's, or what is as good: `info_of` reads it.
        rules: the channel's.
        roles: what each user becomes.
        about: what moderators have said about them.
        by: who adds them.
        newest: the channel's newest message.
        before: how many members there are already.
        history_from: messages up to this one are not theirs to see.
        events_from: nor events up to this one.

    Raises:
        Refused: `conflict`, the channel is full.
    """
    after = before + len(roles)
    if after > rules.features.members:
        raise Refused(
            "conflict",
            f"A channel of the type {row.type!r} may have {rules.features.members} members; there would be {after}.",
            details={"reason": "full", "limit": rules.features.members},
        )
    made: dict[str, ChannelInfo] = {}
    for number, (user, role) in enumerate(roles.items(), before + 1):
        said = about.get(user) or Restraints()
        ctx.insert(
            members,
            channel=row.channel,
            user=user,
            role=role,
            joined=ctx.now,
            history_from=history_from,
            events_from=events_from,
            read_seq=newest,
            delivered_seq=newest,
            silenced=said.silenced,
            shadowed=said.shadowed,
        )
        added_by = "" if by == user else by
        ctx.publish(row.channel, MemberJoined(channel=row.channel, user=user, role=role, members=number, by=added_by))
        mine = Membership(role=role, joined=ctx.now, read_seq=newest, history_from=history_from)
        info = info_of(row, newest, mine)
        info.members = after
        ctx.publish(f"user:{user}", added(info))
        made[user] = info
    return made


def go(ctx: Context, found: Access, users: Collection[str], *, by: str = "") -> int:
    """Declare that members are none any more; their right to listen ends in the log. How many there are then."""
    channel = found.channel.channel
    left: int = found.channel.member_count - len(users)
    ctx.update(channels, {"channel": channel}, member_count=left)
    for number, user in enumerate(users, 1):
        ctx.delete(members, {"channel": channel, "user": user})
        ctx.publish(
            channel,
            MemberLeft(channel=channel, user=user, members=found.channel.member_count - number, by=by),
            ends=[user],
        )
        ctx.publish(f"user:{user}", RemovedFromChannel(channel=channel))
    return left


async def heir_of(ctx: Context, channel: str, leaving: Collection[str]) -> sa.Row[Any] | None:
    """Who is to own a channel when these have left: None if one who stays owns it, or nobody stays. One statement."""
    order = sa.case(
        (members.c.role == "owner", 0), (members.c.role == "moderator", 1), (members.c.role == "guest", 3), else_=2
    )
    row = await ctx.db.row(
        sa.select(members)
        .where(members.c.app == ctx.app, members.c.channel == channel, members.c.user.not_in(sorted(leaving)))
        .order_by(order, members.c.joined, members.c.user)
        .limit(1)
    )
    return None if row is None or row.role == "owner" else row


def give_role(ctx: Context, rules: Rules, row: Any, role: str) -> MemberInfo:
    """Declare another role of a member, from the row of `tables.members`; who may not read in it hears nothing more."""
    ctx.update(members, {"channel": row.channel, "user": row.user}, role=role)
    info = member_info(row)
    info.role = role
    may_read = rules.allow(role, "channel.read")
    ctx.publish(
        row.channel,
        MemberUpdated(channel=row.channel, user=row.user, role=role, data=info.data),
        ends=None if may_read else [row.user],
    )
    return info
