"""One suite for every storage: a folder, and an S3-compatible store (`rclone serve s3`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backchannel import Settings
from backchannel.chat.files.disk import DiskStorage
from backchannel.chat.files.storage import Storage, StorageFailed, open_storage

LARGE = bytes(range(256)) * 4096 * 12  # 12 MiB: more than S3 takes in one part


@pytest.fixture
def storage(place: str) -> Storage:
    """The storage that the setting names."""
    return open_storage(Settings(files=place))


async def _chunks(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def _read(storage: Storage, place: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in storage.read(place, start, end)])


@pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "one byte", "12 MiB"])
async def test_what_is_put_is_read(storage: Storage, content: bytes) -> None:
    """What was put is there, whole, and any range of it can be had."""
    await storage.put("main/files/a/original", _chunks(content))
    assert await _read(storage, "main/files/a/original") == content
    for start, end in ((0, 1), (5, 300_005), (len(content) - 3, None), (3, 3)):
        if start == end or 0 <= start < (end or len(content)) <= len(content):
            assert await _read(storage, "main/files/a/original", start, end) == content[start:end]


async def test_putting_again_replaces(storage: Storage) -> None:
    """The new content is there, and nothing of the old."""
    await storage.put("main/files/a/original", _chunks(b"the old content"))
    await storage.put("main/files/a/original", _chunks(b"new"))
    assert await _read(storage, "main/files/a/original") == b"new"


@pytest.mark.parametrize("size", [10, len(LARGE)], ids=["small", "large"])
async def test_what_breaks_off_leaves_nothing(storage: Storage, size: int) -> None:
    """A source that fails leaves what was there before, and raises what it raised."""

    async def broken() -> AsyncIterator[bytes]:
        async for chunk in _chunks(LARGE[:size]):
            yield chunk
        raise ConnectionResetError

    await storage.put("main/files/a/original", _chunks(b"before"))
    with pytest.raises((ConnectionResetError, StorageFailed)):
        await storage.put("main/files/a/original", broken())
    with pytest.raises((ConnectionResetError, StorageFailed)):
        await storage.put("main/files/b/original", broken())
    assert await _read(storage, "main/files/a/original") == b"before"
    with pytest.raises(StorageFailed):
        await _read(storage, "main/files/b/original")


async def test_removing_takes_all_below_and_no_more(storage: Storage) -> None:
    """Whatever is below a place goes; a place that begins with the same letters stays; nothing there is no error."""
    for place in ("main/files/a/original", "main/files/a/small", "main/files/ab/original"):
        await storage.put(place, _chunks(b"content"))
    await storage.remove("main/files/a")
    await storage.remove("main/files/a")
    assert await _read(storage, "main/files/ab/original") == b"content"
    for place in ("main/files/a/original", "main/files/a/small"):
        with pytest.raises(StorageFailed):
            await _read(storage, place)


async def test_many_at_once(storage: Storage) -> None:
    """Puts and reads that run at once do not disturb each other."""
    contents = {f"main/files/f{n}/original": bytes([n]) * 50_000 for n in range(20)}
    await asyncio.gather(*[storage.put(place, _chunks(content)) for place, content in contents.items()])
    assert await asyncio.gather(*[_read(storage, place) for place in contents]) == list(contents.values())


@pytest.mark.parametrize("place", ["../outside", "main/../../outside", "/etc/passwd", "main//a", "", "main/a\\b"])
async def test_no_place_is_outside_of_the_folder(tmp_path: Path, place: str) -> None:
    """A place that would lead out of the folder is refused, whoever made it."""
    storage = DiskStorage(tmp_path / "kept")
    with pytest.raises(StorageFailed):
        await storage.put(place, _chunks(b"content"))
    assert not (tmp_path / "outside").exists()


async def test_a_refusal_tells_nothing_of_the_inside(tmp_path: Path) -> None:
    """What clients are told names neither a path nor a bucket."""
    with pytest.raises(StorageFailed) as caught:
        await _read(DiskStorage(tmp_path), "main/files/a/original")
    assert caught.value.code == "unavailable"
    assert str(tmp_path) not in str(caught.value)
    assert str(tmp_path) in caught.value.reason
