"""What moderation understands: restraints, word lists, reports, the audit log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, Cursor, PageLimit, Seq, UserName, app

__all__ = [
    "Act",
    "ActList",
    "ActRecorded",
    "Ban",
    "Case",
    "CaseDetail",
    "CaseList",
    "ClaimReport",
    "DeleteFilter",
    "Filter",
    "FilterDeleted",
    "FilterList",
    "GetReport",
    "ListActs",
    "ListFilters",
    "ListReports",
    "ListRestraints",
    "MakeReport",
    "Report",
    "ReportChanged",
    "Reported",
    "ResolveReport",
    "Restrained",
    "Restraint",
    "RestraintKind",
    "RestraintList",
    "RestraintSet",
    "SetFilter",
    "Shadow",
    "Silence",
    "Tried",
    "TryFilter",
    "Unban",
    "Unshadow",
    "Unsilence",
]

Place = Annotated[
    str,
    Meta(pattern=r"^(\*|chat:[A-Za-z0-9_.@-]{1,128})$(?!\n)", description="A chat channel, or `*`: all of them."),
]
Scope = Annotated[
    str,
    Meta(
        pattern=r"^(\*|type:[a-z0-9_-]{1,32}|chat:[A-Za-z0-9_.@-]{1,128})$(?!\n)",
        description="A chat channel, `type:` with a type of channels, or `*`: all channels.",
    ),
]
Reason = Annotated[str, Meta(max_length=500)]
Seconds = Annotated[int, Meta(ge=1, le=10 * 366 * 86_400)]
Word = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}$(?!\n)")]
FilterName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)")]
RestraintKind = Literal["ban", "silence", "shadow"]

# Restraints


class Restraint(Struct, omit_defaults=True):
    """What holds a user back: a ban, a silence, or a shadow."""

    channel: str
    """Or `*`: in all channels."""
    user: str
    kind: RestraintKind
    time: int
    until: int | None = None
    """When it ends by itself, Unix milliseconds; None: it does not."""
    reason: str = ""
    by: str = ""


class Restrained(Struct):
    """A restraint that was lifted."""

    channel: str
    user: str
    kind: RestraintKind


@app.event("restraint.changed")
class RestraintSet(Event):
    """On `user:<id>`, and for a ban from a channel on the channel, where the user's subscription ends with it: what
    holds the user back there now. `until` is 0 where nothing does any more, and None where it has no end. Nobody is
    told of a shadow, nor a channel of the reason."""

    channel: str
    user: str
    kind: RestraintKind
    until: int | None
    reason: str = ""


@app.command("silence.add", lane="channel", own_transaction=True)
class Silence(Command[Restraint]):
    """Take a user's voice, in a channel or everywhere, for a time or for good. Again: with the new end and reason."""

    channel: Place
    user: UserName
    seconds: Seconds | None = None
    reason: Reason = ""


@app.command("silence.remove", lane="channel", own_transaction=True)
class Unsilence(Command[Restrained]):
    """Give a user's voice back."""

    channel: Place
    user: UserName
    reason: Reason = ""


@app.command("ban.add", lane="channel", own_transaction=True)
class Ban(Command[Restraint]):
    """Put a user out of a channel, or of all, and keep them out, for a time or for good."""

    channel: Place
    user: UserName
    seconds: Seconds | None = None
    reason: Reason = ""


@app.command("ban.remove", lane="channel", own_transaction=True)
class Unban(Command[Restrained]):
    """Let a user come back. Memberships that a ban from one channel ended stay ended; joining begins a new one."""

    channel: Place
    user: UserName
    reason: Reason = ""


@app.command("shadow.add", lane="channel", own_transaction=True)
class Shadow(Command[Restraint]):
    """Let nobody but themselves see what a user sends from now on, without telling them."""

    channel: Place
    user: UserName
    reason: Reason = ""


@app.command("shadow.remove", lane="channel", own_transaction=True)
class Unshadow(Command[Restrained]):
    """Let others see again what a user sends from now on."""

    channel: Place
    user: UserName
    reason: Reason = ""


class RestraintList(Struct, omit_defaults=True):
    """A page of restraints, by user."""

    restraints: list[Restraint]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("restraint.list")
class ListRestraints(Query[RestraintList]):
    """Who is banned, silenced or shadowed now, in a channel or everywhere, for who may do that to them."""

    channel: Place
    kind: RestraintKind
    cursor: Cursor | None = None
    limit: PageLimit = 100
    total: bool = False


# Word lists


class Filter(Struct, omit_defaults=True):
    """A list that messages are held against."""

    scope: str
    name: str
    kind: Literal["word", "domain", "regex"]
    action: Literal["block", "mask", "flag", "allow"]
    entries: list[str]
    message: str = ""
    by: str = ""
    time: int = 0


@app.command("filter.set", lane="scope", own_transaction=True)
class SetFilter(Command[Filter]):
    """Put a list of words, domains or regular expressions in force; one of that name is replaced.

    `block` refuses a message, with `message` if there is one; `mask` puts `*` in the place of what was found; `flag`
    lets it pass and reports it. What an `allow` list finds, lists of its scope and of narrower ones do not.
    """

    scope: Scope
    name: FilterName
    kind: Literal["word", "domain", "regex"]
    action: Literal["block", "mask", "flag", "allow"]
    entries: Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=2000)]
    """Words and phrases, where a `*` at an end stands for any rest of a word; domains, with what is below them, or `*`
    for all; or regular expressions of RE2's syntax, whatever the case."""
    message: Annotated[str, Meta(max_length=200)] = ""


