"""Uploads by tus 1.0, over a folder and over S3: resumed, checked, refused, cancelled, raced."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from backchannel.chat import FileLimits, file_limits
from backchannel.chat.files import tus

MIB = 1024 * 1024
TEXT = b"a line of text\n" * 1000


@pytest.fixture
def bounds() -> Any:
    """Sets other limits for one test."""
    yield file_limits
    file_limits(FileLimits())


async def test_a_file_comes_whole(installation: Any) -> None:
    """Begun, sent and fetched: the content is what was sent, also where it is sent in several pieces."""
    alice = installation.person("alice")
    content = TEXT * 400  # 6 MB: more than one piece
    path = await alice.begin(len(content))
    answer = await alice.tus("PATCH", path, content, upload_offset=0)
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(content)))
    fetched = await alice.ask("GET", path)
    assert fetched.status_code == 200
    assert fetched.content == content
    info = await alice.call("file.get", id=path.rpartition("/")[2])
    assert info == {"id": path.rpartition("/")[2], "name": "notes.txt", "type": "text/plain", "size": len(content)}


async def test_progress_is_told_and_an_upload_is_resumed(installation: Any) -> None:
    """`HEAD` tells how far it is; a client goes on from there, and what came twice is refused with the place."""
    alice = installation.person("alice")
    path = await alice.begin(len(TEXT))
    for start, end in ((0, 100), (100, 5000)):
        answer = await alice.tus("PATCH", path, TEXT[start:end], upload_offset=start)
        assert answer.headers["upload-offset"] == str(end)
        head = await alice.tus("HEAD", path)
        assert (head.headers["upload-offset"], head.headers["upload-length"]) == (str(end), str(len(TEXT)))
        assert head.headers["cache-control"] == "no-store"
        assert "upload-expires" in head.headers
    again = await alice.tus("PATCH", path, TEXT[:100], upload_offset=0)
    assert again.status_code == 409
    assert again.json()["details"] == {"reason": "offset", "offset": 5000}
    assert (await alice.tus("PATCH", path, TEXT[5000:], upload_offset=5000)).status_code == 204
    done = await alice.tus("HEAD", path)
    assert done.headers["upload-offset"] == str(len(TEXT))
    assert (await alice.ask("GET", path)).content == TEXT


async def _send_part(installation: Any, person: Any, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin to send all of `TEXT`, and send 3000 bytes of it."""
    headers = {"tus-resumable": "1.0.0", "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    told = "".join(f"{name}: {value}\r\n" for name, value in {**headers, **person.authorization}.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", installation.server.port)
    writer.write(f"PATCH {path} HTTP/1.1\r\nhost: x\r\n{told}content-length: {len(TEXT)}\r\n\r\n".encode())
    writer.write(TEXT[:3000])
    await writer.drain()
    return reader, writer


async def test_what_came_before_a_break_is_kept(
    on_disk: Any, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks loses nothing that the server has read."""
    arriving, taken = tus._arriving, asyncio.Event()

    async def seen(request: Any) -> AsyncIterator[bytes]:
        async for chunk in arriving(request):
            yield chunk
            # Whoever asks for the next one has taken this one.
            taken.set()

    monkeypatch.setattr(tus, "_arriving", seen)
    alice = on_disk.person("alice")
    path = await alice.begin(len(TEXT))
    _, writer = await _send_part(on_disk, alice, path)
    await taken.wait()
    writer.close()

    async def kept() -> bool:
        return bool((await alice.tus("HEAD", path)).headers["upload-offset"] == "3000")

    await until(kept)
    assert (await alice.tus("PATCH", path, TEXT[3000:], upload_offset=3000)).status_code == 204


async def test_who_sends_nothing_any_more_is_not_waited_for(on_disk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is silent in the middle of a body is told so, and what it sent is kept."""
    monkeypatch.setattr(tus, "_SILENCE", 0.2)
    alice = on_disk.person("alice")
    path = await alice.begin(len(TEXT))
    reader, writer = await _send_part(on_disk, alice, path)
    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    assert (await alice.tus("HEAD", path)).headers["upload-offset"] == "3000"


async def test_two_who_send_at_once_write_one_file(installation: Any) -> None:
    """Of pieces for the same place that come at once one counts; the others are told where it stands."""
    alice = installation.person("alice")
    path = await alice.begin(len(TEXT))
    answers = await asyncio.gather(*[alice.tus("PATCH", path, TEXT[:500], upload_offset=0) for _ in range(5)])
    assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409, 409]
    assert (await alice.tus("HEAD", path)).headers["upload-offset"] == "500"
    answers = await asyncio.gather(*[alice.tus("PATCH", path, TEXT[500:], upload_offset=500) for _ in range(3)])
    assert sorted(answer.status_code for answer in answers)[0] == 204
    assert (await alice.ask("GET", path)).content == TEXT


