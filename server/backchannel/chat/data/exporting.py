"""Exporting a user: all that is kept of them, page by page."""

from __future__ import annotations

from typing import Final

from backchannel import Context, Refused

from ..access import is_operator
from ..common import app
from ..cursors import cursor, read_cursor
from .contract import ExportUser, UserRecord, UserRecords
from .ledger import LEDGER
from .policy import rules
from .records import key_columns, user_rows

__all__: list[str] = []

_MOST_BYTES: Final = 256 * 1024


@app.handle(ExportUser)
async def export_user(ctx: Context, request: ExportUser) -> UserRecords:
    """One statement per table, from where the last page ended."""
    user = request.user if request.user is not None else ctx.user
    if not user:
        raise Refused("invalid", "Name the user whose data is wanted.", details={"reason": "user"})
    if not is_operator(ctx) and not (user == ctx.user and rules().export):
        raise Refused(
            "forbidden",
            "Users are given their own data alone, where the app lets them; others' data is for operators.",
            details={"reason": "operators"},
        )
    place: tuple[int, list[int | str]] = (0, [])
    if request.cursor is not None:
        place = read_cursor(request.cursor, tuple[int, list[int | str]])
        number, after = place
        known = 0 <= number < len(LEDGER)
        key = key_columns(LEDGER[number].table) if known else []
        kinds = [column.type.python_type for column in key]
        if not known or (after and [type(part) for part in after] != kinds):
            raise Refused("invalid", "This is no cursor of this query; begin without one.")
    records, following = await user_rows(ctx.db, ctx.app, user, place, request.limit, _MOST_BYTES)
    return UserRecords(
        [UserRecord(record.table, record.row) for record in records],
        None if following is None else cursor(*following),
    )
