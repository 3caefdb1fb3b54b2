"""Word lists: put in force, ended, listed; and the check of every message against those that hold in its channel.

A channel's column `filters` says which lists hold there: the digests of the lists of all channels, of its type and of
its own, each 24 characters, or nothing at all. Compiled lists are kept by digest. So a change counts from its commit
on, in every process, and a message where no lists hold, or none has changed, costs no statement for it.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Command, Context, Publisher, Refused

from ..access import Access, access
from ..common import app
from ..extensions import type_of
from ..messages.contract import Message
from ..messages.pipeline import Draft, before_message
from ..tables import channels
from .audit import actor_of, record, require_operator
from .contract import DeleteFilter, Filter, FilterDeleted, FilterList, ListFilters, SetFilter, Tried, TryFilter
from .lists import (
    MAX_ENTRIES,
    MAX_PROGRAM,
    MAX_PROGRAM_OF_CHANNEL,
    Compiled,
    Outcome,
    Source,
    compile_list,
    digest_of,
    judge,
)
from .reports import flag
from .tables import filter_heads, filters

__all__ = ["filters_of_new", "judge_here"]

_WIDTH: Final = 24
_NONE: Final = "-" * _WIDTH
_NOTHING: Final = Source("", "", "", (), "")
_MAX_LISTS: Final = 20
_MAX_TOLD: Final = 100
"""Entries that the audit log keeps of what came and what went."""
_MAX_KEPT: Final = 500

_kept: Final[OrderedDict[str, Sequence[Compiled]]] = OrderedDict()
"""Compiled lists by the digest of what they contain, those used last behind."""


def _keep(digest: str) -> Sequence[Compiled] | None:
    """The lists of this digest; None if they must be read."""
    if digest == _NONE:
        return ()
    if digest in _kept:
        _kept.move_to_end(digest)
    return _kept.get(digest)


def _compiled(sources: Sequence[Source]) -> Sequence[Compiled]:
    digest = digest_of(sources)
    compiled = _keep(digest)
    if compiled is None:
        compiled = _kept[digest] = [compile_list(source) for source in sorted(sources)]
        if len(_kept) > _MAX_KEPT:
            _kept.popitem(last=False)
    return compiled


def _source(row: Any) -> Source:
    return Source(row.name, row.kind, row.action, tuple(msgspec.json.decode(row.entries)), row.message)


def _scopes(row: Any) -> list[str]:
    """Of a channel's lists, the widest first."""
    return ["*", f"type:{row.type}", row.channel]


async def judge_here(ctx: Context, row: Any, text: str) -> Outcome:
    """What the lists that hold in a channel make of a text.

    Args:
        ctx: the request's context.
        row: the channel's, of `chat_channels`.
        text: what is said.
    """
    if not row.filters:
        return Outcome("pass", text, ())
    digests = [row.filters[at : at + _WIDTH] for at in range(0, 3 * _WIDTH, _WIDTH)]
    lists = dict(zip(_scopes(row), map(_keep, digests), strict=True))
    if missing := [scope for scope, compiled in lists.items() if compiled is None]:
        # What is read is at least as new as the row, so it holds, whatever its digest.
        statement = sa.select(filters).where(filters.c.app == ctx.app, filters.c.scope.in_(missing))
        rows = await ctx.db.rows(statement.order_by(filters.c.scope))
        for scope, group in itertools.groupby(rows, lambda row: row.scope):
            lists[scope] = _compiled([_source(row) for row in group])
    return judge([compiled or () for compiled in lists.values()], text)


@before_message("content")
async def hold_against_lists(ctx: Context, found: Access, draft: Draft) -> Draft:
    """Refuse, mask or flag what the lists find, in the text and in every text of the data.

    An operator's messages are not looked at.
    """
    if not found.channel.filters or found.operator:
        return draft
    flagged: list[str] = []

    async def held(text: str) -> str:
        outcome = await judge_here(ctx, found.channel, text)
        if outcome.verdict == "block":
            raise _blocked(outcome, text)
        flagged.extend(one.list.name for one in outcome.found if one.list.action == "flag")
        return outcome.text

    if draft.text:
        draft.text = await held(draft.text)
    if draft.data:
        draft.data = await _each_text(draft.data, held)
    if flagged:
        names = ", ".join(dict.fromkeys(flagged))

        async def report(ctx: Context, found: Access, message: Message) -> None:
            await flag(ctx, message, names)

        draft.after.append(report)
    return draft


