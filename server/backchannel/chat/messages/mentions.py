"""Mentions: whom a message names, for whom it counts, and who is told at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access
from ..common import app
from ..paging import paged
from ..people.tables import blocks
from ..tables import channels, members, messages
from .contract import Mentions, Message
from .mark_contract import ListMentions, MentionCreated, MentionList
from .rows import excerpt, messages_of
from .tables import mentions
from .visible import readable, visible, visible_in

__all__ = ["Mentioned", "check_mentions", "is_blocked", "mentioned"]

_MOST_PRESENT: Final = 100
"""Beyond, `here` names everybody."""


class Mentioned(NamedTuple):
    """For whom a message counts as one that names them."""

    told: list[str]
    """Users that it names itself, who may read the channel and have not blocked its sender."""
    here: list[str]
    """Who is present, if `here` was asked and they are not too many."""
    others: list[str]
    """`*`, `role:<role>`."""

    def store(self, ctx: Context, message: Message, *, known: Collection[str] = ()) -> None:
        """Declare the rows, and tell those who are named and were not before (`known`)."""
        for user in dict.fromkeys([*self.told, *self.here, *self.others]):
            ctx.insert(mentions, user=user, channel=message.channel, seq=message.seq)
        for user in self.told:
            if user not in known:
                ctx.publish(
                    f"user:{user}",
                    MentionCreated(
                        channel=message.channel,
                        seq=message.seq,
                        user=message.user,
                        text=excerpt(message.text),
                        time=message.time,
                        parent=message.parent,
                    ),
                )


def check_mentions(found: Access, asked: Mentions) -> None:
    """
    Raises:
        Refused: `invalid`, where the type of channel has no mentions; `forbidden`, for who may not name all of a role,
            or all.
    """
    if not found.rules.features.mentions:
        raise Refused("invalid", "Messages of this channel mention nobody.", details={"reason": "feature"})
    if asked.here or asked.channel:
        found.require("mention.everyone")
    if asked.roles:
        found.require("mention.role")


async def mentioned(ctx: Context, found: Access, asked: Mentions) -> Mentioned:
    """For whom mentions count: of the users that are named those who can read the channel. One statement."""
    here: list[str] = []
    others = ["*"] if asked.channel else []
    others += [f"role:{role}" for role in dict.fromkeys(asked.roles)]
    if asked.here and not asked.channel:
        here = sorted({member.user for member in await ctx.presence(found.channel.channel)} - {ctx.user})
        if len(here) > _MOST_PRESENT:
            here, others = [], ["*", *others]
    told = await _readers(ctx, found, [user for user in dict.fromkeys(asked.users) if user != ctx.user])
    return Mentioned(told, here, others)


async def is_blocked(ctx: Context, user: str) -> bool:
    """Whether a user has blocked who asks."""
    return await ctx.db.get(blocks, user=user, blocked=ctx.user) is not None


async def _readers(ctx: Context, found: Access, users: list[str]) -> list[str]:
    """Those of the users who can read the channel, and have not blocked who asks."""
    if not users:
        return []
    blocked = await ctx.db.rows(
        sa.select(blocks.c.user).where(blocks.c.app == ctx.app, blocks.c.user.in_(users), blocks.c.blocked == ctx.user)
    )
    left = [user for user in users if user not in {row.user for row in blocked}]
    if not found.rules.type.membership:
        return left
    rows = await ctx.db.rows(
        sa.select(members.c.user).where(
            members.c.app == ctx.app,
            members.c.channel == found.channel.channel,
            members.c.user.in_(left),
            members.c.banned <= ctx.now,
        )
    )
    readers = {row.user for row in rows}
    return [user for user in left if user in readers]


@app.handle(ListMentions)
async def list_mentions(ctx: Context, request: ListMentions) -> MentionList:
    """The messages that name one, as far as one may see them and they say anything."""
    if request.channel is None:
        seen = visible(ctx.user)
        # Each of the member's channels says whom to look for there, so that no database looks through all mentions.
        everybody = sa.case((members.c.role != "", "*"))
        names = [members.c.user, everybody, sa.literal("role:", sa.Text) + members.c.role]
        naming = [_of_member(ctx, name) for name in names]
    else:
        found = await access(ctx, request.channel, "channel.read")
        await ctx.position(request.channel)
        seen = visible_in(ctx, found)
        naming = [
            sa.select(mentions.c.channel, mentions.c.seq).where(
                mentions.c.app == ctx.app, mentions.c.user == name, mentions.c.channel == request.channel
            )
            for name in (ctx.user, "*", f"role:{found.role}")
        ]
    named = sa.union(*naming).subquery()
    statement = (
        sa.select(messages)
        .join(named, sa.and_(messages.c.channel == named.c.channel, messages.c.seq == named.c.seq))
        .where(messages.c.app == ctx.app, messages.c.user != ctx.user, seen, readable(ctx.now))
    )
    # Across channels there is no number; ids sort by time.
    order = [messages.c.id if request.channel is None else messages.c.seq]
    page = await paged(ctx, statement, order, request, newest_first=True)
    return MentionList(await messages_of(ctx, page.rows, user=ctx.user), page.next, page.previous, page.total)


def _of_member(ctx: Context, name: sa.ColumnElement[str]) -> sa.Select[Any]:
    """The messages that name this, in channels that the asking user is a member of."""
    return (
        sa.select(mentions.c.channel, mentions.c.seq)
        .select_from(members)
        .join(
            mentions,
            sa.and_(mentions.c.app == members.c.app, mentions.c.user == name, mentions.c.channel == members.c.channel),
        )
        .join(channels, sa.and_(channels.c.app == members.c.app, channels.c.channel == members.c.channel))
        .where(
            members.c.app == ctx.app,
            members.c.user == ctx.user,
            members.c.banned <= ctx.now,
            mentions.c.seq > members.c.history_from,
            channels.c.deleted.is_(None),
        )
    )
