"""Access: what the asking user may do in a channel. Every handler that touches a channel asks here first."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from backchannel import Context, Refused

from .extensions import type_of
from .rules import OUTSIDER, Action, Rules, rules_of
from .tables import bans, channels, members

__all__ = ["FOREVER", "Access", "access", "is_operator", "no_channel"]

FOREVER = 2**53 - 1
"""`muted` and `silenced` without an end, Unix milliseconds."""


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

    def allows(self, action: Action) -> bool:
        """Whether the rules let the user do this; whether the channel is frozen, or the user silenced, is not asked."""
        return self.operator or self.rules.allow(self.role, action)

    def require(self, action: Action) -> None:
        """
        Raises:
            Refused: `forbidden`; `details.action` names what is not allowed.
        """
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


async def access(ctx: Context, channel: str, action: Action | None = None) -> Access:
    """How the asking user stands to a channel.

    Args:
        ctx: the request.
        channel: its full name.
        action: what is to be allowed, as by `Access.require`.

    Raises:
        Refused: `not_found` where there is no such channel, or none that the user may know of; `forbidden`.
    """
    member = await ctx.db.get(members, channel=channel, user=ctx.user)
    row = await ctx.db.get(channels, channel=channel)
    if row is None or row.deleted is not None:
        raise no_channel(channel)
    operator = is_operator(ctx)
    if member is None and not row.public and not operator:
        raise no_channel(channel)
    if not operator:
        await _refuse_banned(ctx, row, member)
    role = "owner" if operator else OUTSIDER if member is None else member.role
    rules = rules_of(type_of(row.type), row.type_rules, row.rules)
    found = Access(row, member, rules, role, operator)
    if action is not None:
        found.require(action)
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


def no_channel(channel: str) -> Refused:
    """The refusal for a channel that is not there, or not for this user to know of: nobody can tell which."""
    return Refused("not_found", f"There is no channel {channel}, or it is not yours to see.")