async def test_creation_with_upload_and_what_the_server_can(on_disk: Any) -> None:
    """`OPTIONS` tells version, extensions and bounds; the first bytes may come with the creation."""
    alice = on_disk.person("alice")
    told = await on_disk.http.request("OPTIONS", "/chat/files")
    assert told.status_code == 204
    assert told.headers["tus-version"] == "1.0.0"
    assert set(told.headers["tus-extension"].split(",")) >= {"creation", "expiration", "checksum", "termination"}
    assert told.headers["tus-max-size"] == str(FileLimits().size)
    answer = await alice.tus(
        "POST", "/chat/files", TEXT, upload_length=len(TEXT), content_type="application/offset+octet-stream"
    )
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, str(len(TEXT)))
    assert (await alice.ask("GET", answer.headers["location"])).content == TEXT


async def test_checksums(installation: Any) -> None:
    """Bytes that are not those of the checksum do not count, with 460; those that are do."""
    alice = installation.person("alice")
    path = await alice.begin(len(TEXT))
    right = base64.b64encode(hashlib.sha256(TEXT).digest()).decode()
    wrong = await alice.tus("PATCH", path, TEXT[:-1] + b"x", upload_offset=0, upload_checksum=f"sha256 {right}")
    assert wrong.status_code == 460
    assert (await alice.tus("HEAD", path)).headers["upload-offset"] == "0"
    assert (await alice.tus("PATCH", path, TEXT, upload_offset=0, upload_checksum="crc9 AAAA")).status_code == 400
    assert (await alice.tus("PATCH", path, TEXT, upload_offset=0, upload_checksum=f"sha256 {right}")).status_code == 204
    assert (await alice.ask("GET", path)).content == TEXT


