"""Which messages a user may see: the one definition, as SQL and for one row. Use it wherever messages are shown.

What is deleted or has expired stays visible as a tombstone, without what it said (`rows.message`); lists that are about
what messages say (`readable`) leave it out.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backchannel import Context

from ..access import Access
from ..tables import messages
from .tables import hidden

__all__ = ["gone", "readable", "visible", "visible_in"]


def visible(
    user: str, *, history_from: int | sa.ColumnElement[int] = 0, table: sa.FromClause = messages
) -> sa.ColumnElement[bool]:
    """The messages that this user may see in channels that they may read.

    Args:
        user: who asks.
        history_from: where what is theirs to see begins: `members.c.history_from` in a statement over many channels.
        table: `messages`, or an alias.
    """
    wish = hidden.alias()
    return sa.and_(
        table.c.seq > history_from,
        sa.or_(sa.not_(table.c.shadow), table.c.user == user),
        ~sa.exists()
        .where(
            wish.c.app == table.c.app,
            wish.c.user == user,
            wish.c.channel == table.c.channel,
            wish.c.seq == table.c.seq,
        )
        .correlate(table),
    )


def visible_in(
    ctx: Context, found: Access, table: sa.FromClause = messages, *, after: int = 0
) -> sa.ColumnElement[bool]:
    """The messages of one channel, behind the number `after`, that the asking user may see; an operator sees all.

    The bound belongs in here: of two lower bounds SQLite looks up the first one, and reads on to the other.
    """
    here = sa.and_(table.c.app == ctx.app, table.c.channel == found.channel.channel)
    if found.operator:
        return sa.and_(here, table.c.seq > after)
    begin = 0 if found.member is None else found.member.history_from
    return sa.and_(here, visible(ctx.user, history_from=max(begin, after), table=table))


def readable(now: int, table: sa.FromClause = messages) -> sa.ColumnElement[bool]:
    """The messages that say anything: neither deleted nor expired."""
    return sa.and_(table.c.deleted.is_(None), sa.or_(table.c.expires.is_(None), table.c.expires > now))


def gone(row: sa.Row[Any], now: int) -> bool:
    """Whether a message is deleted, or has expired."""
    return row.deleted is not None or (row.expires is not None and row.expires <= now)
