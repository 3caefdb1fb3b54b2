"""Uploads: begun, filled piece by piece, made a file or dropped. Their bytes go past the handlers, into the storage."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..common import app
from .attach import describe
from .content import taken
from .contract import CancelUpload, CreateUpload, FileInfo, RemovedFile, Upload
from .internal import AppendPiece, DropUpload, FinishUpload, GetUpload, Piece, UploadState
from .limits import limits
from .tables import files, garbage, parts, uploads

__all__ = ["FILES_PATH", "GARBAGE_AGE", "PIECES", "room_taken", "throw_away"]

FILES_PATH: Final = "/chat/files"
"""Where uploads are made, and files are had."""
PIECES: Final = 10_000
"""Pieces in which one upload may come."""
GARBAGE_AGE: Final = 600_000
"""Milliseconds from when something is removed until its bytes are: who is still writing to it has ended by then."""


@app.handle(CreateUpload)
async def create_upload(ctx: Context, request: CreateUpload) -> Upload:
    """Begin to upload a file: see that it may come at all, and that there is room for it."""
    bounds = limits()
    if request.size > bounds.size:
        raise Refused(
            "too_large",
            f"A file has at most {bounds.size} bytes.",
            details={"reason": "size", "most": bounds.size},
        )
    if request.type != "application/octet-stream" and not taken(request.type, bounds.types):
        raise Refused(
            "invalid",
            f"Files of type {request.type} are not taken; these are: {', '.join(bounds.types)}.",
            details={"reason": "type", "types": list(bounds.types)},
        )
    if ctx.user:
        used, under_way = await room_taken(ctx)
        if under_way >= bounds.uploads:
            raise Refused(
                "limit_exceeded",
                f"{under_way} uploads are under way already; complete or cancel one.",
                details={"reason": "uploads", "most": bounds.uploads},
            )
        if used + request.size > bounds.quota:
            raise Refused(
                "too_large",
                f"Your files take {used} of {bounds.quota} bytes; remove some first.",
                details={"reason": "quota", "used": used, "quota": bounds.quota},
            )
    upload = ctx.new_id()
    expires = ctx.now + bounds.upload_lifetime * 1000
    ctx.insert(
        uploads,
        id=upload,
        user=ctx.user,
        name=request.name,
        type=request.type,
        size=request.size,
        offset=0,
        pieces=0,
        created=ctx.now,
        expires=expires,
    )
    return Upload(id=upload, url=f"{FILES_PATH}/{upload}", size=request.size, offset=0, expires=expires)


async def room_taken(ctx: Context) -> tuple[int, int]:
    """The bytes of all files and uploads of the asking user, and how many uploads there are. One statement."""
    mine = (files.c.app == ctx.app, files.c.user == ctx.user, files.c.doomed.is_(None))
    coming = (uploads.c.app == ctx.app, uploads.c.user == ctx.user)
    zero = sa.literal(0)
    row: Any = await ctx.db.row(
        sa.select(
            sa.select(sa.func.coalesce(sa.func.sum(files.c.size), zero)).where(*mine).scalar_subquery(),
            sa.select(sa.func.coalesce(sa.func.sum(uploads.c.size), zero)).where(*coming).scalar_subquery(),
            sa.select(sa.func.count()).select_from(uploads).where(*coming).scalar_subquery(),
        )
    )
    assert row is not None
    return int(row[0]) + int(row[1]), int(row[2])


@app.handle(GetUpload)
async def get_upload(ctx: Context, request: GetUpload) -> UploadState:
    """An upload of one's own as it stands."""
    row = await ctx.db.get(uploads, id=request.id)
    if row is not None and row.user == ctx.user and row.expires > ctx.now:
        state = _state(row)
        if row.offset == row.size:
            select = sa.select(parts).where(parts.c.app == ctx.app, parts.c.upload == row.id).order_by(parts.c.offset)
            state.pieces = [Piece(each.offset, each.size, each.place) for each in await ctx.db.rows(select)]
        return state
    file = await ctx.db.get(files, id=request.id)
    if file is not None and file.user == ctx.user:
        return UploadState(
            id=file.id,
            name=file.name,
            type=file.type,
            size=file.uploaded,
            offset=file.uploaded,
            expires=0,
            file=describe(file),
        )
    raise _no_upload()


