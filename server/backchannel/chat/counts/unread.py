"""What a member has not read, in numbers: SQL expressions over rows, for any number of memberships at once.

`seq` is dense in its channel, so what lies between where a member has read and the newest message is a difference of
two numbers; only what does not count in between is looked up, each in an index of its own: messages that make nothing
unread, the member's own, those that the member has hidden. Nothing is stored that could drift from the rows.

Each function takes the table `tables.members` as it stands in the statement, itself or an alias::

    sa.select(members.c.channel, unread(members), mentions(members)).where(members.c.user == ctx.user)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ..messages.tables import hidden as hidden_messages
from ..messages.tables import mentions as mention_rows
from ..tables import messages
from .tables import thread_reads

__all__ = ["Place", "last_seq", "mentions", "read_to", "thread_read_to", "thread_unread", "unread"]

Number = sa.ColumnElement[int]


class Place:
    """One membership by its values, for a statement that need not read its row.

    Args:
        app: the tenant.
        channel: the channel.
        user: the member.
        role: the member's role.
        read: the seq up to which there is nothing to read.
    """

    def __init__(self, app: str, channel: str, user: str, role: str, read: int) -> None:
        read_seq = sa.literal(read, sa.BigInteger)
        self.c = _Columns(
            app=sa.literal(app, sa.Text),
            channel=sa.literal(channel, sa.Text),
            user=sa.literal(user, sa.Text),
            role=sa.literal(role, sa.Text),
            read_seq=read_seq,
            history_from=read_seq,
        )


class _Columns(NamedTuple):
    app: sa.ColumnElement[str]
    channel: sa.ColumnElement[str]
    user: sa.ColumnElement[str]
    role: sa.ColumnElement[str]
    read_seq: Number
    history_from: Number


Member = sa.FromClause | Place


def last_seq(member: Member) -> Number:
    """The newest `seq` of a membership's channel, whatever message it is; 0 for none."""
    last = messages.alias("last_messages")
    return sa.func.coalesce(_one(member, sa.func.max(last.c.seq), _of(last, member)), 0)


def read_to(member: Member) -> Number:
    """Up to where nothing is left to read: what a member has read, or may not see (`history_from`)."""
    if isinstance(member, Place):
        return member.c.read_seq
    return _Greatest(member.c.read_seq, member.c.history_from)


def unread(member: Member) -> Number:
    """How many messages of others, of those that count, a member has not read."""
    first, uncounted, own, hidden = (
        messages.alias(f"{name}_messages") for name in ("first", "uncounted", "own", "hidden")
    )
    wish = hidden_messages.alias("hidden_wishes")
    read = read_to(member)
    # What retention took from the beginning is neither read nor unread.
    before_first = sa.func.coalesce(_one(member, sa.func.min(first.c.seq), _of(first, member)) - 1, 0)
    # The partial index serves only a statement that says the very words of its condition.
    not_counted: sa.ColumnElement[Any] = sa.literal_column("NOT uncounted_messages.counted")
    left = last_seq(member) - _Greatest(read, before_first)
    for subtracted in (
        _one(member, sa.func.count(), _of(uncounted, member), uncounted.c.seq > read, not_counted),
        _one(member, sa.func.count(), _of(own, member), own.c.user == member.c.user, own.c.seq > read, own.c.counted),
        _one(
            member,
            sa.func.count(),
            _of(wish, member),
            wish.c.user == member.c.user,
            wish.c.seq > read,
            _is(hidden, wish, member, hidden.c.user != member.c.user, hidden.c.counted),
        ),
    ):
        left = left - subtracted
    return _Greatest(left, sa.literal(0, sa.BigInteger))


def mentions(member: Member) -> Number:
    """How many messages of others that a member has not read name the member, the member's role or all; also in
    threads, whose messages do not make the channel unread."""
    row = mention_rows.alias("mention_rows")
    message = messages.alias("mentioning_messages")
    everybody: sa.ColumnElement[str] = sa.literal("*", sa.Text)
    return _one(
        member,
        sa.func.count(row.c.seq.distinct()),
        _of(row, member),
        row.c.user.in_([member.c.user, everybody, sa.literal("role:", sa.Text) + member.c.role]),
        row.c.seq > read_to(member),
        _is(
            message,
            row,
            member,
            message.c.user != member.c.user,
            message.c.deleted.is_(None),
            sa.not_(message.c.shadow),
        ),
        _not_hidden(row, member.c.user, member),
    )


def thread_read_to(thread: sa.FromClause, user: sa.ColumnElement[str]) -> Number:
    """Up to where a user has read a thread: `thread` has the columns `app`, `channel` and `seq` of what is answered, as
    `messages.tables.threads` and `followers` have."""
    read = thread_reads.alias("thread_read")
    found = _one(thread, read.c.read_seq, _of(read, thread), read.c.user == user, read.c.seq == thread.c.seq)
    return sa.func.coalesce(found, 0)


def thread_unread(thread: sa.FromClause, user: sa.ColumnElement[str]) -> Number:
    """How many replies of others a user has not read in a thread; the arguments are as for `thread_read_to`."""
    reply = messages.alias("replies")
    return _one(
        thread,
        sa.func.count(),
        _of(reply, thread),
        reply.c.parent == thread.c.seq,
        reply.c.seq > thread_read_to(thread, user),
        reply.c.user != user,
        reply.c.deleted.is_(None),
        sa.not_(reply.c.shadow),
        sa.not_(reply.c.silent),
        _not_hidden(reply, user, thread),
    )


def _is(
    message: sa.FromClause, row: sa.FromClause, member: Member, *what: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    """Whether the message that a row names is what is asked: one look by its key for each row.

    A join would leave PostgreSQL the choice to read all of a channel's messages instead, and it would.
    """
    asked = sa.select(sa.and_(*what)).where(_of(message, row), message.c.seq == row.c.seq)
    return asked.correlate(row, *_tables(member)).scalar_subquery()


def _not_hidden(message: sa.FromClause, user: sa.ColumnElement[str], outer: Member) -> sa.ColumnElement[bool]:
    wish = hidden_messages.alias("hidden_for_member")
    found = sa.exists().where(_of(wish, message), wish.c.user == user, wish.c.seq == message.c.seq)
    return ~found.correlate(message, *_tables(outer))


def _tables(member: Member) -> list[sa.FromClause]:
    return [] if isinstance(member, Place) else [member]


def _of(table: sa.FromClause, member: Member) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.app == member.c.app, table.c.channel == member.c.channel)


def _one(member: Member, what: sa.ColumnElement[int], *where: sa.ColumnElement[bool]) -> Number:
    return sa.select(what).where(*where).correlate(*_tables(member)).scalar_subquery()


class _Greatest(FunctionElement[int]):
    """The greatest of some numbers, none of which is NULL."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(_Greatest)
def _greatest(element: _Greatest, compiler: Any, **options: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **options)})"


@compiles(_Greatest, "sqlite")
def _greatest_sqlite(element: _Greatest, compiler: Any, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"