async def _each_text(value: Any, held: Any) -> Any:
    if isinstance(value, str):
        return await held(value) if value else value
    if isinstance(value, dict):
        return {key: await _each_text(part, held) for key, part in value.items()}
    if isinstance(value, list):
        return [await _each_text(part, held) for part in value]
    return value


def _blocked(outcome: Outcome, text: str) -> Refused:
    pieces = list(dict.fromkeys(text[slice(*one.span)][:64] for one in outcome.found))[:3]
    one = outcome.found[0].list
    return Refused(
        "forbidden",
        one.message or f"Not allowed here: {', '.join(pieces)}. Say it without.",
        details={"reason": "filtered", "filter": one.name, "found": pieces},
    )


# Changing lists


async def _may_change(ctx: Context, scope: str) -> None:
    if scope.startswith("chat:"):
        await access(ctx, scope, "moderate.filters")
        return
    require_operator(ctx, "What holds in more than one channel")
    if scope.startswith("type:"):
        type_of(scope.removeprefix("type:"))


async def _in_force(ctx: Context, scope: str) -> Sequence[sa.Row[Any]]:
    return await ctx.db.rows(
        sa.select(filters).where(filters.c.app == ctx.app, filters.c.scope == scope).order_by(filters.c.name)
    )


async def _tell_channels(ctx: Context, scope: str, digest: str) -> None:
    """Set this scope's part of the column `filters`, in one statement. The other parts may change at the same time."""
    old = sa.case((channels.c.filters == "", _NONE * 3), else_=channels.c.filters)
    at = 0 if scope == "*" else 1 if scope.startswith("type:") else 2
    parts = [
        sa.literal(digest) if part == at else sa.func.substr(old, part * _WIDTH + 1, _WIDTH, type_=sa.Text)
        for part in range(3)
    ]
    new = parts[0] + parts[1] + parts[2]
    where = [channels.c.app == ctx.app]
    if scope.startswith("type:"):
        where.append(channels.c.type == scope.removeprefix("type:"))
    elif scope != "*":
        where.append(channels.c.channel == scope)
    await ctx.db.execute(sa.update(channels).where(*where).values(filters=sa.case((new == _NONE * 3, ""), else_=new)))


async def _tell_head(ctx: Context, scope: str, digest: str) -> None:
    """Keep what a new channel begins with."""
    head = await ctx.db.row(sa.select(filter_heads).where(filter_heads.c.app == ctx.app))
    digests: dict[str, str] = {} if head is None else msgspec.json.decode(head.digests)
    digests[scope] = digest
    text = msgspec.json.encode(digests).decode()
    if head is None:
        ctx.insert(filter_heads, digests=text)
    else:
        await ctx.db.execute(sa.update(filter_heads).where(filter_heads.c.app == ctx.app).values(digests=text))


async def _lock_head(ctx: Context) -> None:
    """Let nobody make a channel, or change lists of many channels, until this command is done."""
    await ctx.db.row(sa.select(filter_heads).where(filter_heads.c.app == ctx.app).with_for_update())


async def _change(ctx: Context, scope: str, sources: Sequence[Source]) -> None:
    digest = digest_of(sources)
    if not scope.startswith("chat:"):
        await _tell_head(ctx, scope, digest)
    await _tell_channels(ctx, scope, digest)


async def filters_of_new(ctx: Context, type_: str) -> str:
    """The column `filters` of a channel that is made now; call it in the command that makes it."""
    head = await ctx.db.row(sa.select(filter_heads).where(filter_heads.c.app == ctx.app).with_for_update(read=True))
    if head is None:
        return ""
    digests: dict[str, str] = msgspec.json.decode(head.digests)
    column = digests.get("*", _NONE) + digests.get(f"type:{type_}", _NONE) + _NONE
    return "" if column == _NONE * 3 else column


@app.handle(SetFilter)
async def set_filter(ctx: Context, request: SetFilter) -> Filter:
    """Put a list in force; it counts for every message from the commit on."""
    await _may_change(ctx, request.scope)
    entries = tuple(dict.fromkeys(request.entries))
    new = Source(request.name, request.kind, request.action, entries, request.message)
    compile_list(new)
    if not request.scope.startswith("chat:"):
        await _lock_head(ctx)
    rows = await _in_force(ctx, request.scope)
    before = next((row for row in rows if row.name == request.name), None)
    sources = [*[_source(row) for row in rows if row is not before], new]
    _check_size(request.scope, sources)
    values = {
        "kind": request.kind,
        "action": request.action,
        "entries": msgspec.json.encode(entries).decode(),
        "message": request.message,
        "by": actor_of(ctx),
        "time": ctx.now,
    }
    key = {"scope": request.scope, "name": request.name}
    if before is None:
        ctx.insert(filters, **key, **values)
    else:
        ctx.update(filters, key, **values)
    await _change(ctx, request.scope, sources)
    await _record(ctx, "filter.set", request.scope, None if before is None else _source(before), new)
    return Filter(
        request.scope,
        request.name,
        request.kind,
        request.action,
        list(entries),
        request.message,
        actor_of(ctx),
        ctx.now,
    )


