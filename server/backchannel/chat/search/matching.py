"""Matching: which rows hold what is looked for, asked of either database's own full-text index.

`message_matches` and `name_matches` are tables as a statement sees them; how they come about differs by database. What
is looked for is told in both databases' words at once (`Looked`), as nothing else in a handler knows which one it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .wording import Term, fold

__all__ = ["NEWEST", "Looked", "Place", "first_id", "looked", "message_matches", "name_matches"]

NEWEST: Final = 2**63 - 1
"""An id behind that of every message."""


class Place(NamedTuple):
    """Where a message stands among all, from the newest on."""

    id: int
    channel: str
    seq: int


class Looked(NamedTuple):
    """What is looked for."""

    fts: str
    """For FTS5."""
    ts: str
    """For PostgreSQL, a `tsquery`."""


def first_id(moment: int) -> int:
    """The first id that a message of this moment (Unix milliseconds) can have."""
    return min(moment << 20, NEWEST)


# What is looked for


def looked(
    terms: Iterable[Term],
    *,
    channels: Sequence[str] = (),
    users: Sequence[str] = (),
    has: Sequence[str] = (),
    kind: str = "",
) -> Looked | None:
    """What is looked for, in both databases' words; None for nothing that an index could find.

    Args:
        terms: words and phrases, all of which must be there or, unwanted, must not.
        channels: one of these; users: from one of these; has: with all of these.
        kind: of names, what they are names of.
    """
    terms = list(terms)
    fts = [f"text : {_fts(term)}" for term in terms if not term.unwanted]
    ts = [_ts(term) for term in terms if not term.unwanted]
    for sign, names in (("c", channels), ("u", users)):
        if names:
            fts.append("marks : (" + " OR ".join(f'"{sign}{name.encode().hex()}"' for name in names) + ")")
            ts.append("(" + " | ".join(_quoted(f"={sign}{name}") for name in names) + ")")
    fts += [f'marks : "h{thing}"' for thing in has]
    ts += [_quoted(f"=h{thing}") for thing in has]
    if not fts:
        return None
    if kind:
        # PostgreSQL has it in a column of its own.
        fts.append(f'marks : "{kind}"')
    found = " AND ".join(fts)
    if unwanted := [term for term in terms if term.unwanted]:
        found = f"({found}) NOT (" + " OR ".join(f"text : {_fts(term)}" for term in unwanted) + ")"
        ts += [f"!{_ts(term)}" for term in unwanted]
    return Looked(found, " & ".join(ts))


def _fts(term: Term) -> str:
    # Tokens are made of letters, digits and marks: there is nothing to escape.
    return '"' + " ".join(term.tokens) + '"' + (" *" if term.unfinished else "")


def _ts(term: Term) -> str:
    words = [_quoted(folded) for token in term.tokens if (folded := fold(token))]
    if not words:
        return _quoted("=")  # no text has it
    if term.unfinished:
        words[-1] += ":*"
    return "(" + " <-> ".join(words) + ")"


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


# Messages


class _MessageMatches(FunctionElement[Any]):
    """Arguments: app, FTS5's words, PostgreSQL's words, before (id, channel, seq), from id, how many; channels."""

    name = "chat_message_matches"
    inherit_cache = True
    type = sa.types.NULLTYPE


def message_matches(
    app: str,
    what: Looked,
    *,
    before: Place,
    since: int = 0,
    most: int,
    channels: Sequence[str] = (),
    scored: bool = False,
) -> sa.Select[Any]:
    """The newest matches: their `id`, `channel`, `seq`, and `score`, of which a higher one fits better.

    Args:
        app: the tenant.
        what: what is looked for.
        before: only those behind this place, from the newest on.
        since: only those from this id on.
        most: how many.
        channels: where all of them are, if `what` says so: it helps PostgreSQL to plan.
        scored: whether the score is wanted; else it is 0.
    """
    make = _ScoredMatches if scored else _MessageMatches
    found = make(
        sa.literal(app, sa.Text),
        sa.literal(what.fts, sa.Text),
        sa.literal(what.ts, sa.Text),
        sa.literal(before.id, sa.BigInteger),
        sa.literal(before.channel, sa.Text),
        sa.literal(before.seq, sa.BigInteger),
        sa.literal(since, sa.BigInteger),
        sa.literal(most, sa.BigInteger),
        sa.literal(",".join(channels), sa.Text),
    ).table_valued(
        sa.column("id", sa.BigInteger),
        sa.column("channel", sa.Text),
        sa.column("seq", sa.BigInteger),
        sa.column("score", sa.Float),
    )
    return sa.select(found.c.id, found.c.channel, found.c.seq, found.c.score)


class _ScoredMatches(_MessageMatches):
    name = "chat_scored_message_matches"
    inherit_cache = True


@compiles(_MessageMatches, "sqlite")
def _sqlite_messages(element: _MessageMatches, compiler: Any, **options: Any) -> str:
    app, fts, before, since, most = _processed(element, compiler, options, 0, 1, 3, 6, 7)
    # FTS5 walks by rowid, from the newest on, and stops at the limit. bm25 is the lower the better.
    score = "-bm25(chat_message_words)" if isinstance(element, _ScoredMatches) else "0.0"
    return (
        f"(SELECT d.id, d.channel, d.seq, {score} AS score "  # noqa: S608
        f"FROM chat_message_words CROSS JOIN chat_message_docs AS d ON d.id = chat_message_words.rowid "
        f"WHERE chat_message_words MATCH {fts} AND chat_message_words.rowid < {before} "
        f"AND chat_message_words.rowid >= {since} AND d.app = {app} "
        f"ORDER BY chat_message_words.rowid DESC LIMIT {most})"
    )


@compiles(_MessageMatches)
def _postgresql_messages(element: _MessageMatches, compiler: Any, **options: Any) -> str:
    arguments = _processed(element, compiler, options, 0, 2, 3, 4, 5, 6, 7, 8)
    scored = "TRUE" if isinstance(element, _ScoredMatches) else "FALSE"
    return f"chat_find_messages({', '.join(arguments)}, {scored})"


# Names


class _NameMatches(FunctionElement[Any]):
    """Arguments: app, kind, FTS5's words, PostgreSQL's words, how many."""

    name = "chat_name_matches"
    inherit_cache = True
    type = sa.types.NULLTYPE


def name_matches(app: str, kind: str, what: Looked, *, most: int) -> sa.Select[Any]:
    """The matches that fit best: their `name`, which is the key of what they name, and their `score`."""
    found = _NameMatches(
        sa.literal(app, sa.Text),
        sa.literal(kind, sa.Text),
        sa.literal(what.fts, sa.Text),
        sa.literal(what.ts, sa.Text),
        sa.literal(most, sa.BigInteger),
    ).table_valued(sa.column("name", sa.Text), sa.column("score", sa.Float))
    return sa.select(found.c.name, found.c.score)


@compiles(_NameMatches, "sqlite")
def _sqlite_names(element: _NameMatches, compiler: Any, **options: Any) -> str:
    app, kind, fts, most = _processed(element, compiler, options, 0, 1, 2, 4)
    return (
        "(SELECT d.name, -bm25(chat_name_words) AS score "  # noqa: S608
        "FROM chat_name_words CROSS JOIN chat_name_docs AS d ON d.id = chat_name_words.rowid "
        f"WHERE chat_name_words MATCH {fts} AND d.app = {app} AND d.kind = {kind} "
        f"ORDER BY score DESC, d.name LIMIT {most})"
    )


@compiles(_NameMatches)
def _postgresql_names(element: _NameMatches, compiler: Any, **options: Any) -> str:
    app, kind, ts, most = _processed(element, compiler, options, 0, 1, 3, 4)
    return (
        "(SELECT d.name, ts_rank(d.words, q.words) AS score "  # noqa: S608
        f"FROM chat_name_docs AS d, CAST({ts} AS tsquery) AS q(words) "
        f"WHERE d.app = {app} AND d.kind = {kind} AND d.words @@ q.words ORDER BY score DESC, d.name LIMIT {most})"
    )


def _processed(element: FunctionElement[Any], compiler: Any, options: dict[str, Any], *which: int) -> list[str]:
    """These of the arguments, as they stand in the statement. Those that a database has no use for are left out."""
    options.pop("asfrom", None)
    clauses = list(element.clauses)
    return [compiler.process(clauses[number], **options) for number in which]
