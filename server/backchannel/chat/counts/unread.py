"""How many messages and mentions a member has not read: SQL expressions over rows, for any number of memberships at once.

`seq` is dense in its channel, so what lies between where a member has read and the newest message is a difference of
two numbers; only what does not count in between is looked up, each in an index of its own: messages that make nothing
unread, the member's own, those that the member has hidden. Nothing is stored that could drift from the rows.

Each function takes the table `tables.members` as it stands in the statement, itself or an alias::

    sa.select(members.c.channel, unread(members), mentions(members)).where(members.c.user == ctx.user)
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..messages.tables import hidden as hidden_messages
from ..messages.tables import mentions as mention_rows
from ..tables import messages

__all__ = ["last_seq", "mentions", "read_to", "unread"]

Number = sa.ColumnElement[int]


def last_seq(member: sa.FromClause) -> Number:
    """The newest `seq` of a membership's channel, whatever message it is; 0 for none."""
    last = messages.alias("last_messages")
    return sa.func.coalesce(_one(member, sa.func.max(last.c.seq), _of(last, member)), 0)


def read_to(member: sa.FromClause) -> Number:
    """Up to where a member has nothing to read: what was read, or what is not theirs to see, or is there no more."""
    first = messages.alias("first_messages")
    before_first = sa.func.coalesce(_one(member, sa.func.min(first.c.seq) - 1, _of(first, member)), 0)
    own = _greater(member.c.read_seq, member.c.history_from)
    return _greater(own, before_first)


def unread(member: sa.FromClause) -> Number:
    """How many messages of others that count a member has not read."""
    uncounted = messages.alias("uncounted_messages")
    own = messages.alias("own_messages")
    gone = hidden_messages.alias("hidden_unread")
    hidden = messages.alias("hidden_messages")
    since = _since(member)
    # In words of the partial index: SQLite uses one only where the statement says the very same.
    not_counted: sa.ColumnElement[bool] = sa.literal_column("NOT uncounted_messages.counted", sa.Boolean)
    count: Any = sa.func.count()
    subtracted = (
        _one(member, count, _of(uncounted, member), uncounted.c.seq > since, not_counted),
        _one(member, count, _of(own, member), own.c.user == member.c.user, own.c.seq > since, own.c.counted),
        _one(
            member,
            count,
            sa.and_(gone.c.app == member.c.app, gone.c.user == member.c.user, gone.c.channel == member.c.channel),
            gone.c.seq > since,
            _of(hidden, member),
            hidden.c.seq == gone.c.seq,
            hidden.c.user != member.c.user,
            hidden.c.counted,
        ),
    )
    left = last_seq(member) - read_to(member)
    for part in subtracted:
        left = left - part
    return _greater(left, sa.literal(0))
