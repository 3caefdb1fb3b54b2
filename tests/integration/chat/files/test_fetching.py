"""Fetching pages of strangers: real servers on loopback, where only the test allows what is refused otherwise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from backchannel.chat.files.fetching import Fetcher, Unfetchable

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]

PAGE = b"<title>Tea</title>"


class Site:
    """A web server that answers each request as it is told; it keeps the heads that it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.heads: list[str] = []
        self._answer = answer
        self._server: asyncio.Server

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            await self._answer(head.split(" ")[1], writer)
        writer.close()

    async def stop(self) -> None:
        """Stop listening."""
        self._server.close()


def response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An answer; underscores in names of headers stand for dashes."""
    told = {"content-type": "text/html", "content-length": str(len(body)), "connection": "close"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Site]]]:
    """Starts sites; with bytes, each answer is those."""
    sites: list[Site] = []

    async def start(answer: Answer | bytes) -> Site:
        async def same(_path: str, writer: asyncio.StreamWriter) -> None:
            assert isinstance(answer, bytes)
            writer.write(answer)
            await writer.drain()

        sites.append(Site(same if isinstance(answer, bytes) else answer))
        await sites[-1].start()
        return sites[-1]

    yield start
    for site in sites:
        await site.stop()


def fetcher(*sites: Site, **options: Any) -> Fetcher:
    """One that knows every name as this machine, and may go there."""
    options.setdefault("lookup", _here)
    options.setdefault("allows", lambda address: address == "127.0.0.1")
    return Fetcher(ports=[site.port for site in sites], **options)


async def _here(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_a_page_is_fetched(serve: Any) -> None:
    """The page comes as it is, with its charset; the server is told the name that was asked for, and no secret."""
    site = await serve(response(PAGE, content_type="text/html; charset=utf-8"))
    page = await fetcher(site).fetch(f"http://tea.example:{site.port}/a b?c=d#e")
    assert (page.content, page.charset) == (PAGE, "utf-8")
    [head] = site.heads
    assert head.startswith("GET /a%20b?c=d HTTP/1.1\r\n")
    assert f"host: tea.example:{site.port}".lower() in head.lower()
    assert "cookie" not in head.lower()
    assert "authorization" not in head.lower()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1",
     "127.1", "017700000001"],
)  # fmt: skip
async def test_nothing_private_is_connected_to(serve: Any, host: str) -> None:
    """However an address of this machine or its networks is written, no connection is made."""
    site = await serve(response(PAGE))
    with pytest.raises(Unfetchable, match=r"public|Error"):
        await Fetcher(ports=(site.port,)).fetch(f"http://{host}:{site.port}/")
    assert site.heads == []


async def test_a_redirect_into_a_private_network_is_refused(serve: Any) -> None:
    """The second address is checked as the first one was."""
    inner = await serve(response(b"<title>secret</title>"))
    outer = await serve(response(b"", "302 Found", location=f"http://inner.example:{inner.port}/"))

    async def lookup(host: str, _port: int) -> list[str]:
        return ["127.0.0.1"] if host == "outer.example" else ["127.0.0.2"]

    with pytest.raises(Unfetchable, match="public"):
        await fetcher(outer, inner, lookup=lookup).fetch(f"http://outer.example:{outer.port}/")
    assert len(outer.heads) == 1
    assert inner.heads == []


async def test_a_name_that_changes_its_address_leads_nowhere(serve: Any) -> None:
    """A name is looked up once per connection, and what was checked is what is connected to (DNS rebinding)."""
    site = await serve(response(PAGE))
    asked: list[str] = []

    async def lookup(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    found = await fetcher(site, lookup=lookup).fetch(f"http://tea.example:{site.port}/")
    assert found.content == PAGE
    assert asked == ["tea.example"]


async def test_one_private_address_among_public_ones_is_enough(serve: Any) -> None:
    """A name that has both kinds of address is refused, whichever comes first."""
    site = await serve(response(PAGE))

    async def both(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    with pytest.raises(Unfetchable):
        await fetcher(site, lookup=both).fetch(f"http://tea.example:{site.port}/")
    assert site.heads == []


async def test_redirects_are_followed_and_bounded(serve: Any) -> None:
    """Relative and absolute ones, three at most."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        left = int(path[1:])
        writer.write(response(PAGE) if not left else response(b"", "301 Moved", location=f"/{left - 1}"))
        await writer.drain()

    site = await serve(answer)
    page = await fetcher(site).fetch(f"http://tea.example:{site.port}/3")
    assert page.url == f"http://tea.example:{site.port}/0"
    with pytest.raises(Unfetchable, match="redirects"):
        await fetcher(site).fetch(f"http://tea.example:{site.port}/4")


@pytest.mark.parametrize(
    "answer",
    [
        response(PAGE, content_type="application/json"),
        response(PAGE, content_type="image/png"),
        response(PAGE, "404 Not Found"),
        response(PAGE, "500 Oops"),
        response(PAGE, content_encoding="gzip"),
        response(b"", "302 Found"),
        response(b"", "302 Found", location="file:///etc/passwd"),
        response(b"", "302 Found", location="http://user:pass@tea.example/"),
        response(b"", "302 Found", location="http://tea.example:22/"),
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"",
    ],
)
async def test_what_is_no_page_is_none(serve: Any, answer: bytes) -> None:
    """Other types, failures, what is packed, redirects that leave the web or its ports, and nonsense are refused."""
    site = await serve(answer)
    with pytest.raises(Unfetchable):
        await fetcher(site).fetch(f"http://tea.example:{site.port}/")


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "file:///etc/passwd", "http:///x", "http://u:p@a.example/", "http://a.example:22/",
     "http://a.example:99999/", "http://[/", "javascript:x"],
)  # fmt: skip
async def test_urls_that_are_not_fetched(serve: Any, url: str) -> None:
    """Only the web, on its ports, and as nobody."""
    with pytest.raises(Unfetchable):
        await Fetcher(lookup=_here).fetch(url)


async def test_size_and_time_are_bounded(serve: Any) -> None:
    """A page without end is read to the limit; one that trickles, or never answers, is given up in time."""

    async def endless(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    async def silent(_path: str, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    site = await serve(endless)
    page = await fetcher(site, size=50_000).fetch(f"http://tea.example:{site.port}/")
    assert len(page.content) == 50_000
    slow = await serve(silent)
    with pytest.raises(Unfetchable, match="within"):
        await fetcher(slow, seconds=0.2).fetch(f"http://tea.example:{slow.port}/")