def _check_size(scope: str, sources: Sequence[Source]) -> None:
    where = f"The lists of {scope}"
    if len(sources) > _MAX_LISTS:
        raise Refused("too_large", f"{where} are {_MAX_LISTS} at most; put entries into one of them.")
    if sum(len(source.entries) for source in sources) > MAX_ENTRIES:
        raise Refused("too_large", f"{where} have {MAX_ENTRIES} entries at most, all together.")
    most = MAX_PROGRAM_OF_CHANNEL if scope.startswith("chat:") else MAX_PROGRAM
    program = sum(one.program for one in _compiled(sources))
    if program > most:
        raise Refused(
            "too_large",
            f"{where} have regular expressions of {program} instructions; {most} are the most. Repeat less, name fewer "
            f"classes of letters, or write words.",
        )


async def _record(ctx: Context, act: str, scope: str, before: Source | None, after: Source | None) -> None:
    def told(source: Source | None, other: Source | None, word: str) -> dict[str, Any] | None:
        if source is None:
            return None
        others = set(() if other is None else other.entries)
        own = [entry for entry in source.entries if entry not in others]
        return {
            "scope": scope,
            "kind": source.kind,
            "action": source.action,
            "entries": len(source.entries),
            word: own[:_MAX_TOLD],
        }

    name = (after or before or _NOTHING).name
    channel = scope if scope.startswith("chat:") else "*"
    removed, added = told(before, after, "removed"), told(after, before, "added")
    await record(ctx, channel, act, f"filter:{name}", before=removed, after=added)


@app.handle(DeleteFilter)
async def delete_filter(ctx: Context, request: DeleteFilter) -> FilterDeleted:
    """End a list."""
    await _may_change(ctx, request.scope)
    if not request.scope.startswith("chat:"):
        await _lock_head(ctx)
    rows = await _in_force(ctx, request.scope)
    before = next((row for row in rows if row.name == request.name), None)
    if before is None:
        names = ", ".join(row.name for row in rows) or "none"
        raise Refused("not_found", f"There is no list {request.name!r} for {request.scope}; there are: {names}.")
    ctx.delete(filters, {"scope": request.scope, "name": request.name})
    await _change(ctx, request.scope, [_source(row) for row in rows if row is not before])
    await _record(ctx, "filter.delete", request.scope, _source(before), None)
    return FilterDeleted(request.scope, request.name)


@app.handle(ListFilters)
async def list_filters(ctx: Context, request: ListFilters) -> FilterList:
    """All of a scope's lists, with what they contain."""
    await _may_change(ctx, request.scope)
    return FilterList(
        [
            Filter(
                row.scope,
                row.name,
                row.kind,
                row.action,
                msgspec.json.decode(row.entries),
                row.message,
                row.by,
                row.time,
            )
            for row in await _in_force(ctx, request.scope)
        ]
    )


@app.handle(TryFilter)
async def try_filter(ctx: Context, request: TryFilter) -> Tried:
    """What would happen to a text; for who may change the channel's lists."""
    found = await access(ctx, request.channel, "moderate.filters")
    outcome = await judge_here(ctx, found.channel, request.text)
    pieces = dict.fromkeys(request.text[slice(*one.span)] for one in outcome.found)
    names = dict.fromkeys(one.list.name for one in outcome.found)
    return Tried(outcome.verdict, outcome.text, list(pieces)[:10], list(names))


@app.command("filter.prepare", own_transaction=True, internal=True)
class PrepareFilters(Command[bool]):
    """See to it that there is a row to lock; tells whether it was made now."""


@app.handle(PrepareFilters)
async def prepare_filters(ctx: Context, request: PrepareFilters) -> bool:
    """Make it, if it is not there."""
    if await ctx.db.row(sa.select(filter_heads).where(filter_heads.c.app == ctx.app)) is not None:
        return False
    ctx.insert(filter_heads, digests="{}")
    return True


@app.on_start
async def prepare(publisher: Publisher) -> None:
    """Before any channel is made."""
    try:
        await publisher.call(PrepareFilters(), user="")
    except Refused as refused:
        if refused.code != "conflict":  # another process was faster
            raise
