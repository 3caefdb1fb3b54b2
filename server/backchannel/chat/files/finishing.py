"""Finishing: a complete upload is put together, looked at, and kept as a file. Runs where the bytes came in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from backchannel import Asker, Refused, Settings

from .content import HEAD, TextCheck, media_type, recognised, taken
from .contract import FileInfo, Thumbnail
from .images import FORMATS, process
from .internal import DropUpload, FinishUpload, UploadState
from .limits import FileLimits, limits
from .storage import Storage, StorageFailed, file_place

__all__ = ["finish"]

_images: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")
"""One image at a time: each may take hundreds of megabytes."""

_under_way: dict[str, asyncio.Task[FileInfo]] = {}
"""Uploads that are being finished in this process: who asks again waits for the same."""


async def finish(settings: Settings, storage: Storage, asker: Asker, upload: UploadState) -> FileInfo:
    """Make a complete upload a file. Safe to repeat, also at once and in several processes.

    It goes on when whoever asked is gone.

    Raises:
        Refused: `invalid` or `too_large`, its content is not what may come; the upload is removed then. `unavailable`,
            the storage does not answer; asking again tries again.
        StorageFailed: the storage does not answer.
    """
    task = _under_way.get(upload.id)
    if task is None:
        task = asyncio.get_running_loop().create_task(_finish(settings, storage, asker, upload), name="finish")
        _under_way[upload.id] = task
        task.add_done_callback(lambda done: _ended(upload.id, done))
    return await asyncio.shield(task)


def _ended(upload: str, task: asyncio.Task[FileInfo]) -> None:
    del _under_way[upload]
    if not task.cancelled():
        # Whoever waits is told; when all are gone, whoever asks next tries again.
        task.exception()


async def _finish(settings: Settings, storage: Storage, asker: Asker, upload: UploadState) -> FileInfo:
    try:
        kept = await _keep(storage, file_place(settings.app, upload.id), upload, limits())
    except Refused as refused:
        if refused.code in ("invalid", "too_large"):
            await asker.call(DropUpload(id=upload.id))
        raise
    return await asker.call(kept)


async def _keep(storage: Storage, place: str, upload: UploadState, bounds: FileLimits) -> FinishUpload:
    """See what an upload is, and write it where it stays. Raises `Refused`."""
    content = _Content(storage, upload)
    head = await content.head()
    found = recognised(head)
    if found in FORMATS and upload.type.startswith(("image/", "application/octet-stream")):
        type_ = media_type(upload.type, head, is_text=False)
        _see_taken(type_, bounds)
        return await _keep_image(storage, place, upload, type_, bounds)
    # It is written while it is looked at; where it is refused, what was written is removed with the upload.
    await storage.put(f"{place}/original", content.all())
    type_ = media_type(upload.type, head, is_text=content.text.end())
    _see_taken(type_, bounds)
    return FinishUpload(id=upload.id, type=type_, size=upload.size, digest=content.hash.hexdigest())


async def _keep_image(
    storage: Storage, place: str, upload: UploadState, type_: str, bounds: FileLimits
) -> FinishUpload:
    if upload.size > bounds.image_size:
        raise Refused(
            "too_large",
            f"An image has at most {bounds.image_size} bytes.",
            details={"reason": "size", "most": bounds.image_size},
        )
    whole = b"".join([chunk async for chunk in _Content(storage, upload).all()])
    done = await asyncio.get_running_loop().run_in_executor(_images, process, whole, type_, bounds)
    for picture in (done.image, *done.thumbnails):
        await storage.put(f"{place}/{picture.name}", _once(picture.content))
    return FinishUpload(
        id=upload.id,
        type=type_,
        size=len(done.image.content),
        digest=hashlib.sha256(done.image.content).hexdigest(),
        width=done.image.width,
        height=done.image.height,
        thumbnails=[
            Thumbnail(name=each.name, type=each.type, width=each.width, height=each.height, size=len(each.content))
            for each in done.thumbnails
        ],
    )


def _see_taken(type_: str, bounds: FileLimits) -> None:
    if not taken(type_, bounds.types):
        raise Refused(
            "invalid",
            f"Files of type {type_} are not taken; these are: {', '.join(bounds.types)}.",
            details={"reason": "type", "types": list(bounds.types)},
        )


class _Content:
    """The bytes of a complete upload, in order; what is to be known of all of them is found while they pass."""

    def __init__(self, storage: Storage, upload: UploadState) -> None:
        self.text = TextCheck()
        self.hash = hashlib.sha256()
        self._storage = storage
        self._pieces = upload.pieces

    async def head(self) -> bytes:
        """The first bytes."""
        head = b""
        for piece in self._pieces:
            async for chunk in self._storage.read(piece.place, 0, min(piece.size, HEAD - len(head))):
                head += chunk
            if len(head) >= HEAD:
                break
        return head

    async def all(self) -> AsyncIterator[bytes]:
        """All bytes. Raises `StorageFailed` where a piece is not what it was."""
        for piece in self._pieces:
            size = 0
            async for chunk in self._storage.read(piece.place):
                size += len(chunk)
                self.hash.update(chunk)
                self.text.feed(chunk)
                yield chunk
            if size != piece.size:
                raise StorageFailed(f"{piece.place} has {size} bytes in place of {piece.size}.")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
