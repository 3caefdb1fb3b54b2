"""Files in a folder. Many processes may share it, also over a network file system."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from .storage import CHUNK, StorageFailed

__all__ = ["DiskStorage"]

_PENDING: Final = ".pending-"
"""What the names of files begin with that are being written."""


class DiskStorage:
    """Keeps bytes below a folder, which is made when it is needed.

    A write goes to a file of another name, is brought to the disk and only then renamed: a crash leaves the whole or
    nothing. All waiting for the disk is done in threads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    async def put(self, place: str, chunks: AsyncIterator[bytes]) -> None:
        """See `Storage.put`."""
        path = self._path(place)
        pending = path.with_name(f"{_PENDING}{secrets.token_hex(8)}")
        try:
            file = await asyncio.to_thread(_begin, pending)
            try:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_end, file, pending, path)
            finally:
                file.close()
        except OSError as exc:
            raise StorageFailed(f"{path} cannot be written: {exc}") from exc
        finally:
            with contextlib.suppress(OSError):
                pending.unlink(missing_ok=True)

    async def read(self, place: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `Storage.read`."""
        path = self._path(place)
        try:
            file = await asyncio.to_thread(path.open, "rb")
            try:
                await asyncio.to_thread(file.seek, start)
                left = None if end is None else end - start
                while left is None or left > 0:
                    chunk = await asyncio.to_thread(file.read, CHUNK if left is None else min(CHUNK, left))
                    if not chunk:
                        break
                    if left is not None:
                        left -= len(chunk)
                    yield chunk
            finally:
                file.close()
        except OSError as exc:
            raise StorageFailed(f"{path} cannot be read: {exc}") from exc

    async def remove(self, below: str) -> None:
        """See `Storage.remove`."""
        path = self._path(below)
        try:
            await asyncio.to_thread(shutil.rmtree, path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise StorageFailed(f"{path} cannot be removed: {exc}") from exc

    def _path(self, place: str) -> Path:
        names = place.split("/")
        if any(name in ("", ".", "..") or "\\" in name or "\0" in name for name in names):
            raise StorageFailed(f"{place!r} is no place.")
        return self.folder.joinpath(*names)


def _begin(pending: Path) -> IO[bytes]:
    pending.parent.mkdir(parents=True, exist_ok=True)
    return pending.open("xb")


def _end(file: IO[bytes], pending: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    pending.replace(path)
    # The name is in the folder, which is brought to the disk by itself.
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
