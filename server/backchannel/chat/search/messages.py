"""Find messages: only those that the asking user may see, whatever the index knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access, is_operator
from ..common import app
from ..cursors import cursor, read_cursor
from ..extensions import type_of
from ..messages.rows import messages_of
from ..messages.visible import readable, visible
from ..rules import rules_of
from ..tables import channels, members, messages
from .contract import MessageHit, MessageHits, SearchMessages
from .excerpt import excerpt_of
from .matching import NEWEST, Looked, Place, first_id, looked, message_matches
from .wording import Wording, read_wording

__all__: list[str] = []

_LOOKED_AT: Final = 2_000
"""Matches that one request looks at: what bounds its time, however common the words and however many the messages."""

_FEW: Final = 4
"""Matches that are looked at first, times as many as are wanted."""

_COUNTED: Final = 10_000
"""Matches that are counted for a total."""

_NAMED: Final = 64
"""Up to so many memberships, the index itself finds in those channels alone."""

_START: Final = Place(NEWEST, "", 0)


class _Scope(NamedTuple):
    """Where is searched."""

    channels: tuple[str, ...] | None
    """In these alone; None: in all that the user is a member of, or, for an operator, in all there are."""
    joined: bool
    """Whether the user must be a member still when the messages are read."""
    shut: tuple[sa.ColumnElement[bool], ...] = ()
    """Which channels, of those, the user may not read."""


@app.handle(SearchMessages)
async def search_messages(ctx: Context, request: SearchMessages) -> MessageHits:
    """Find messages."""
    wording = _wording(ctx, request)
    if not (wording.wanted or wording.channels or wording.users or wording.has):
        raise Refused(
            "invalid",
            "Say what to find: a word, or `in:`, `from:`, `has:`. What must not be there is not enough.",
            details={"reason": "search"},
        )
    scope = await _scope(ctx, wording.channels)
    what = looked(wording.terms, channels=scope.channels or (), users=wording.users, has=wording.has)
    if what is None or scope.channels == ():
        return MessageHits([], total=0 if request.total else None)
    search = _Search(ctx, what, wording, scope)
    page = await (search.best(request) if request.sort == "best" else search.newest(request))
    if request.total:
        page.total = await search.total()
    return page


def _wording(ctx: Context, request: SearchMessages) -> Wording:
    """What is looked for, by the text and by the fields."""
    said = read_wording(request.q, me=ctx.user, unfinished=request.unfinished)
    before = [moment for moment in (said.before, request.before) if moment is not None]
    after = [moment for moment in (said.after, request.after) if moment is not None]
    found = said._replace(
        channels=tuple(dict.fromkeys((*said.channels, *request.channels))),
        users=tuple(dict.fromkeys((*said.users, *request.users))),
        has=tuple(dict.fromkeys((*said.has, *request.has))),
        before=min(before, default=None),
        after=max(after, default=None),
    )
    if len(found.channels) > 5 or len(found.users) > 10:
        raise Refused(
            "invalid", "A search takes 5 channels and 10 users at most; leave some out.", details={"reason": "search"}
        )
    return found


async def _scope(ctx: Context, named: Sequence[str]) -> _Scope:
    """Where this user may search.

    Raises:
        Refused: as `access`, for a channel that is named; `forbidden`, nothing is searched there.
    """
    if named:
        for channel in named:
            found = await access(ctx, channel, "channel.read")
            if not found.rules.features.search:
                raise Refused("forbidden", f"Messages of {channel} are not searched.", details={"reason": "feature"})
        return _Scope(tuple(named), joined=False)
    if is_operator(ctx):
        return _Scope(None, joined=False)
    mine = (
        members.c.app == ctx.app,
        members.c.user == ctx.user,
        members.c.banned <= ctx.now,
        channels.c.app == members.c.app,
        channels.c.channel == members.c.channel,
        channels.c.deleted.is_(None),
    )
    ruled = (channels.c.type, channels.c.type_rules, channels.c.rules, members.c.role)
    rows = await ctx.db.rows(sa.select(channels.c.channel, *ruled).where(*mine).limit(_NAMED + 1))
    if len(rows) <= _NAMED:
        return _Scope(tuple(row.channel for row in rows if _open(row)), joined=True)
    kinds = await ctx.db.rows(sa.select(*ruled).where(*mine).distinct())
    shut = [
        sa.and_(*(column == value for column, value in zip(ruled, row, strict=True))) for row in kinds if not _open(row)
    ]
    return _Scope(None, joined=True, shut=tuple(shut))


def _open(row: Any) -> bool:
    rules = rules_of(type_of(row.type), row.type_rules, row.rules)
    return rules.features.search and rules.allow(row.role, "channel.read")


class _Search:
    """One search, with the statements that it may take."""

    def __init__(self, ctx: Context, what: Looked, wording: Wording, scope: _Scope) -> None:
        self._ctx = ctx
        self._what = what
        self._wording = wording
        self._scope = scope
        self._since = 0 if wording.after is None else first_id(wording.after)
        self._start = _START if wording.before is None else Place(first_id(wording.before), "", 0)

    async def newest(self, request: SearchMessages) -> MessageHits:
        """A page of the newest."""
        start = self._start
        if request.cursor is not None:
            start = min(start, Place(*read_cursor(request.cursor, tuple[int, str, int])))
        rows: Sequence[Any] = []
        last: Place | None = None
        # Mostly the first few are seen by the user, and enough.
        for most in sorted({min(_FEW * request.limit, _LOOKED_AT), _LOOKED_AT}):
            matched = self._matched(start, most)
            statement = self._visible(matched, messages, matched.c.id.label("place"))
            order = (matched.c.id.desc(), matched.c.channel.desc(), matched.c.seq.desc())
            rows = await self._ctx.db.rows(statement.order_by(*order).limit(request.limit + 1))
            if len(rows) > request.limit:
                rows = rows[: request.limit]
                last = Place(rows[-1].place, rows[-1].channel, rows[-1].seq)
                break
            # Where looking ended, if not at the end: the page may be short, and yet there are further ones.
            ends = await self._ctx.db.rows(sa.select(matched).order_by(*order).offset(most - 1).limit(1))
            if not ends:
                last = None
                break
            last = Place(ends[0].id, ends[0].channel, ends[0].seq)
        return MessageHits(await self._hits(rows), next=None if last is None else cursor(*last))

    async def best(self, request: SearchMessages) -> MessageHits:
        """A page of those that fit best, of the newest ones as of the first page."""
        start, skipped = self._start, 0
        if request.cursor is not None:
            number, channel, seq, skipped = read_cursor(request.cursor, tuple[int, str, int, int])
            start = min(start, Place(number, channel, seq))
        matched = self._matched(start, _LOOKED_AT, scored=True)
        statement = self._visible(matched, messages, matched.c.id.label("place"))
        order = (matched.c.score.desc(), matched.c.id.desc(), matched.c.channel.desc(), matched.c.seq.desc())
        rows = await self._ctx.db.rows(statement.order_by(*order).offset(skipped).limit(request.limit + 1))
        page = rows[: request.limit]
        following = None
        if len(rows) > request.limit:
            if request.cursor is None:
                newest = (await self._ctx.db.rows(sa.select(matched.c.id).order_by(matched.c.id.desc()).limit(1)))[0]
                start = Place(newest.id + 1, "", 0)
            following = cursor(*start, skipped + request.limit)
        return MessageHits(await self._hits(page), next=following)

    async def total(self) -> int:
        """How many there are, up to `_COUNTED`."""
        matched = self._matched(self._start, _COUNTED)
        return int(await self._ctx.db.value(self._visible(matched, sa.func.count())))

    def _matched(self, before: Place, most: int, *, scored: bool = False) -> sa.CTE:
        return message_matches(
            self._ctx.app,
            self._what,
            before=before,
            since=self._since,
            most=most,
            channels=self._scope.channels or (),
            scored=scored,
        ).cte("matched")

    def _visible(self, matched: sa.CTE, *what: Any) -> sa.Select[Any]:
        """Of what matched, what the user may see, as a statement over `matched`."""
        ctx, scope = self._ctx, self._scope
        source = matched.join(
            messages,
            sa.and_(
                messages.c.app == ctx.app, messages.c.channel == matched.c.channel, messages.c.seq == matched.c.seq
            ),
        )
        conditions = [readable(ctx.now)]
        if not is_operator(ctx):
            mine = sa.and_(members.c.app == ctx.app, members.c.channel == matched.c.channel, members.c.user == ctx.user)
            source = source.join(members, mine, isouter=not scope.joined)
            conditions.append(visible(ctx.user, history_from=sa.func.coalesce(members.c.history_from, 0)))
            if scope.channels is None:
                here = sa.and_(channels.c.app == ctx.app, channels.c.channel == matched.c.channel)
                source = source.join(channels, here)
                conditions += [members.c.banned <= ctx.now, channels.c.deleted.is_(None)]
                conditions += [sa.not_(shut) for shut in scope.shut]
        return sa.select(*what).select_from(source).where(*conditions)

    async def _hits(self, rows: Sequence[Any]) -> list[MessageHit]:
        hits = []
        for row, message in zip(rows, await messages_of(self._ctx, rows, user=self._ctx.user), strict=True):
            excerpt = excerpt_of(row.text, self._wording.wanted)
            hits.append(MessageHit(message, excerpt.pieces, cut=excerpt.cut))
        return hits
