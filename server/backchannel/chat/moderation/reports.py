"""Reports: what users, and word lists, bring to the reviewers of a channel, and what these make of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access
from ..common import app
from ..messages.contract import Message
from ..messages.visible import visible_in
from ..paging import paged
from ..tables import messages
from .audit import actor_of, record, require_operator, review_channel
from .contract import (
    Ban,
    Case,
    CaseDetail,
    CaseList,
    ClaimReport,
    GetReport,
    ListReports,
    MakeReport,
    Report,
    ReportChanged,
    Reported,
    ResolveReport,
    Shadow,
    Silence,
)
from .tables import cases, reports

__all__ = ["flag"]

_CLAIM_HOLDS: Final = 1_800_000
"""Milliseconds for which a claim keeps others off."""


async def flag(ctx: Context, message: Message, lists: str) -> None:
    """Report a message that word lists let pass; call it in the command that stores the message.

    Args:
        ctx: the command's context.
        message: as it is stored; one that only one user sees, and nobody keeps, is not reported.
        lists: the names of the lists.
    """
    if not message.seq:
        return
    content = {"type": message.type, "text": message.text, "time": message.time}
    subject = {"kind": "message", "user": message.user, "seq": message.seq}
    await _take(ctx, message.channel, f"message:{message.seq}", subject, content, "", "filter", lists)


@app.handle(MakeReport)
async def make_report(ctx: Context, request: MakeReport) -> Reported:
    """Take a report; the reported user hears nothing of it."""
    if request.seq is not None and request.user is not None:
        raise Refused("invalid", "Report a message by `seq`, or a `user`, not both at once.")
    if request.user == ctx.user and request.user:
        raise Refused("invalid", "You cannot report yourself.", details={"reason": "self"})
    if request.channel == "*":
        if request.user is None:
            raise Refused("invalid", "Name the channel in which it is, or a `user`.")
        subject: dict[str, Any] = {"kind": "user", "user": request.user, "seq": None}
        await _take(ctx, "*", f"user:{request.user}", subject, None, ctx.user, request.reason, request.text)
        return Reported("*")
    found = await access(ctx, request.channel, "report.make")
    content = None
    if request.seq is not None:
        row = await ctx.db.row(sa.select(messages).where(visible_in(ctx, found), messages.c.seq == request.seq))
        if row is None or row.deleted is not None:
            raise Refused("not_found", f"There is no message {request.seq} in {request.channel} that you can see.")
        subject = {"kind": "message", "user": row.user, "seq": row.seq}
        content = _content(row)
        name = f"message:{row.seq}"
    elif request.user is not None:
        subject, name = {"kind": "user", "user": request.user, "seq": None}, f"user:{request.user}"
    else:
        subject, name = {"kind": "channel", "user": "", "seq": None}, "channel"
    await _take(ctx, request.channel, name, subject, content, ctx.user, request.reason, request.text)
    return Reported(request.channel)


def _content(row: sa.Row[Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"type": row.type, "text": row.text, "time": row.time}
    for name in ("data", "files", "forwarded"):
        if getattr(row, name) is not None:
            content[name] = msgspec.json.decode(getattr(row, name))
    return content


async def _take(
    ctx: Context,
    channel: str,
    name: str,
    subject: dict[str, Any],
    content: dict[str, Any] | None,
    user: str,
    reason: str,
    text: str,
) -> None:
    """Add a report to the case of its subject, which is made or opened again where need be."""
    row = await ctx.db.row(
        sa.select(cases).where(cases.c.app == ctx.app, cases.c.channel == channel, cases.c.subject == name)
    )
    if row is None:
        case = ctx.insert(
            cases,
            id=ctx.new_id(),
            channel=channel,
            subject=name,
            **subject,
            content=None if content is None else msgspec.json.encode(content).decode(),
            reports=1,
            state="open",
            opened=ctx.now,
        )
        ctx.insert(reports, case=case, user=user, reason=reason, text=text, time=ctx.now)
        _tell(ctx, Case(case, channel, subject["kind"], "open", 1, ctx.now, subject["user"], subject["seq"]))
        return
    known = await ctx.db.get(reports, case=row.id, user=user)
    if known is not None and row.state != "resolved":
        return
    changes: dict[str, Any] = {}
    if known is None:
        ctx.insert(reports, case=row.id, user=user, reason=reason, text=text, time=ctx.now)
        changes["reports"] = row.reports + 1
    elif known.time > row.resolved:
        return
    else:
        ctx.update(reports, {"case": row.id, "user": user}, reason=reason, text=text, time=ctx.now)
    if row.state == "resolved":
        changes |= {"state": "open", "opened": ctx.now, "claimed_by": None, "claimed": None}
    ctx.update(cases, {"id": row.id}, **changes)
    _tell(ctx, _case(row, changes))


def _case(row: sa.Row[Any], changes: dict[str, Any] | None = None) -> Case:
    values = {**row._mapping, **(changes or {})}
    values["content"] = None if row.content is None else msgspec.json.decode(row.content)
    return msgspec.convert({name: values[name] for name in Case.__struct_fields__}, Case)


def _tell(ctx: Context, case: Case) -> None:
    if case.channel == "*":
        return
    told = {name: getattr(case, name) for name in ReportChanged.__struct_fields__}
    # It tells nobody who reports: reviewers ask for that.
    ctx.publish(review_channel(case.channel), ReportChanged(**told), user="")


# Review


async def _review(ctx: Context, channel: str | None) -> None:
    if channel is None or channel == "*":
        require_operator(ctx, "What is about no one channel")
    else:
        await access(ctx, channel, "moderate.review")


async def _reviewed(ctx: Context, channel: str, case: str) -> sa.Row[Any]:
    await _review(ctx, channel)
    row = await ctx.db.get(cases, id=case)
    if row is None or row.channel != channel:
        raise Refused("not_found", f"There is no case {case} in {channel}.")
    return row


@app.handle(ListReports)
async def list_reports(ctx: Context, request: ListReports) -> CaseList:
    """A page of the queue; one statement."""
    await _review(ctx, request.channel)
    statement = sa.select(cases).where(cases.c.app == ctx.app, cases.c.state == request.state)
    if request.channel is not None:
        statement = statement.where(cases.c.channel == request.channel)
    page = await paged(ctx, statement, [cases.c.opened, cases.c.id], request)
    return CaseList([_case(row) for row in page.rows], page.next, page.previous, page.total)


@app.handle(GetReport)
async def get_report(ctx: Context, request: GetReport) -> CaseDetail:
    """One case, with who reported it."""
    row = await _reviewed(ctx, request.channel, request.id)
    rows = await ctx.db.rows(
        sa.select(reports)
        .where(reports.c.app == ctx.app, reports.c.case == request.id)
        .order_by(reports.c.time, reports.c.user)
        .limit(100)
    )
    return CaseDetail(_case(row), [Report(one.user, one.reason, one.time, one.text) for one in rows])


@app.handle(ClaimReport)
async def claim_report(ctx: Context, request: ClaimReport) -> Case:
    """Take a case, or give it back; taking one's own again renews the claim."""
    row = await _reviewed(ctx, request.channel, request.id)
    actor = actor_of(ctx)
    if row.state == "resolved":
        raise Refused("conflict", f"The case is resolved, by {row.resolved_by}.", details={"reason": "resolved"})
    theirs = row.state == "claimed" and row.claimed_by != actor
    if theirs and not request.take_over and (request.release or row.claimed + _CLAIM_HOLDS > ctx.now):
        raise Refused(
            "conflict",
            f"{row.claimed_by} looks into it; ask them, or take it over with `take_over`.",
            details={"reason": "claimed", "by": row.claimed_by},
        )
    changes: dict[str, Any] = {"state": "claimed", "claimed_by": actor, "claimed": ctx.now}
    if request.release:
        changes = {"state": "open", "claimed_by": None, "claimed": None}
    ctx.update(cases, {"id": row.id}, **changes)
    case = _case(row, changes)
    _tell(ctx, case)
    return case


