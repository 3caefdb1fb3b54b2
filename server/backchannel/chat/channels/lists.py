"""Lists: one's own channels, public ones, one channel, its members."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backchannel import Context

from ..access import access, is_operator
from ..common import app
from ..counts.unread import last_seq, mentions, unread
from ..messages.visible import gone, visible
from ..paging import paged
from ..rules import ACTIONS
from ..tables import channels, members, messages
from .contract import ChannelDetails, ChannelInfo, ChannelList, FindChannels, GetChannel, LastMessage, ListChannels
from .counters import counters_of
from .describe import describe, info_of, member_info, membership
from .member_contract import ListMembers, MemberList

__all__: list[str] = []


@app.handle(ListChannels)
async def list_channels(ctx: Context, request: ListChannels) -> ChannelList:
    """One statement for a page: what sorts and filters is worked out for all of one's channels, the rest for the page.
    One more where the total is asked for."""
    newest = _newest(ctx, messages.c.seq)
    time = sa.func.coalesce(_newest(ctx, messages.c.time), 0)
    shown_again = sa.func.coalesce(newest, 0) > members.c.hidden_seq
    is_hidden = sa.and_(members.c.hidden, sa.not_(shown_again))
    where = [
        members.c.app == ctx.app,
        members.c.user == ctx.user,
        members.c.banned <= ctx.now,
        channels.c.deleted.is_(None),
    ]
    for asked, condition in (
        (request.hidden, is_hidden),
        (request.archived, members.c.archived),
        (request.pinned, members.c.pinned > 0),
        (request.muted, members.c.muted > ctx.now),
    ):
        if asked is not None:
            where.append(condition if asked else sa.not_(condition))
    if request.types:
        where.append(channels.c.type.in_(request.types))
    if request.roles:
        where.append(members.c.role.in_(request.roles))
    if request.name:
        where.append(sa.func.lower(channels.c.name).contains(request.name.lower(), autoescape=True))
    if request.unread:
        where.append(unread(members) > 0)
    listed = (
        sa.select(
            members.c.channel,
            members.c.pinned,
            channels.c.name,
            sa.case((time > members.c.joined, time), else_=members.c.joined).label("activity"),
            newest.label("newest"),
        )
        .join(channels, sa.and_(channels.c.app == members.c.app, channels.c.channel == members.c.channel))
        .where(*where)
        .subquery("listed")
    )
    order = [listed.c.name, listed.c.channel]
    if request.sort == "activity":
        order = [listed.c.pinned, listed.c.activity, listed.c.channel]
    page = await paged(
        ctx,
        sa.select(listed),
        order,
        request,
        newest_first=request.sort == "activity",
        around=lambda page: _own(ctx, page),
    )
    return ChannelList([_own_info(ctx, row) for row in page.rows], page.next, page.previous, page.total)


def _newest(ctx: Context, column: sa.Column[int]) -> sa.ScalarSelect[int]:
    """A column of the newest message of a membership's channel that the member may see."""
    last = messages.alias("last_shown")
    return (
        sa.select(last.c[column.key])
        .where(
            last.c.app == members.c.app,
            last.c.channel == members.c.channel,
            visible(ctx.user, history_from=members.c.history_from, table=last),
        )
        .order_by(last.c.seq.desc())
        .limit(1)
        .correlate(members)
        .scalar_subquery()
    )


_OF_MEMBER = [
    "user",
    "role",
    "joined",
    "data",
    "read_seq",
    "history_from",
    "hidden",
    "hidden_seq",
    "archived",
    "pinned",
    "muted",
]
_OF_TOP = ["seq", "id", "user", "type", "text", "time", "deleted", "expires"]
_MEMBER = tuple(members.c[name].label(f"m_{name}") for name in _OF_MEMBER)


class _Part:
    """The columns of one table in a row that has those of others, too."""

    def __init__(self, row: sa.Row[Any], prefix: str) -> None:
        self._row = row
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, self._prefix + name)


