"""Storage: where the bytes of files are, by `place`. One interface; a folder and S3-compatible stores implement it.

Places are `<app>/uploads/<id>/<piece>` and `<app>/files/<id>/<name>`: all that belongs to one upload or file is below
one of them, and is removed by it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

import structlog

from backchannel import BackchannelError, Refused, Settings

__all__ = ["CHUNK", "Storage", "StorageFailed", "file_place", "open_storage", "upload_place"]

CHUNK: Final = 256 * 1024
"""Bytes that are read at a time."""

_S3: Final = "s3://"


_log = structlog.get_logger(__name__)


class StorageFailed(Refused):
    """The storage does not answer, or has not what it should have; the log has the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__("unavailable", "The storage of files does not answer; try again later.", retry_after=5.0)
        self.reason = reason
        _log.error("the storage of files failed", reason=reason)


class Storage(Protocol):
    """Keeps bytes. Every method raises `StorageFailed`. May be used from any event loop."""

    async def put(self, place: str, chunks: AsyncIterator[bytes]) -> None:
        """Write all of something; it is there whole and lasting when this returns, and not at all before.

        What was there is replaced. Cancelling, or an iterator that raises, leaves nothing of the new.
        """

    def read(self, place: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks; both are within what is there."""

    async def remove(self, below: str) -> None:
        """Remove whatever is below a place; nothing there is no error."""


def upload_place(app: str, upload: str) -> str:
    """What the pieces of an upload are below."""
    return f"{app}/uploads/{upload}"


def file_place(app: str, file: str) -> str:
    """What a file and its thumbnails are below."""
    return f"{app}/files/{file}"


def open_storage(settings: Settings) -> Storage:
    """The storage that the operator set: the same object for the same place.

    Raises:
        BackchannelError: the place is no such thing, or a library is not installed; the message tells the cure.
    """
    return _opened(settings.files or str(settings.data_folder / "files"))


@lru_cache(maxsize=64)
def _opened(place: str) -> Storage:
    if place.startswith(_S3):
        try:
            from .s3 import S3Storage
        except ModuleNotFoundError as exc:
            raise BackchannelError("Files on S3 need obstore: pip install 'backchannel[s3,server]'.") from exc
        bucket, _, prefix = place.removeprefix(_S3).partition("/")
        return S3Storage(bucket, prefix.strip("/"))
    from .disk import DiskStorage

    return DiskStorage(Path(place).expanduser())
