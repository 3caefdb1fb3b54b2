"""Files: told, listed, removed, opened for a download. Who may see a message that has a file may have the file."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import access, is_operator
from ..common import app
from ..cursors import cursor, read_cursor
from ..messages.visible import readable, visible
from ..tables import channels, members, messages
from .attach import describe
from .contract import (
    DeleteFile,
    FileInfo,
    FileList,
    FileUrl,
    FileUrls,
    GetFile,
    GetFileUrls,
    ListFiles,
    RemovedFile,
    Thumbnail,
)
from .internal import Opened, OpenFile, OpenSigned
from .limits import limits
from .tables import files, uses
from .uploads import FILES_PATH, room_taken

__all__: list[str] = []

_CHANNELS: Final = 10
"""In how many channels it is looked whether somebody may see a file; it is forwarded to more."""

_thumbnails: Final = msgspec.json.Decoder(list[Thumbnail])


@app.handle(GetFile)
async def get_file(ctx: Context, request: GetFile) -> FileInfo:
    """A file that one may see."""
    return describe(await _seen(ctx, request.id))


@app.handle(OpenFile)
async def open_file(ctx: Context, request: OpenFile) -> Opened:
    """A file that one may see, to be downloaded."""
    return _opened(await _seen(ctx, request.id), request.thumbnail)


@app.handle(OpenSigned)
async def open_signed(ctx: Context, request: OpenSigned) -> Opened:
    """A file by a URL that was signed, while a message that says anything still has it."""
    row = await ctx.db.get(files, id=request.id)
    if row is None or not _is_signed(row, request):
        raise _no_file()
    if request.expires <= ctx.now:
        raise Refused(
            "forbidden", "This URL has expired; ask `file.urls` for a new one.", details={"reason": "expired"}
        )
    here = (uses.c.app == ctx.app, uses.c.file == row.id)
    used = sa.exists(sa.select(uses.c.seq).where(*here))
    shown = sa.exists(sa.select(uses.c.seq).join(messages, _message_of_use()).where(*here, readable(ctx.now)))
    if await ctx.db.value(sa.select(sa.and_(used, sa.not_(shown)))):
        raise _no_file()
    return _opened(row, request.thumbnail)


@app.handle(GetFileUrls)
async def get_file_urls(ctx: Context, request: GetFileUrls) -> FileUrls:
    """URLs of files that one may see; those of others are left out. The same URL for some minutes, for caches' sake."""
    lifetime = limits().url_lifetime * 1000
    expires = (ctx.now // lifetime + 2) * lifetime
    rows = await _seen_of(ctx, list(dict.fromkeys(request.ids)))
    return FileUrls(
        [
            FileUrl(
                id=row.id,
                url=f"{FILES_PATH}/{row.id}?expires={expires}&signature={_signature(row.secret, expires)}",
                expires=expires,
            )
            for row in rows
        ]
    )


@app.handle(ListFiles)
async def list_files(ctx: Context, request: ListFiles) -> FileList:
    """One's own files, the newest first."""
    mine = sa.and_(files.c.app == ctx.app, files.c.user == ctx.user, files.c.doomed.is_(None))
    place = sa.tuple_(files.c.created, files.c.id)
    select = sa.select(files).where(mine)
    back = False
    if request.cursor is not None:
        way, created, file = read_cursor(request.cursor, tuple[str, int, str])
        back = way == "previous"
        at = sa.tuple_(sa.literal(created), sa.literal(file))
        select = select.where(place > at if back else place < at)
    order = (files.c.created, files.c.id) if back else (files.c.created.desc(), files.c.id.desc())
    rows = list(await ctx.db.rows(select.order_by(*order).limit(request.limit + 1)))
    more = len(rows) > request.limit
    page = rows[: request.limit]
    if back:
        page.reverse()
    used, _ = await room_taken(ctx)
    total = await ctx.db.value(sa.select(sa.func.count()).select_from(files).where(mine)) if request.total else None
    return FileList(
        files=[describe(row) for row in page],
        used=used,
        quota=limits().quota,
        next=cursor("next", page[-1].created, page[-1].id) if page and (more or back) else None,
        previous=cursor("previous", page[0].created, page[0].id)
        if page and (more if back else request.cursor is not None)
        else None,
        total=total,
    )


@app.handle(DeleteFile)
async def delete_file(ctx: Context, request: DeleteFile) -> RemovedFile:
    """Remove a file of one's own that no message has."""
    row = await ctx.db.get(files, id=request.id)
    if row is None or row.doomed is not None or not (is_operator(ctx) or row.user == ctx.user):
        raise _no_file()
    attached = sa.exists(sa.select(uses.c.seq).where(uses.c.app == ctx.app, uses.c.file == row.id))
    if await ctx.db.value(sa.select(attached)):
        raise Refused("conflict", "A message has this file; delete the message.", details={"reason": "attached"})
    # Whoever attaches it at this moment finds it, and then it stays: it is looked at once more before it goes.
    ctx.update(files, {"id": row.id}, doomed=ctx.now, checked=ctx.now)
    return RemovedFile(row.id)


async def _seen(ctx: Context, file: str) -> sa.Row[Any]:
    """The row of a file that the asking user may see. Raises `Refused`: there is none."""
    rows = await _seen_of(ctx, [file])
    if not rows:
        raise _no_file()
    return rows[0]


async def _seen_of(ctx: Context, ids: Sequence[str]) -> list[sa.Row[Any]]:
    """The rows of those files that the asking user may see, in order.

    Two statements, and a channel's own rules for each channel that comes into question, of which there are few.
    """
    select = sa.select(files).where(files.c.app == ctx.app, files.c.id.in_(ids))
    found = {row.id: row for row in await ctx.db.rows(select)}
    others = {id_ for id_, row in found.items() if not is_operator(ctx) and not (row.user == ctx.user and row.user)}
    seen = found.keys() - others
    if others:
        candidates = await _candidates(ctx, sorted(others))
        allowed: dict[str, bool] = {}
        for file, channel in candidates:
            if file not in seen and await _reads(ctx, channel, allowed):
                seen.add(file)
    return [found[file] for file in ids if file in seen]


async def _candidates(ctx: Context, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Files and channels where a message has them that the user could see, if they may read the channel at all."""
    history_from = sa.func.coalesce(members.c.history_from, 0)
    select = (
        sa.select(uses.c.file, uses.c.channel)
        .join(messages, _message_of_use())
        .join(channels, sa.and_(channels.c.app == uses.c.app, channels.c.channel == uses.c.channel))
        .outerjoin(
            members,
            sa.and_(members.c.app == uses.c.app, members.c.channel == uses.c.channel, members.c.user == ctx.user),
        )
        .where(
            uses.c.app == ctx.app,
            uses.c.file.in_(ids),
            sa.or_(channels.c.public, members.c.user.is_not(None)),
            visible(ctx.user, history_from=history_from),
            readable(ctx.now),
        )
        .distinct()
        .limit(_CHANNELS * len(ids))
    )
    return [(row.file, row.channel) for row in await ctx.db.rows(select)]


async def _reads(ctx: Context, channel: str, known: dict[str, bool]) -> bool:
    if channel not in known:
        try:
            await access(ctx, channel, "channel.read")
        except Refused:
            known[channel] = False
        else:
            known[channel] = True
    return known[channel]


def _message_of_use() -> sa.ColumnElement[bool]:
    return sa.and_(messages.c.app == uses.c.app, messages.c.channel == uses.c.channel, messages.c.seq == uses.c.seq)


def _opened(row: sa.Row[Any], thumbnail: str) -> Opened:
    if not thumbnail:
        return Opened(name=row.name, type=row.type, size=row.size, digest=row.digest)
    for each in _thumbnails.decode(row.thumbnails):
        if each.name == thumbnail:
            return Opened(
                name=f"{row.name}-{thumbnail}.webp", type=each.type, size=each.size, digest=f"{row.digest}-{thumbnail}"
            )
    raise _no_file()


def _is_signed(row: sa.Row[Any], request: OpenSigned) -> bool:
    return hmac.compare_digest(_signature(row.secret, request.expires).encode(), request.signature.encode())


def _signature(secret: str, expires: int) -> str:
    return hmac.new(secret.encode(), str(expires).encode(), hashlib.sha256).hexdigest()


def _no_file() -> Refused:
    return Refused("not_found", "There is no such file, or it is not yours to see.")
