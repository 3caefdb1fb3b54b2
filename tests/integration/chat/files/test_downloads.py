"""Downloads: who may have a file, ranges and conditions, what browsers are told, links without a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from backchannel import Settings

TEXT = b"0123456789" * 1000


async def _channel(owner: Any, *members: str, **fields: Any) -> str:
    info = await owner.call("channel.create", name="Tea", members=list(members), public=False, **fields)
    return str(info["channel"])


async def _sent(owner: Any, channel: str, *files: str) -> dict[str, Any]:
    message: dict[str, Any] = await owner.call("message.send", channel=channel, text="look", files=list(files))
    return message


async def test_who_sees_the_message_may_have_the_file(installation: Any) -> None:
    """Before it is sent it is its owner's; then the members'; nobody else's, and no more once it is deleted."""
    alice, bob, mallory = (installation.person(name) for name in ("alice", "bob", "mallory"))
    file = await alice.upload(TEXT)
    channel = await _channel(alice, "bob")
    assert (await bob.ask("GET", f"/chat/files/{file}")).status_code == 404
    message = await _sent(alice, channel, file)
    assert [each["id"] for each in message["files"]] == [file]
    assert (await bob.ask("GET", f"/chat/files/{file}")).content == TEXT
    assert (await bob.call("file.get", id=file))["name"] == "notes.txt"
    assert (await mallory.ask("GET", f"/chat/files/{file}")).status_code == 404
    assert (await installation.http.get(f"/chat/files/{file}")).status_code == 401
    assert (await mallory.ask("POST", "/v1/file.get", json={"id": file})).status_code == 404
    assert (await mallory.call("file.urls", ids=[file])) == {"files": []}
    await alice.call("message.delete", channel=channel, seq=message["seq"])
    assert (await bob.ask("GET", f"/chat/files/{file}")).status_code == 404
    assert (await alice.ask("GET", f"/chat/files/{file}")).status_code == 200


async def test_who_left_may_not_have_it(on_disk: Any) -> None:
    """A right ends with the membership."""
    alice, bob = on_disk.person("alice"), on_disk.person("bob")
    file = await alice.upload(TEXT)
    channel = await _channel(alice, "bob")
    await _sent(alice, channel, file)
    assert (await bob.ask("GET", f"/chat/files/{file}")).status_code == 200
    await bob.call("channel.leave", channel=channel)
    assert (await bob.ask("GET", f"/chat/files/{file}")).status_code == 404


async def test_ranges(installation: Any) -> None:
    """One range is answered with 206 and just those bytes; one beyond the end with 416; nonsense with everything."""
    alice = installation.person("alice")
    path = f"/chat/files/{await alice.upload(TEXT)}"
    for wanted, start, end in (("0-0", 0, 1), ("10-19", 10, 20), ("9990-", 9990, 10_000), ("-5", 9995, 10_000),
                               ("9000-99999", 9000, 10_000)):  # fmt: skip
        answer = await alice.ask("GET", path, headers={"range": f"bytes={wanted}"})
        assert answer.status_code == 206
        assert answer.content == TEXT[start:end]
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/10000"
    for wanted in ("10000-", "20000-20001", "-0"):
        answer = await alice.ask("GET", path, headers={"range": f"bytes={wanted}"})
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10000")
    for wanted in ("bytes=5-2", "bytes=-", "bytes=1-2,4-5", "lines=1-2", "bytes=a-b"):
        answer = await alice.ask("GET", path, headers={"range": wanted})
        assert (answer.status_code, answer.content) == (200, TEXT)


async def test_conditions_and_head(on_disk: Any) -> None:
    """An entity tag saves the bytes; a range that is for another one brings all; `HEAD` brings the headers alone."""
    alice = on_disk.person("alice")
    path = f"/chat/files/{await alice.upload(TEXT)}"
    head = await alice.ask("HEAD", path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10000")
    tag = head.headers["etag"]
    for told in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = await alice.ask("GET", path, headers={"if-none-match": told})
        assert (answer.status_code, answer.content) == (304, b"")
    assert (await alice.ask("GET", path, headers={"if-none-match": '"other"'})).status_code == 200
    for told, status in ((tag, 206), ('"other"', 200)):
        answer = await alice.ask("GET", path, headers={"range": "bytes=0-4", "if-range": told})
        assert answer.status_code == status


async def test_browsers_run_nothing_in_it(on_disk: Any, photo: Callable[..., bytes]) -> None:
    """Only pictures, sound and films are shown; whatever else is saved, nothing is guessed, nothing runs."""
    alice = on_disk.person("alice")
    page = b"<html><script>alert(document.cookie)</script></html>"
    file = await alice.upload(page, 'e\u00e4"evil".html', "text/html")
    answer = await alice.ask("GET", f"/chat/files/{file}")
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''e%C3%A4%22evil%22.html" in answer.headers["content-disposition"]
    assert 'filename="e__evil_.html"' in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    picture = await alice.upload(photo(), "dog.jpg", "image/jpeg")
    shown = await alice.ask("GET", f"/chat/files/{picture}")
    assert shown.headers["content-disposition"].startswith("inline; ")
    saved = await alice.ask("GET", f"/chat/files/{picture}?download")
    assert saved.headers["content-disposition"].startswith("attachment; ")


async def test_signed_urls(on_disk: Any, photo: Callable[..., bytes]) -> None:
    """A URL that was signed needs no token, for this file and its thumbnails, for a while; a changed one is refused."""
    alice, bob = on_disk.person("alice"), on_disk.person("bob")
    file, other = await alice.upload(photo(), "dog.jpg", "image/jpeg"), await alice.upload(TEXT)
    channel = await _channel(alice, "bob")
    message = await _sent(alice, channel, file)
    [told] = (await bob.call("file.urls", ids=[file, other]))["files"]
    assert told["id"] == file
    path, _, query = told["url"].partition("?")
    fetched = await on_disk.http.get(told["url"])
    assert fetched.status_code == 200
    assert fetched.headers["content-type"] == "image/jpeg"
    assert fetched.headers["cache-control"] == "private, max-age=300"
    assert (await on_disk.http.get(f"{path}/small?{query}")).status_code == 200
    for url in (
        f"/chat/files/{other}?{query}",
        told["url"][:-1] + ("0" if told["url"][-1] != "0" else "1"),
        told["url"].replace(f"expires={told['expires']}", f"expires={told['expires'] + 1}"),
    ):
        assert (await on_disk.http.get(url)).status_code == 404
    assert (await on_disk.http.get(f"{path}?expires=x&signature=y")).status_code == 400
    await alice.call("message.delete", channel=channel, seq=message["seq"])
    assert (await on_disk.http.get(told["url"])).status_code == 404


async def test_pages_of_other_origins_may_upload(tmp_path: Path, installed: Any) -> None:
    """Where an origin is allowed, a browser's preflight for tus is answered, and its headers may be read."""
    settings = Settings(dev=True, port=0, data=str(tmp_path), drain=0.5, origins=("https://example.org",))
    async with installed(settings) as made:
        answer = await made.http.options(
            "/chat/files/x",
            headers={
                "origin": "https://example.org",
                "access-control-request-method": "PATCH",
                "access-control-request-headers": "authorization,tus-resumable,upload-offset,content-type",
            },
        )
        assert answer.status_code == 200
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        plain = await made.http.options("/chat/files", headers={"origin": "https://example.org"})
        assert "Upload-Offset" in plain.headers["access-control-expose-headers"]
        assert "Location" in plain.headers["access-control-expose-headers"]
