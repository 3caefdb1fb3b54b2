"""Access: what the asking user may do in a channel. Every handler that touches a channel asks here first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from backchannel import Context, Refused

from .extensions import type_of
from .moderation.tables import restraints
from .rules import OUTSIDER, Action, Rules, rules_of
from .tables import bans, channels, members

__all__ = ["FOREVER", "SPEAKING", "Access", "access", "access_many", "is_operator", "no_channel"]

FOREVER = 2**53 - 1
"""`muted` and `silenced` without an end, Unix milliseconds."""

SPEAKING: Final[frozenset[Action]] = frozenset(
    {
        "message.send",
        "message.edit",
        "message.forward",
        "message.pin",
        "thread.reply",
        "reaction.add",
        "file.attach",
        "poll.create",
        "poll.vote",
        "typing.tell",
    }
)
"""What others would hear of a silenced user."""


class Access(NamedTuple):
    """A channel, and how the asking user stands to it."""

    channel: sa.Row[Any]
    """The row of `tables.channels`."""
    member: sa.Row[Any] | None
    """The row of `tables.members`; None for who is no member."""
    rules: Rules
    role: str
    """`owner` for an operator, too."""
    operator: bool
    silenced: int = 0
    """Until when the user has no voice here; 0: they have."""
    shadowed: bool = False
    """Whether nobody but the user is to see what they send."""

    def allows(self, action: Action) -> bool:
        """Whether the rules let the user do this; whether the channel is frozen, or the user silenced, is not asked."""
        return self.operator or self.rules.allow(self.role, action)

    def require(self, action: Action) -> None:
        """
        Raises:
            Refused: `forbidden`; `details.action` names what is not allowed. Also for who is silenced, where others
                would hear of it (`SPEAKING`).
        """
        if self.silenced and action in SPEAKING:
            raise Refused(
                "forbidden",
                f"You are silenced in {self.channel.channel}.",
                details={
                    "action": action,
                    "reason": "silenced",
                    "until": None if self.silenced == FOREVER else self.silenced,
                },
            )
        if not self.allows(action):
            channel = self.channel.channel
            if self.member is None and self.rules.type.membership:
                raise Refused(
                    "forbidden",
                    f"You are not a member of {channel}; join it first.",
                    details={"action": action, "reason": "not_member"},
                )
            raise Refused(
                "forbidden",
                f"A {self.role} may not do this in {channel} ({action}).",
                details={"action": action, "reason": "role"},
            )


def is_operator(ctx: Context) -> bool:
    """Whether the server-side API asks: an API key that acts for itself. It may everything, everywhere."""
    return ctx.api_key is not None and not ctx.user


async def access(ctx: Context, channel: str, action: Action | None = None, *, known: bool = False) -> Access:
    """How the asking user stands to a channel.

    Args:
        ctx: the request.
        channel: its full name.
        action: what is to be allowed, as by `Access.require`. For who is no member `silenced` and `shadowed` are looked
            up only if it is one of `SPEAKING`.
        known: whether the user may know of the channel although it is private, as who is invited does.

    Raises:
        Refused: `not_found` where there is no such channel, or none that the user may know of; `forbidden`.
    """
    member = await ctx.db.get(members, channel=channel, user=ctx.user)
    row = await ctx.db.get(channels, channel=channel)
    if row is None or row.deleted is not None:
        raise no_channel(channel)
    operator = is_operator(ctx)
    if member is None and not row.public and not operator and not known:
        raise no_channel(channel)
    if not operator:
        await _refuse_banned(ctx, row, member)
    role = "owner" if operator else OUTSIDER if member is None else member.role
    rules = rules_of(type_of(row.type), row.type_rules, row.rules)
    silenced, shadowed = 0, False
    if member is not None:
        silenced, shadowed = member.silenced if member.silenced > ctx.now else 0, bool(member.shadowed)
    elif action in SPEAKING and not operator:
        silenced, shadowed = await _restraints(ctx, channel)
    found = Access(row, member, rules, role, operator, silenced, shadowed)
    if action is not None:
        found.require(action)
    return found


async def access_many(ctx: Context, names: Collection[str], action: Action = "channel.read") -> dict[str, Access]:
    """As `access`, for many channels in three statements: those where the asking user may do this, by name.

    Of who is no member, `silenced` and `shadowed` are not looked up.
    """
    operator = is_operator(ctx)
    mine, banned = {}, {}
    if not operator:
        own = await ctx.db.rows(
            sa.select(members).where(members.c.app == ctx.app, members.c.user == ctx.user, members.c.channel.in_(names))
        )
        mine = {row.channel: row for row in own}
        said = await ctx.db.rows(
            sa.select(bans.c.channel, bans.c.until).where(
                bans.c.app == ctx.app, bans.c.user == ctx.user, bans.c.channel.in_([*names, "*"])
            )
        )
        banned = {row.channel: row.until for row in said}
    there = (channels.c.app == ctx.app, channels.c.channel.in_(names), channels.c.deleted.is_(None))
    rows = await ctx.db.rows(sa.select(channels).where(*there))
    found = {}
    for row in rows:
        member = mine.get(row.channel)
        until = max(banned.get(row.channel, 0), banned.get("*", 0)) if member is None else member.banned
        if until > ctx.now or (member is None and not row.public and not operator):
            continue
        rules = rules_of(type_of(row.type), row.type_rules, row.rules)
        role = "owner" if operator else OUTSIDER if member is None else member.role
        one = Access(row, member, rules, role, operator)
        if member is not None:
            silenced = member.silenced if member.silenced > ctx.now else 0
            one = one._replace(silenced=silenced, shadowed=bool(member.shadowed))
        if one.allows(action):
            found[row.channel] = one
    return found


async def _refuse_banned(ctx: Context, row: Any, member: Any) -> None:
    until = 0
    if member is not None:
        until = member.banned
    else:
        for where in (row.channel, "*"):
            ban = await ctx.db.get(bans, channel=where, user=ctx.user)
            until = max(until, 0 if ban is None else ban.until)
    if until > ctx.now:
        raise Refused(
            "forbidden",
            f"You are banned from {row.channel}.",
            details={"reason": "banned", "until": None if until == FOREVER else until},
        )


async def _restraints(ctx: Context, channel: str) -> tuple[int, bool]:
    """Until when who is no member is silenced (0: not), and whether they are shadowed."""
    rows = await ctx.db.rows(
        sa.select(restraints.c.kind, restraints.c.until).where(
            restraints.c.app == ctx.app,
            restraints.c.channel.in_([channel, "*"]),
            restraints.c.user == ctx.user,
            restraints.c.until > ctx.now,
        )
    )
    silenced = max((row.until for row in rows if row.kind == "silence"), default=0)
    return silenced, any(row.kind == "shadow" for row in rows)


def no_channel(channel: str) -> Refused:
    """The refusal for a channel that is not there, or not for this user to know of: nobody can tell which."""
    return Refused("not_found", f"There is no channel {channel}, or it is not yours to see.")