class FilterDeleted(Struct):
    """A list that is in force no more."""

    scope: str
    name: str


@app.command("filter.delete", lane="scope", own_transaction=True)
class DeleteFilter(Command[FilterDeleted]):
    """End a list."""

    scope: Scope
    name: FilterName


class FilterList(Struct):
    """The lists of one scope, by name."""

    filters: list[Filter]


@app.query("filter.list")
class ListFilters(Query[FilterList]):
    """The lists of a scope; they are 20 at most."""

    scope: Scope


class Tried(Struct, omit_defaults=True):
    """What the lists that hold in a channel make of a text."""

    verdict: Literal["pass", "mask", "flag", "block"]
    text: str
    """As it would be sent."""
    found: list[str] = []
    """What was found, 10 pieces at most."""
    filters: list[str] = []
    """The names of the lists that found it."""


@app.query("filter.try")
class TryFilter(Query[Tried]):
    """Try a text against the lists that hold in a channel; nothing is sent."""

    channel: ChatChannel
    text: Annotated[str, Meta(max_length=20_000)]


# Reports


class Case(Struct, omit_defaults=True):
    """A message, user or channel that was reported, by one or many; what reviewers see of it."""

    id: str
    channel: str
    kind: Literal["message", "user", "channel"]
    state: Literal["open", "claimed", "resolved"]
    reports: int
    """How many have reported it."""
    opened: int
    user: str = ""
    """Who wrote the message, or whom it is about."""
    seq: int | None = None
    content: dict[str, Any] | None = None
    """What the message said when it was first reported: `type`, `text`, `data`, `files`, `time`."""
    claimed_by: str | None = None
    claimed: int | None = None
    resolved_by: str | None = None
    resolved: int | None = None
    verdict: Literal["upheld", "dismissed"] | None = None
    note: str | None = None


class Reported(Struct):
    """The report was taken; who reports learns no more of it."""

    channel: str


@app.command("report.make", lane="channel")
class MakeReport(Command[Reported]):
    """Report a message (`seq`), a user, or, with neither, the channel itself. Once more changes nothing."""

    channel: Place
    """Where; `*`, with a user, for what is about no channel."""
    seq: Seq | None = None
    user: UserName | None = None
    reason: Word = "other"
    """The app's word for the kind of trouble, such as `spam`."""
    text: Annotated[str, Meta(max_length=1000)] = ""


@app.event("report.changed")
class ReportChanged(Event):
    """On `review:<id>`, `<id>` being what follows `chat:`: a case is new, or stands like this now."""

    id: str
    channel: str
    kind: Literal["message", "user", "channel"]
    state: Literal["open", "claimed", "resolved"]
    reports: int
    user: str = ""
    seq: int | None = None
    claimed_by: str | None = None
    verdict: Literal["upheld", "dismissed"] | None = None


@app.command("report.claim", lane="channel")
class ClaimReport(Command[Case]):
    """Take a case to look into it, or give it back with `release`. One that another has held for under half an hour
    is a `conflict`, unless `take_over`."""

    channel: Place
    id: str
    release: bool = False
    take_over: bool = False


@app.command("report.resolve", lane="channel", own_transaction=True)
class ResolveReport(Command[Case]):
    """Close a case, and do what follows from it in the same breath: with the rights of who resolves it."""

    channel: Place
    id: str
    verdict: Literal["upheld", "dismissed"]
    act: Literal["none", "delete", "silence", "ban", "shadow"] = "none"
    """`delete` the message; or restrain the user, where the case is."""
    seconds: Seconds | None = None
    note: Reason = ""


class Report(Struct, omit_defaults=True):
    """One report. `user` is empty where a word list flagged a message."""

    user: str
    reason: str
    time: int
    text: str = ""


class CaseList(Struct, omit_defaults=True):
    """A page of cases, the longest open first."""

    cases: list[Case]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("report.list")
class ListReports(Query[CaseList]):
    """The review queue of a channel, of what is about no channel (`*`), or, for operators, without `channel` of all."""

    channel: Place | None = None
    state: Literal["open", "claimed", "resolved"] = "open"
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


class CaseDetail(Struct):
    """A case with its first 100 reports."""

    case: Case
    reports: list[Report]


@app.query("report.get")
class GetReport(Query[CaseDetail]):
    """One case, and who reported it why."""

    channel: Place
    id: str


# The audit log


class Act(Struct, omit_defaults=True):
    """What a moderator did."""

    channel: str
    """Or `*`, for what holds everywhere."""
    seq: int
    actor: str
    """A user, or `key:` with the id of an API key."""
    act: str
    """The name of the command that did it, such as `ban.add`."""
    target: str
    """A user, `message:7`, `filter:names`, `case:<id>`, `channel`."""
    time: int
    reason: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


@app.event("act.recorded")
class ActRecorded(Event):
    """On `review:<id>`: a moderator did something in the channel."""

    channel: str
    seq: int
    actor: str
    act: str
    target: str
    time: int
    reason: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class ActList(Struct, omit_defaults=True):
    """A page of the audit log, the newest first."""

    acts: list[Act]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("audit.list")
class ListActs(Query[ActList]):
    """What moderators did: in a channel for its reviewers; everywhere, and without `channel` in all, for operators."""

    channel: Place | None = None
    actor: Annotated[str, Meta(max_length=160)] | None = None
    target: Annotated[str, Meta(max_length=200)] | None = None
    act: Annotated[str, Meta(max_length=64)] | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 100
    total: bool = False
