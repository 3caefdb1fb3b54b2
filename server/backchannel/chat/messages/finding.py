"""Finding a message that is to be shown, quoted, changed: what is not there and what one may not see look the same."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access
from ..tables import messages
from .visible import gone, visible_in

__all__ = ["find_message", "no_message"]


async def find_message(ctx: Context, found: Access, seq: int, *, deleted: bool = False) -> sa.Row[Any]:
    """The row of a message that the asking user may see.

    Args:
        ctx: the request.
        found: its channel.
        seq: its number.
        deleted: whether one that is deleted will do.

    Raises:
        Refused: `not_found`.
    """
    row = await ctx.db.row(sa.select(messages).where(visible_in(ctx, found), messages.c.seq == seq))
    if row is None or (not deleted and gone(row, ctx.now)):
        raise no_message(found.channel.channel, seq)
    return row


def no_message(channel: str, seq: int) -> Refused:
    """The refusal for a message that is not there, or not for this user to see: nobody can tell which."""
    return Refused("not_found", f"There is no message {seq} in {channel}, or it is not yours to see.")
