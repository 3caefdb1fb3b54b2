"""Files in an S3-compatible store, by the obstore library. Keys and the region come from the `AWS_…` variables."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from .storage import CHUNK, StorageFailed

if TYPE_CHECKING:
    from obstore import GetOptions

__all__ = ["S3Storage"]

_WHOLE: Final = 5 * 1024 * 1024
"""Up to so many bytes are sent in one request; more in pieces of this size."""
_CONNECT: Final = timedelta(seconds=5)
_REQUEST: Final = timedelta(seconds=30)


class S3Storage:
    """Keeps bytes in a bucket, below a prefix.

    Args:
        bucket: its name.
        prefix: what keys begin with; may be empty.

    Raises:
        StorageFailed: the variables are wrong.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "connect_timeout": _CONNECT,
                    "timeout": _REQUEST,
                },
                retry_config={"max_retries": 2, "retry_timeout": _REQUEST},
            )
        except BaseError as exc:
            raise StorageFailed(f"The bucket {bucket!r} cannot be used; see the AWS_ variables: {exc}") from exc

    async def put(self, place: str, chunks: AsyncIterator[bytes]) -> None:
        """See `Storage.put`."""
        first = bytearray()
        async for chunk in chunks:
            first += chunk
            if len(first) > _WHOLE:
                break
        try:
            if len(first) <= _WHOLE:
                await obstore.put_async(self._store, place, bytes(first), use_multipart=False)
            else:
                await obstore.put_async(self._store, place, _rest(bytes(first), chunks), chunk_size=_WHOLE)
        except BaseError as exc:
            raise self._failed(place, exc) from exc

    async def read(self, place: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `Storage.read`."""
        if end is not None and end <= start:
            return
        try:
            # A range that begins at the start may be all there is, which some stores answer as no range at all.
            options: GetOptions | None = None
            if start:
                options = {"range": {"offset": start} if end is None else (start, end)}
            found = await obstore.get_async(self._store, place, options=options)
            left = None if end is None else end - start
            async for piece in found.stream(min_chunk_size=CHUNK):
                chunk = bytes(piece) if left is None else bytes(piece)[:left]
                yield chunk
                if left is not None:
                    left -= len(chunk)
                    if not left:
                        return
        except (BaseError, FileNotFoundError) as exc:
            raise self._failed(place, exc) from exc

    async def remove(self, below: str) -> None:
        """See `Storage.remove`."""
        try:
            async for found in obstore.list(self._store, f"{below}/", chunk_size=1000):
                await obstore.delete_async(self._store, [one["path"] for one in found])
        except BaseError as exc:
            raise self._failed(below, exc) from exc

    def _failed(self, place: str, exc: BaseException) -> StorageFailed:
        return StorageFailed(f"{place} in the bucket {self._bucket!r}: {str(exc).partition('Debug source')[0].strip()}")


async def _rest(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk
