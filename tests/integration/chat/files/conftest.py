"""Files over HTTP: real servers, once with a folder and once with an S3-compatible store behind them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from backchannel import Server, Settings
from backchannel.chat import app
from backchannel.testing.services import S3Server

TUS = {"tus-resumable": "1.0.0"}


class Person:
    """A user with a token, who speaks HTTP."""

    def __init__(self, server: Server, http: httpx2.AsyncClient, user: str) -> None:
        self.http = http
        self.user = user
        self.authorization = {"authorization": f"Bearer {server.issue_token(user, lifetime=600)[0]}"}

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A request with the token, and further headers."""
        headers = {**self.authorization, **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def tus(self, method: str, path: str, content: bytes = b"", **headers: Any) -> httpx2.Response:
        """A request of tus; underscores in names of headers stand for dashes."""
        named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        if method == "PATCH":
            named.setdefault("content-type", "application/offset+octet-stream")
        return await self.ask(method, path, content=content, headers={**TUS, **named})

    async def begin(self, size: int, name: str = "notes.txt", type_: str = "text/plain") -> str:
        """A new upload; returns its path."""
        answer = await self.tus("POST", "/chat/files", upload_length=size, upload_metadata=metadata(name, type_))
        assert answer.status_code == 201, answer.text
        return str(answer.headers["location"])

    async def upload(self, content: bytes, name: str = "notes.txt", type_: str = "text/plain") -> str:
        """Upload a file in one piece; returns its id."""
        path = await self.begin(len(content), name, type_)
        answer = await self.tus("PATCH", path, content, upload_offset=0)
        assert answer.status_code == 204, answer.text
        return path.rpartition("/")[2]

    async def call(self, name: str, /, **data: Any) -> Any:
        """The answer to a command or query; a refusal fails the test."""
        answer = await self.ask("POST", f"/v1/{name}", json=data)
        assert answer.status_code == 200, answer.text
        return answer.json()


def metadata(name: str, type_: str) -> str:
    """The header `Upload-Metadata`."""
    coded = {key: base64.b64encode(value.encode()).decode() for key, value in (("filename", name), ("filetype", type_))}
    return ",".join(f"{key} {value}" for key, value in coded.items())


class Installation:
    """A server, and people who use it."""

    def __init__(self, server: Server, http: httpx2.AsyncClient) -> None:
        self.server = server
        self.http = http

    def person(self, user: str) -> Person:
        """Somebody with a token."""
        return Person(self.server, self.http, user)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A store that tests share."""
    with S3Server() as server:
        yield server


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where files are kept: the setting `files`."""
    if request.param == "disk":
        return str(tmp_path / "kept")
    s3: S3Server = request.getfixturevalue("s3_server")
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket}/{tmp_path.name}"


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Installation]:
    """A server of chat in this process."""
    server = Server(app, settings)
    await server.start()
    try:
        async with httpx2.AsyncClient(base_url=server.url, timeout=10.0) as http:
            yield Installation(server, http)
    finally:
        await server.stop()


@pytest.fixture
async def installation(tmp_path: Path, place: str) -> AsyncIterator[Installation]:
    """A server over each kind of storage."""
    async with serving(Settings(dev=True, port=0, data=str(tmp_path), drain=0.5, files=place)) as made:
        yield made


@pytest.fixture
def installed() -> Callable[[Settings], contextlib.AbstractAsyncContextManager[Installation]]:
    """Starts servers with settings of one's own."""
    return serving


@pytest.fixture
async def on_disk(tmp_path: Path) -> AsyncIterator[Installation]:
    """A server with its files in the data folder."""
    async with serving(Settings(dev=True, port=0, data=str(tmp_path), drain=0.5)) as made:
        yield made


@pytest.fixture
def photo() -> Callable[..., bytes]:
    """Makes a JPEG, 400 by 200 pixels, of a camera that tells where it was taken and how it was held."""

    def make(orientation: int = 6) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif[0x010F] = "ACME Cameras"
        exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
        into = io.BytesIO()
        Image.effect_noise((400, 200), 40).convert("RGB").save(into, "JPEG", exif=exif, comment=b"at home")
        return into.getvalue()

    return make


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits until something is so: `await until(lambda: …)`; what is asked may be async."""

    async def wait(look: Callable[[], Any]) -> Any:
        async with asyncio.timeout(10):
            while True:
                found = look()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.02)

    return wait
