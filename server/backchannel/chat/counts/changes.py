"""Changes since a position: what a client missed in any number of channels, as it is now, in one request.

The durable logs say what has changed; the rows say how it is now. So ten edits of a message are one message, and the
answer cannot be older than the position that it comes with. The number of statements does not depend on how many
channels there are, nor on how much has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Context, LogPart, Struct

from ..access import Access, access_many
from ..channels.contract import ChannelInfo
from ..channels.describe import info_of, membership
from ..common import app
from ..messages.contract import Message
from ..messages.rows import messages_of
from ..messages.visible import visible
from ..tables import members, messages
from .contract import (
    ChangesList,
    ChannelChanges,
    ChannelUnread,
    ListChanges,
    LogPosition,
    MemberChange,
    ReceiptsSummed,
)
from .counting import unread_in
from .receipts import tells_each

__all__: list[str] = []

_NEVER: Final = LogPosition("", 0)


class _About(Struct):
    """What the events of chat have in common: the message, messages or user that they are about."""

    seq: int | None = None
    seqs: list[int] = []
    user: str | None = None


class _Changed:
    """What the events of one channel's log name."""

    def __init__(self, part: LogPart) -> None:
        self.seqs: set[int] = set()
        self.users: set[str] = set()
        self.channel = False
        self.sums: ReceiptsSummed | None = None
        for event in part.events:
            about = msgspec.json.decode(event.data, type=_About)
            noun = event.name.partition(".")[0]
            if event.name == ReceiptsSummed.wire_name:
                self.sums = event.decode(ReceiptsSummed)
            elif noun in ("member", "receipt"):
                self.channel = self.channel or noun == "member"
                if about.user is not None:
                    self.users.add(about.user)
            elif noun == "channel":
                self.channel = True
            elif about.seq is not None:
                self.seqs.add(about.seq)
            else:
                self.seqs.update(about.seqs)


@app.handle(ListChanges)
async def list_changes(ctx: Context, request: ListChanges) -> ChangesList:
    """Logs, rights, messages with what hangs on them, members, counts: each in one statement, or a few."""
    asked = {channel: position or _NEVER for channel, position in request.positions.items()}
    found = await access_many(ctx, list(asked))
    logs = await ctx.events({channel: asked[channel].offset for channel in found}, max(1, request.limit // len(asked)))
    answers = {channel: _answer(channel, asked[channel], found.get(channel), logs) for channel in asked}
    changed = {
        channel: _Changed(logs[channel])
        for channel, answer in answers.items()
        if answer.verdict in ("complete", "more")
    }
    await _fill_messages(ctx, answers, {channel: found[channel] for channel in changed}, changed)
    await _fill_members(ctx, answers, found, changed)
    counts = {one.channel: one for one in await unread_in(ctx, list(found))}
    for channel, access in found.items():
        answer = answers[channel]
        answer.unread = counts.get(channel)
        if channel not in changed or changed[channel].channel:
            answer.info = _info(access, answer.unread)
        if channel in changed and not tells_each(access):
            answer.sums = changed[channel].sums
    return ChangesList(list(answers.values()))


def _answer(channel: str, since: LogPosition, found: Access | None, logs: Mapping[str, LogPart]) -> ChannelChanges:
    if found is None:
        return ChannelChanges(channel, "none")
    part = logs[channel]
    # What was said before somebody joined may be hidden from them, in the log as well.
    begin = 0 if found.member is None else found.member.events_from
    if part.gap or since.epoch != part.epoch or since.offset < begin:
        return ChannelChanges(channel, "gap", LogPosition(part.epoch, part.newest))
    offset = part.events[-1].offset if part.events else part.newest
    complete = offset == part.newest
    return ChannelChanges(channel, "complete" if complete else "more", LogPosition(part.epoch, offset))


def _info(found: Access, counts: ChannelUnread | None) -> ChannelInfo:
    if found.member is None or counts is None:
        return info_of(found.channel, 0, None)
    mine = membership(found.member, counts.last_seq, unread=counts.unread, mentions=counts.mentions)
    return info_of(found.channel, counts.last_seq, mine)


async def _fill_messages(
    ctx: Context, answers: Mapping[str, ChannelChanges], found: Mapping[str, Access], changed: Mapping[str, _Changed]
) -> None:
    if not any(one.seqs for one in changed.values()):
        return
    sees_all = any(one.operator for one in found.values())
    wanted = _each(
        {channel: messages.c.seq.in_(sorted(one.seqs)) for channel, one in changed.items() if one.seqs}, messages
    )
    rows = await ctx.db.rows(
        sa.select(messages)
        .where(messages.c.app == ctx.app, wanted, sa.true() if sees_all else visible(ctx.user))
        .order_by(messages.c.channel, messages.c.seq)
    )
    seen = [row for row in rows if row.seq > _begin(found[row.channel])]
    told: list[Message] = await messages_of(ctx, seen, user=ctx.user)
    for message in told:
        answers[message.channel].messages.append(message)


def _begin(found: Access) -> int:
    return 0 if found.member is None else int(found.member.history_from)


async def _fill_members(
    ctx: Context, answers: Mapping[str, ChannelChanges], found: Mapping[str, Access], changed: Mapping[str, _Changed]
) -> None:
    users = {
        channel: sorted(one.users)
        for channel, one in changed.items()
        if one.users and found[channel].allows("member.list")
    }
    if not users:
        return
    wanted = _each({channel: members.c.user.in_(some) for channel, some in users.items()}, members)
    rows = await ctx.db.rows(sa.select(members).where(members.c.app == ctx.app, wanted))
    there = {(row.channel, row.user): row for row in rows}
    for channel, some in users.items():
        answers[channel].members = [
            _member(user, there.get((channel, user)), tells_each(found[channel])) for user in some
        ]


def _each(wanted: Mapping[str, sa.ColumnElement[bool]], table: sa.Table) -> sa.ColumnElement[bool]:
    """Rows of several channels. As pairs they would be found by no index in SQLite."""
    return sa.or_(*(sa.and_(table.c.channel == channel, which) for channel, which in wanted.items()))


def _member(user: str, row: Any, tells: bool) -> MemberChange:
    if row is None:
        return MemberChange(user)
    told = MemberChange(user, role=row.role, joined=row.joined)
    if tells:
        told.read, told.delivered = row.read_seq, row.delivered_seq
    return told
