"""Attaching: which files a message has. `message.send` calls it, in the channel's lane and its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access
from .contract import FileInfo, Thumbnail
from .tables import files, uses

__all__ = ["attach", "describe"]

_thumbnails = msgspec.json.Decoder(list[Thumbnail])


async def attach(ctx: Context, found: Access, seq: int, ids: Sequence[str], *, own: bool = True) -> list[FileInfo]:
    """Give files to the message with this `seq`, in their order; whoever may see it may download them from then on.

    One statement, however many there are.

    Args:
        ctx: the request.
        found: the channel.
        seq: the message's number there.
        ids: the files' ids.
        own: whether they must be the asking user's own uploads. A forward passes False: it has seen to it that the user
            may see the message that has them.

    Raises:
        Refused: `forbidden` for who may not attach; `invalid` where the type of channel has no files, or for too many;
            `not_found` for a file that is not there, not complete, not one's own, or about to be removed.
    """
    if not ids:
        return []
    found.require("file.attach")
    features = found.rules.features
    if not features.files:
        raise Refused("invalid", "Messages of this channel have no files.", details={"reason": "feature"})
    if len(ids) > features.max_files:
        raise Refused(
            "invalid",
            f"A message has at most {features.max_files} files; send several messages.",
            details={"reason": "max_files", "most": features.max_files},
        )
    if len(set(ids)) < len(ids):
        raise Refused("invalid", "`files` names a file twice.", details={"reason": "repeated"})
    select = sa.select(files).where(files.c.app == ctx.app, files.c.id.in_(ids), files.c.doomed.is_(None))
    rows = {row.id: row for row in await ctx.db.rows(select)}
    for file in ids:
        row = rows.get(file)
        if row is None or (own and not found.operator and row.user != ctx.user):
            raise Refused(
                "not_found",
                f"There is no file {file[:64]!r} of yours that is complete: upload it, then send the message.",
                details={"file": file[:64]},
            )
        ctx.insert(uses, file=file, channel=found.channel.channel, seq=seq)
    return [describe(rows[file]) for file in ids]


def describe(row: sa.Row[Any]) -> FileInfo:
    """A row of `tables.files`, as clients are told."""
    return FileInfo(
        id=row.id,
        name=row.name,
        type=row.type,
        size=row.size,
        width=row.width,
        height=row.height,
        thumbnails=_thumbnails.decode(row.thumbnails),
    )