@app.handle(ResolveReport)
async def resolve_report(ctx: Context, request: ResolveReport) -> Case:
    """Close a case, and do what follows, all or nothing. Whoever holds the case, reviewers may close it; once."""
    row = await _reviewed(ctx, request.channel, request.id)
    if row.state == "resolved":
        raise Refused("conflict", f"The case is resolved, by {row.resolved_by}.", details={"reason": "resolved"})
    if request.act != "none" and request.verdict == "dismissed":
        raise Refused("invalid", "A report that is dismissed has no `act`; uphold it, or leave `act` out.")
    changes: dict[str, Any] = {
        "state": "resolved",
        "resolved_by": actor_of(ctx),
        "resolved": ctx.now,
        "verdict": request.verdict,
        "note": request.note or None,
    }
    # Before what follows from it: what a nested command declared is written as soon as another reads.
    ctx.update(cases, {"id": row.id}, **changes)
    await record(
        ctx,
        row.channel,
        "report.resolve",
        f"case:{row.id}",
        reason=request.note,
        before={"state": row.state, "reports": row.reports, "subject": row.subject},
        after={"verdict": request.verdict, "act": request.act},
    )
    await _act(ctx, request, row)
    case = _case(row, changes)
    _tell(ctx, case)
    return case


async def _act(ctx: Context, request: ResolveReport, row: sa.Row[Any]) -> None:
    reason = request.note or f"case {row.id}"
    if request.act == "none":
        return
    if request.act == "delete":
        if row.kind != "message":
            raise Refused("invalid", "`delete` is for reports of messages.")
        await ctx.call("message.delete", {"channel": row.channel, "seq": row.seq, "reason": reason})
        return
    if not row.user:
        raise Refused("invalid", f"The case is about no user, so there is nobody to {request.act}.")
    if request.act == "silence":
        await ctx.call(Silence(row.channel, row.user, request.seconds, reason))
    elif request.act == "ban":
        await ctx.call(Ban(row.channel, row.user, request.seconds, reason))
    else:
        await ctx.call(Shadow(row.channel, row.user, reason))
