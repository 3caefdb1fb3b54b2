"""Fetching pages that strangers name, without being led astray.

Every connection, also after a redirect, goes to an address that was looked up once, checked, and is then connected to
as a number: a name that answers otherwise the next time leads nowhere (DNS rebinding). Bounded in time, bytes,
redirects, ports and types.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import httpcore2 as httpcore
from msgspec import Struct

from .addresses import is_public, resolve

__all__ = ["Fetcher", "Page", "Unfetchable"]

_AGENT: Final = "Backchannel-LinkPreview/1.0"
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HTML: Final = ("text/html", "application/xhtml+xml")
_CHARSET: Final = re.compile(r"charset=[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


class Unfetchable(Exception):
    """There is no page to be had; the message says why."""


class Page(Struct):
    """A page as it was found, or its beginning."""

    url: str
    """Where it was in the end."""
    content: bytes
    charset: str | None
    """As the server told it."""


class Fetcher:
    """Fetches pages.

    Args:
        seconds: how long one page may take, with all redirects.
        size: bytes of a page that are read; what is behind is left.
        redirects: how many are followed.
        ports: the only ones that are connected to.
        allows: which IP addresses are.
        lookup: finds the addresses of a host.
        tls: how servers are verified; as the system does by default.
    """

    def __init__(
        self,
        *,
        seconds: float = 5.0,
        size: int = 256 * 1024,
        redirects: int = 3,
        ports: Collection[int] = (80, 443),
        allows: Callable[[str], bool] = is_public,
        lookup: Callable[[str, int], Awaitable[list[str]]] = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._seconds = seconds
        self._size = size
        self._redirects = redirects
        self._ports = ports
        self._network = _CheckedNetwork(allows, lookup)
        self._tls = tls

    async def fetch(self, url: str) -> Page:
        """The page at a URL, wherever that leads.

        Raises:
            Unfetchable: it is not there, not HTML, not to be had in time, or somewhere it is not to be had from.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(url)
        except TimeoutError:
            raise Unfetchable(f"It did not come within {self._seconds:g} seconds.") from None
        except (httpcore.ConnectError, httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as exc:
            raise Unfetchable(f"{type(exc).__name__}: {exc}") from exc

    async def _follow(self, url: str) -> Page:
        # Nothing is kept between pages: a connection that is used again would lead to an address checked for another.
        async with httpcore.AsyncConnectionPool(
            network_backend=self._network, ssl_context=self._tls, http2=False, retries=0
        ) as pool:
            for _ in range(self._redirects + 1):
                self._see(url)
                found = await self._get(pool, url)
                if isinstance(found, Page):
                    return found
                url = urljoin(url, found)
        raise Unfetchable(f"It redirects more than {self._redirects} times.")

    def _see(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unfetchable("It is no URL of the web.")
        if parts.username is not None or parts.password is not None:
            raise Unfetchable("It names a user.")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if port not in self._ports:
            raise Unfetchable(f"It is on port {port}.")

    async def _get(self, pool: httpcore.AsyncConnectionPool, url: str) -> Page | str:
        """The page, or where it redirects to."""
        headers: dict[bytes | str, bytes | str] = {
            "host": urlsplit(url).netloc,
            "user-agent": _AGENT,
            "accept": "text/html,application/xhtml+xml",
            # What unpacks to more than it seems is never asked for.
            "accept-encoding": "identity",
        }
        async with pool.stream("GET", _ascii(url), headers=headers) as response:
            told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS:
                if "location" not in told:
                    raise Unfetchable("It redirects nowhere.")
                return told["location"]
            if response.status != 200:
                raise Unfetchable(f"It answers {response.status}.")
            type_ = told.get("content-type", "")
            if type_.partition(";")[0].strip().lower() not in _HTML:
                raise Unfetchable("It is not HTML.")
            if told.get("content-encoding", "identity").lower() != "identity":
                raise Unfetchable("It is packed.")
            content = bytearray()
            async for chunk in response.aiter_stream():
                content += chunk
                if len(content) >= self._size:
                    break
        charset = _CHARSET.search(type_)
        return Page(url, bytes(content[: self._size]), charset.group(1) if charset else None)


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that it has looked up and checked itself; TLS still verifies the name."""

    def __init__(self, allows: Callable[[str], bool], lookup: Callable[[str, int], Awaitable[list[str]]]) -> None:
        self._allows = allows
        self._lookup = lookup
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the host's first address, if all that it has are allowed."""
        addresses = await self._lookup(host, port)
        if not addresses or not all(map(self._allows, addresses)):
            raise Unfetchable("It is not on the public Internet.")
        return await self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise Unfetchable("It is no URL of the web.")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _ascii(url: str) -> bytes:
    """A URL as HTTP has it: the host in IDNA, the rest percent-encoded."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode()
    if ":" in host:
        host = f"[{host}]"
    if parts.port is not None:
        host += f":{parts.port}"
    safe = "/:?#[]@!$&'()*+,;=%-._~"
    path = quote(parts.path or "/", safe=safe)
    query = f"?{quote(parts.query, safe=safe)}" if parts.query else ""
    return f"{parts.scheme}://{host}{path}{query}".encode("ascii")