async def test_cancelling_ends_it(installation: Any) -> None:
    """A cancelled upload is gone: it takes no bytes, and has none."""
    alice = installation.person("alice")
    path = await alice.begin(len(TEXT))
    await alice.tus("PATCH", path, TEXT[:50], upload_offset=0)
    assert (await alice.tus("DELETE", path)).status_code == 204
    for answer in (
        await alice.tus("HEAD", path),
        await alice.tus("PATCH", path, TEXT[50:], upload_offset=50),
        await alice.tus("DELETE", path),
        await alice.ask("GET", path),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"tus-resumable": "0.2.2", "upload-length": "5"}, 412),
        ("POST", {"upload-length": "5"}, 412),
        ("POST", {"tus-resumable": "1.0.0"}, 400),
        ("POST", {"tus-resumable": "1.0.0", "upload-length": "-5"}, 400),
        ("POST", {"tus-resumable": "1.0.0", "upload-length": "0"}, 400),
        ("POST", {"tus-resumable": "1.0.0", "upload-defer-length": "1"}, 400),
        ("POST", {"tus-resumable": "1.0.0", "upload-length": "5", "upload-metadata": "filename %%"}, 400),
        ("POST", {"tus-resumable": "1.0.0", "upload-length": str(10**12)}, 413),
    ],
)
async def test_what_is_wrong_is_refused(on_disk: Any, method: str, headers: dict[str, str], status: int) -> None:
    """Another version, no length, nonsense and too much are refused, with a problem that tells the cure."""
    answer = await on_disk.person("alice").ask(method, "/chat/files", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


async def test_more_than_was_said_is_refused(on_disk: Any) -> None:
    """An upload never takes more bytes than it was begun with; told lengths or not."""
    alice = on_disk.person("alice")
    path = await alice.begin(100)
    assert (await alice.tus("PATCH", path, TEXT, upload_offset=0)).status_code == 413

    async def body() -> AsyncIterator[bytes]:
        yield TEXT

    headers = {"tus-resumable": "1.0.0", "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    answer = await alice.ask("PATCH", path, content=body(), headers=headers)
    assert answer.status_code == 413
    wrong = await alice.ask("PATCH", path, content=b"x", headers={**headers, "content-type": "text/plain"})
    assert wrong.status_code == 415


async def test_others_do_not_know_of_it(on_disk: Any) -> None:
    """Without a token it is 401; with somebody else's an upload is not there, for no method."""
    alice, bob = on_disk.person("alice"), on_disk.person("bob")
    path = await alice.begin(len(TEXT))
    tus = {"tus-resumable": "1.0.0"}
    assert (await on_disk.http.request("HEAD", path, headers=tus)).status_code == 401
    assert (await on_disk.http.request("POST", "/chat/files", headers={**tus, "upload-length": "5"})).status_code == 401
    for answer in (
        await bob.tus("HEAD", path),
        await bob.tus("PATCH", path, TEXT, upload_offset=0),
        await bob.tus("DELETE", path),
        await bob.ask("GET", path),
    ):
        assert answer.status_code == 404
    assert (await alice.tus("HEAD", path)).headers["upload-offset"] == "0"


async def test_content_must_be_what_it_is_declared_to_be(installation: Any, photo: Callable[..., bytes]) -> None:
    """A script that calls itself a picture, or a picture that calls itself a text, is refused and removed."""
    alice = installation.person("alice")
    for content, type_ in (
        (b"<script>alert(1)</script>", "image/png"),
        (photo(), "text/plain"),
        (photo(), "image/png"),
    ):
        path = await alice.begin(len(content), "x", type_)
        answer = await alice.tus("PATCH", path, content, upload_offset=0)
        assert answer.status_code == 400
        assert answer.json()["details"]["reason"] == "content"
        assert (await alice.tus("HEAD", path)).status_code == 404
    assert (await alice.call("file.list"))["files"] == []
    assert (await alice.call("file.list"))["used"] == 0


async def test_photos_lose_their_place_and_stand_upright(installation: Any, photo: Callable[..., bytes]) -> None:
    """No EXIF, no GPS, no comment; turned as the camera was held; with thumbnails that fit their bounds."""
    alice = installation.person("alice")
    content = photo()
    assert b"ACME Cameras" in content
    file = await alice.upload(content, "dog.jpg", "image/jpeg")
    kept = (await alice.ask("GET", f"/chat/files/{file}")).content
    with Image.open(io.BytesIO(kept)) as image:
        assert image.size == (200, 400)
        assert not image.getexif()
    assert b"ACME Cameras" not in kept
    assert b"at home" not in kept
    info = await alice.call("file.get", id=file)
    assert (info["width"], info["height"], info["size"]) == (200, 400, len(kept))
    assert [each["name"] for each in info["thumbnails"]] == ["small"]
    small = await alice.ask("GET", f"/chat/files/{file}/small")
    assert small.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(small.content)) as image:
        assert image.size == (80, 160)
    assert (await alice.ask("GET", f"/chat/files/{file}/huge")).status_code == 404


async def test_a_decompression_bomb_is_refused(on_disk: Any, bounds: Any) -> None:
    """A small file with more pixels than are allowed is refused by its head, and does not stay."""
    bounds(FileLimits(pixels=1_000_000))
    alice = on_disk.person("alice")
    into = io.BytesIO()
    Image.new("1", (8000, 8000)).save(into, "PNG")
    path = await alice.begin(len(into.getvalue()), "bomb.png", "image/png")
    answer = await alice.tus("PATCH", path, into.getvalue(), upload_offset=0)
    assert answer.status_code == 413
    assert answer.json()["details"] == {"reason": "pixels", "most": 1_000_000}
    assert (await alice.tus("HEAD", path)).status_code == 404


async def test_an_upload_that_was_not_finished_is_by_whoever_asks(
    on_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes are there, and the server died before it made a file of them: the next `HEAD` does."""
    alice = on_disk.person("alice")
    path = await alice.begin(len(TEXT))
    with monkeypatch.context() as patched:

        async def dies(*_arguments: Any) -> None:
            raise httpx2.HTTPError("killed")

        patched.setattr(tus, "finish", dies)
        assert (await alice.tus("PATCH", path, TEXT, upload_offset=0)).status_code == 500
    assert (await alice.ask("GET", path)).status_code == 404
    heads = await asyncio.gather(*[alice.tus("HEAD", path) for _ in range(3)])
    assert [head.headers["upload-offset"] for head in heads] == [str(len(TEXT))] * 3
    assert (await alice.ask("GET", path)).content == TEXT


async def test_a_storage_that_fails_loses_nothing(on_disk: Any, tmp_path: Any) -> None:
    """Bytes that could not be kept do not count: the client is told to try again, and then it works."""
    alice = on_disk.person("alice")
    path = await alice.begin(len(TEXT))
    blocker = tmp_path / "files"
    blocker.write_text("in the way")
    answer = await alice.tus("PATCH", path, TEXT, upload_offset=0)
    assert answer.status_code == 503
    assert answer.json()["retry"]
    assert (await alice.tus("HEAD", path)).headers["upload-offset"] == "0"
    blocker.unlink()
    assert (await alice.tus("PATCH", path, TEXT, upload_offset=0)).status_code == 204