@app.handle(AppendPiece)
async def append_piece(ctx: Context, request: AppendPiece) -> UploadState:
    """Take a piece, if it begins where the upload ends."""
    row = await ctx.db.get(uploads, id=request.id)
    if row is None or row.user != ctx.user or row.expires <= ctx.now:
        raise _no_upload()
    if request.offset != row.offset:
        raise Refused(
            "conflict",
            f"The upload has {row.offset} bytes, and this piece begins at {request.offset}; go on from there.",
            details={"reason": "offset", "offset": row.offset},
        )
    if request.offset + request.size > row.size:
        raise Refused(
            "too_large",
            f"The upload is to have {row.size} bytes, and these are more.",
            details={"reason": "length", "size": row.size},
        )
    if row.pieces >= PIECES:
        raise Refused(
            "invalid", f"An upload comes in at most {PIECES} pieces; send larger ones.", details={"reason": "pieces"}
        )
    ctx.insert(parts, upload=row.id, offset=request.offset, size=request.size, place=request.place)
    offset = row.offset + request.size
    ctx.update(uploads, {"id": row.id}, offset=offset, pieces=row.pieces + 1)
    state = _state(row)
    state.offset = offset
    return state


@app.handle(FinishUpload)
async def finish_upload(ctx: Context, request: FinishUpload) -> FileInfo:
    """Make a complete upload a file; again, it is the same file."""
    file = await ctx.db.get(files, id=request.id)
    if file is not None and file.user == ctx.user:
        return describe(file)
    row = await ctx.db.get(uploads, id=request.id)
    if row is None or row.user != ctx.user or row.offset != row.size:
        raise _no_upload()
    ctx.delete(uploads, {"id": row.id})
    ctx.delete(parts, {"upload": row.id})
    throw_away(ctx, f"uploads/{row.id}")
    ctx.insert(
        files,
        id=row.id,
        user=row.user,
        name=row.name,
        type=request.type,
        size=request.size,
        uploaded=row.size,
        digest=request.digest,
        width=request.width,
        height=request.height,
        thumbnails=msgspec.json.encode(request.thumbnails).decode(),
        secret=secrets.token_hex(16),
        created=ctx.now,
        checked=ctx.now + limits().unattached_lifetime * 1000,
        doomed=None,
    )
    return FileInfo(
        id=row.id,
        name=row.name,
        type=request.type,
        size=request.size,
        width=request.width,
        height=request.height,
        thumbnails=request.thumbnails,
    )


@app.handle(CancelUpload)
async def cancel_upload(ctx: Context, request: CancelUpload) -> RemovedFile:
    """Drop an upload of one's own."""
    row = await ctx.db.get(uploads, id=request.id)
    if row is None or row.user != ctx.user:
        raise _no_upload()
    _drop(ctx, row.id)
    return RemovedFile(row.id)


@app.handle(DropUpload)
async def drop_upload(ctx: Context, request: DropUpload) -> bool:
    """Drop an upload; one that is gone already is no refusal."""
    row = await ctx.db.get(uploads, id=request.id)
    if row is None or row.user != ctx.user or (request.expired and row.expires > ctx.now):
        return False
    _drop(ctx, row.id)
    return True


def _drop(ctx: Context, upload: str) -> None:
    ctx.delete(uploads, {"id": upload})
    ctx.delete(parts, {"upload": upload})
    throw_away(ctx, f"uploads/{upload}")
    # Somebody may have been about to make a file of it.
    throw_away(ctx, f"files/{upload}")


def throw_away(ctx: Context, what: str) -> None:
    """Declare that the storage may drop what is below a place of this app, soon."""
    ctx.insert(garbage, id=what, due=ctx.now + GARBAGE_AGE)


def _state(row: sa.Row[Any]) -> UploadState:
    return UploadState(id=row.id, name=row.name, type=row.type, size=row.size, offset=row.offset, expires=row.expires)


def _no_upload() -> Refused:
    return Refused("not_found", "There is no such upload of yours: it was never begun, is cancelled, or has expired.")
