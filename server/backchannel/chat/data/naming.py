"""Where a user's name stands in rows, and how another one takes its place."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import sqlalchemy as sa

from backchannel import Context

from ..moderation.tables import acts, cases, reports
from .ledger import Entry

__all__ = ["STEP", "holds_name", "mentions_name", "rename", "renamed", "renamed_text"]

STEP: Final = 200
"""Rows that are taken away or changed in one command."""


def holds_name(column: sa.ColumnElement[Any], user: str) -> sa.ColumnElement[bool]:
    """Whether a column holds the name, by itself or as a subject (`user:`)."""
    return column.in_([user, f"user:{user}"])


def mentions_name(column: sa.ColumnElement[Any], user: str) -> sa.ColumnElement[bool]:
    """Whether the name stands in a column of JSON as a string of its own."""
    return sa.or_(column.contains(f'"{user}"', autoescape=True), column.contains(f'"user:{user}"', autoescape=True))


def renamed(value: Any, user: str, ghost: str) -> Any:
    """JSON in which every string that is the name is the ghost's."""
    if isinstance(value, str):
        return ghost if value == user else f"user:{ghost}" if value == f"user:{user}" else value
    if isinstance(value, list):
        return [renamed(one, user, ghost) for one in value]
    if isinstance(value, dict):
        return {renamed(key, user, ghost): renamed(one, user, ghost) for key, one in value.items()}
    return value


def renamed_text(text: str, user: str, ghost: str) -> str:
    """A text that calls the user by `@name`."""
    return re.sub(rf"(?<![\w.@-])@{re.escape(user)}(?![\w@-])", f"@{ghost}", text)


async def rename(ctx: Context, entry: Entry, erasure: Any, limit: int, *where: sa.ColumnElement[bool]) -> int:
    """Do in one table what its entry says, but for what has code of its own; so many rows at most.

    Args:
        ctx: the command.
        entry: the table's.
        erasure: the row of `tables.erasures`.
        limit: how many rows.
        where: which of them, beside that they name the user.

    Returns:
        How many rows went or changed.
    """
    table, count = entry.table, 0
    user, ghost, whole = erasure.user, erasure.ghost, erasure.messages == "delete"
    key = [column for column in table.primary_key.columns if column.key != "app"]
    for name, how in entry.users.items():
        column = table.c[name]
        if how == "own" or count >= limit:
            continue
        rows = await ctx.db.rows(
            sa.select(*key, column.label("_held"))
            .where(table.c.app == ctx.app, holds_name(column, user), *where)
            .limit(limit - count)
        )
        for row in rows:
            place = {one.key: getattr(row, one.key) for one in key}
            if how == "row":
                ctx.delete(table, place)
                continue
            values = {name: renamed(row._held, user, ghost)}
            if table is reports:
                values["text"] = ""
            elif table is cases and name == "user" and whole:
                values["content"] = None
            ctx.update(table, place, **values)
        count += len(rows)
    for name in entry.nested:
        if count >= limit:
            break
        column = table.c[name]
        said = [table.c.text] if "text" in table.c and name == "mentions" else []
        rows = await ctx.db.rows(
            sa.select(*key, column.label("_held"), *said)
            .where(table.c.app == ctx.app, mentions_name(column, user), *where)
            .limit(limit - count)
        )
        for row in rows:
            # What the audit log and a case keep of a message goes with it.
            gone = whole and table in (acts, cases)
            values = {name: None if gone else _compact(renamed(json.loads(row._held), user, ghost))}
            if said:
                values["text"] = renamed_text(row.text, user, ghost)
            ctx.update(table, {one.key: getattr(row, one.key) for one in key}, **values)
        count += len(rows)
    return count


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
