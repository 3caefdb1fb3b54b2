"""Paging: one statement's rows in an order, page by page, both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from backchannel import Context, Refused

from .cursors import cursor, read_cursor

__all__ = ["Page", "paged"]


class Page(NamedTuple):
    """A page of rows, and the cursors of its neighbours."""

    rows: Sequence[sa.Row[Any]]
    next: str | None
    previous: str | None
    total: int | None


async def paged(
    ctx: Context,
    statement: sa.Select[Any],
    order: Sequence[sa.ColumnElement[Any]],
    request: Any,
    *,
    newest_first: bool = False,
    around: Callable[[sa.Subquery], sa.Select[Any]] | None = None,
) -> Page:
    """A page of what a statement selects.

    Args:
        ctx: the request's context.
        statement: without an order.
        order: the columns that sort it; together they are unique.
        request: with `cursor`, `limit` and `total`.
        newest_first: whether the order falls.
        around: makes the statement, still one, that adds to the page's rows what need not be known of all others. It
            keeps the columns of the order under their names.

    Raises:
        Refused: `invalid`, the cursor is none of this query.
    """
    total = None
    if request.total:
        total = await ctx.db.value(sa.select(sa.func.count()).select_from(statement.subquery()))
    back = False
    if request.cursor is not None:
        back, place = read_cursor(request.cursor, tuple[bool, list[int | str]])
        kinds = [int if isinstance(column.type, sa.BigInteger) else str for column in order]
        if [type(part) for part in place] != kinds or not all(map(_storable, place)):
            raise Refused("invalid", "This is no cursor of this query; begin without one.")
        columns, values = sa.tuple_(*order), sa.tuple_(*place)
        statement = statement.where(columns < values if back is not newest_first else columns > values)
    falls = back is not newest_first
    statement = statement.order_by(*[column.desc() if falls else column for column in order])
    statement = statement.limit(request.limit + 1)
    if around is not None:
        page = statement.subquery("page")
        places = [page.c[str(column.key)] for column in order]
        statement = around(page).order_by(*[place.desc() if falls else place for place in places])
    rows = list(await ctx.db.rows(statement))
    more = len(rows) > request.limit
    rows = rows[: request.limit]
    if back:
        rows.reverse()

    def at(row: sa.Row[Any], *, before: bool) -> str:
        return cursor(before, [getattr(row, str(column.key)) for column in order])

    has_next, has_previous = (True, more) if back else (more, request.cursor is not None)
    return Page(
        rows,
        at(rows[-1], before=False) if rows and has_next else None,
        at(rows[0], before=True) if rows and has_previous else None,
        total,
    )


def _storable(part: int | str) -> bool:
    """Whether a column could hold it: a cursor may be made up."""
    return "\0" not in part if isinstance(part, str) else abs(part) < 2**53