def _own(ctx: Context, page: sa.Subquery) -> sa.Select[Any]:
    """Each channel of a page with its row, the membership, what is unread and the newest message."""
    top = messages.alias("top")
    return (
        sa.select(
            channels,
            page.c.pinned,
            page.c.activity,
            *_MEMBER,
            last_seq(members).label("last_seq"),
            unread(members).label("unread"),
            mentions(members).label("mentions"),
            *(top.c[name].label(f"top_{name}") for name in _OF_TOP),
        )
        .select_from(page)
        .join(
            members, sa.and_(members.c.app == ctx.app, members.c.channel == page.c.channel, members.c.user == ctx.user)
        )
        .join(channels, sa.and_(channels.c.app == ctx.app, channels.c.channel == page.c.channel))
        .outerjoin(top, sa.and_(top.c.app == ctx.app, top.c.channel == page.c.channel, top.c.seq == page.c.newest))
    )


def _own_info(ctx: Context, row: sa.Row[Any]) -> ChannelInfo:
    mine: Any = _Part(row, "m_")
    info = info_of(row, row.last_seq, membership(mine, row.top_seq or 0, unread=row.unread, mentions=row.mentions))
    if row.top_seq is not None:
        top: Any = _Part(row, "top_")
        over = gone(top, ctx.now)
        info.last = LastMessage(
            seq=top.seq,
            id=top.id,
            user=top.user,
            type=top.type,
            text="" if over else top.text,
            time=top.time,
            deleted=over,
        )
    return info


@app.handle(FindChannels)
async def find_channels(ctx: Context, request: FindChannels) -> ChannelList:
    """Public channels that are not closed; for an API key that acts for itself all there are. One statement."""
    mine = sa.and_(members.c.app == channels.c.app, members.c.channel == channels.c.channel, members.c.user == ctx.user)
    where = [channels.c.app == ctx.app, channels.c.deleted.is_(None)]
    if not is_operator(ctx):
        where += [channels.c.public, sa.not_(channels.c.archived)]
    if request.types:
        where.append(channels.c.type.in_(request.types))
    if request.name:
        where.append(sa.func.lower(channels.c.name).startswith(request.name.lower(), autoescape=True))
    if request.joined is not None:
        is_member = sa.exists().where(mine).correlate(channels)
        where.append(is_member if request.joined else sa.not_(is_member))

    def around(page: sa.Subquery) -> sa.Select[Any]:
        newest = (
            sa.select(messages.c.seq)
            .where(messages.c.app == channels.c.app, messages.c.channel == channels.c.channel)
            .order_by(messages.c.seq.desc())
            .limit(1)
            .correlate(channels)
            .scalar_subquery()
        )
        return (
            sa.select(channels, *_MEMBER, sa.func.coalesce(newest, 0).label("last_seq"))
            .select_from(page)
            .join(channels, sa.and_(channels.c.app == ctx.app, channels.c.channel == page.c.channel))
            .outerjoin(members, mine)
        )

    page = await paged(
        ctx,
        sa.select(channels.c.name, channels.c.channel).where(*where),
        (channels.c.name, channels.c.channel),
        request,
        around=around,
    )
    found: list[ChannelInfo] = []
    for row in page.rows:
        member: Any = None if row.m_user is None else _Part(row, "m_")
        found.append(info_of(row, row.last_seq, None if member is None else membership(member, row.last_seq)))
    return ChannelList(found, page.next, page.previous, page.total)


@app.handle(GetChannel)
async def get_channel(ctx: Context, request: GetChannel) -> ChannelDetails:
    """One channel, for whoever may know of it; its position is told, so that its events can be joined to it."""
    found = await access(ctx, request.channel)
    await ctx.position(request.channel)
    actions = ACTIONS if found.role == "owner" else found.rules.permissions.get(found.role, frozenset())
    return ChannelDetails(
        info=await describe(ctx, found),
        features=found.rules.features,
        actions=sorted(actions),
        counters=await counters_of(ctx, request.channel),
    )


@app.handle(ListMembers)
async def list_members(ctx: Context, request: ListMembers) -> MemberList:
    """Who is a member; the channel's position is told, so that its events can be joined to the list."""
    await access(ctx, request.channel, "member.list")
    await ctx.position(request.channel)
    statement = sa.select(members).where(members.c.app == ctx.app, members.c.channel == request.channel)
    if request.roles:
        statement = statement.where(members.c.role.in_(request.roles))
    if request.prefix:
        statement = statement.where(sa.func.substr(members.c.user, 1, len(request.prefix)) == request.prefix)
    page = await paged(ctx, statement, (members.c.user,), request)
    return MemberList([member_info(row) for row in page.rows], page.next, page.previous, page.total)
