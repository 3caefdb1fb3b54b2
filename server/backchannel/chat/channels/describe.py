"""How channels, memberships and members look to those who ask."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context

from ..access import Access
from ..counts.unread import last_seq, mentions, unread
from ..tables import members, messages
from .contract import AddedToChannel, ChannelInfo, ChannelUpdated, Membership
from .member_contract import MemberInfo

__all__ = [
    "DIRECT",
    "added",
    "describe",
    "hidden_now",
    "info_of",
    "member_info",
    "membership",
    "newest_seq",
    "object_of",
    "updated",
]

DIRECT = "direct"
"""The type of channels that are between the same users for ever; their name is these users."""


def object_of(text: str) -> dict[str, Any]:
    """An object of the app's own, as a column keeps it."""
    return {} if text == "{}" else msgspec.json.decode(text)


async def newest_seq(ctx: Context, channel: str) -> int:
    """The `seq` of the newest message; 0 for none."""
    found = await ctx.db.value(
        sa.select(messages.c.seq)
        .where(messages.c.app == ctx.app, messages.c.channel == channel)
        .order_by(messages.c.seq.desc())
        .limit(1)
    )
    return found or 0


def hidden_now(row: Any, newest: int) -> bool:
    """Whether a member has hidden a channel, and nothing has come since."""
    return bool(row.hidden) and newest <= row.hidden_seq


def membership(row: Any, newest: int, *, unread: int = 0, mentions: int = 0) -> Membership:
    """What a member has, from the row of `tables.members`."""
    return Membership(
        role=row.role,
        joined=row.joined,
        data=object_of(row.data),
        read_seq=row.read_seq,
        history_from=row.history_from,
        unread=unread,
        mentions=mentions,
        hidden=hidden_now(row, newest),
        archived=bool(row.archived),
        pinned=row.pinned,
        muted=row.muted,
    )


def info_of(row: Any, newest: int, mine: Membership | None) -> ChannelInfo:
    """A channel, from the row of `tables.channels`."""
    return ChannelInfo(
        channel=row.channel,
        name=row.name,
        public=bool(row.public),
        creator=row.creator,
        created=row.created,
        joined=mine is not None,
        members=row.member_count,
        last_seq=newest,
        type=row.type,
        topic=row.topic,
        cover=row.cover,
        data=object_of(row.data),
        frozen=bool(row.frozen),
        archived=bool(row.archived),
        users=row.name.split(", ") if row.type == DIRECT else [],
        mine=mine,
    )


async def describe(ctx: Context, found: Access) -> ChannelInfo:
    """A channel as the asking user sees it, with what is unread. One statement."""
    row, member = found.channel, found.member
    if member is None:
        return info_of(row, await newest_seq(ctx, row.channel), None)
    numbers: Any = (last_seq(members), unread(members), mentions(members))
    read = await ctx.db.row(
        sa.select(*numbers).where(
            members.c.app == ctx.app, members.c.channel == row.channel, members.c.user == member.user
        )
    )
    newest, left, named = (0, 0, 0) if read is None else tuple(read)
    return info_of(row, newest, membership(member, newest, unread=left, mentions=named))


def member_info(row: Any) -> MemberInfo:
    """One member, from the row of `tables.members`."""
    return MemberInfo(user=row.user, role=row.role, joined=row.joined, data=object_of(row.data))


def added(info: ChannelInfo) -> AddedToChannel:
    """The event for a new member, from what the member sees."""
    return AddedToChannel(**{name: getattr(info, name) for name in AddedToChannel.__struct_fields__})


def updated(info: ChannelInfo) -> ChannelUpdated:
    """The event for a changed channel."""
    return ChannelUpdated(**{name: getattr(info, name) for name in ChannelUpdated.__struct_fields__})
