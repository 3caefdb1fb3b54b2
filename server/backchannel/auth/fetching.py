"""Fetches a small document from an operator's URL, bounded in time and size, and kept from wandering.

A host is resolved once, all its addresses are checked, and the connection goes to a checked address, with the host's
name in `Host` and in TLS: a name that resolves to something else a moment later changes nothing. Redirects are followed
three times at most, each checked anew; one to a host that the operator did not name must be public. No cookies, no
proxies from the environment, no compression.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import httpx2

from ..settings import ConfigurationError
from .addresses import is_loopback, is_public, is_reachable

__all__ = ["FetchFailed", "Fetched", "Fetcher"]

Resolve = Callable[[str, int], Awaitable[list[str]]]

DEADLINE: Final = 5.0
"""Seconds for everything, redirects and all."""
MAX_SIZE: Final = 256 * 1024
"""Bytes of the document at the most."""

_MAX_REDIRECTS: Final = 3
_MAX_ADDRESSES: Final = 4
_CONNECT: Final = 2.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})")


class FetchFailed(Exception):
    """The document could not be fetched, or must not be."""


class Fetched(NamedTuple):
    """A document."""

    body: bytes
    max_age: float | None
    """Seconds that it stays fresh, if the server said so."""


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """Fetches documents. Use it on one loop; close it there."""

    def __init__(
        self,
        *,
        dev: bool = False,
        resolve: Resolve = _resolve,
        tls: ssl.SSLContext | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        """
        Args:
            dev: whether plain HTTP is let through to this machine itself.
            resolve: the addresses of a host.
            tls: what certificates are trusted; by default those that the system trusts.
            deadline: seconds for everything.
        """
        self._dev = dev
        self._resolve = resolve
        self._tls = tls
        self._deadline = deadline
        self._client: httpx2.AsyncClient | None = None

    def check(self, url: str) -> None:
        """See that a URL can be fetched at all.

        Raises:
            ConfigurationError: it cannot; the message tells the cure.
        """
        try:
            self._parse(url)
        except FetchFailed as exc:
            raise ConfigurationError(f"{url}: {exc}.") from None

    async def get(self, url: str) -> Fetched:
        """The document at a URL that an operator gave.

        Raises:
            FetchFailed: it is not there, not in time, too large, or where we must not go.
        """
        try:
            async with asyncio.timeout(self._deadline):
                return await self._get(self._parse(url))
        except TimeoutError:
            raise FetchFailed(f"it did not come within {self._deadline:g} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
            raise FetchFailed(str(exc) or type(exc).__name__) from exc

    async def close(self) -> None:
        """Let go of the client."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    def _parse(self, text: str) -> httpx2.URL:
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL as exc:
            raise FetchFailed(f"it is no URL: {exc}") from None
        if url.userinfo:
            raise FetchFailed("leave user and password out of the URL")
        local = url.host == "localhost" or is_loopback(url.host)
        if not url.host or not (url.scheme == "https" or (url.scheme == "http" and self._dev and local)):
            raise FetchFailed("it must be an https URL (http is for this machine under --dev alone)")
        return url

    async def _get(self, url: httpx2.URL) -> Fetched:
        named = (url.scheme, url.host, url.port)
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._request(url, given=(url.scheme, url.host, url.port) == named)
            if isinstance(response, Fetched):
                return response
            url = self._parse(str(url.join(response)))
        raise FetchFailed(f"it redirects more than {_MAX_REDIRECTS} times")

    async def _request(self, url: httpx2.URL, *, given: bool) -> Fetched | str:
        """The document, or where it is instead. `given`: the operator named this very server."""
        error: httpx2.HTTPError | None = None
        for address in await self._addresses(url, given=given):
            try:
                return await self._request_from(url, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
                error = exc
        assert error is not None
        raise error

    async def _addresses(self, url: httpx2.URL, *, given: bool) -> list[str]:
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await self._resolve(url.host, port)
        allowed = is_loopback if url.scheme == "http" else is_reachable if given else is_public
        if not addresses or not all(map(allowed, addresses)) or not (given or port == 443):
            raise FetchFailed(f"{url.host}:{port} is not where a document may be fetched from")
        return addresses[:_MAX_ADDRESSES]

    async def _request_from(self, url: httpx2.URL, address: str) -> Fetched | str:
        client = self._client
        if client is None:
            client = self._client = httpx2.AsyncClient(
                verify=True if self._tls is None else self._tls,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx2.Timeout(self._deadline, connect=_CONNECT),
                limits=httpx2.Limits(max_keepalive_connections=0),
            )
        request = client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={"Host": url.netloc.decode("ascii"), "Accept": "application/json", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": url.host},
        )
        response = await client.send(request, stream=True)
        try:
            # What one server sets must not be shown to the next.
            client.cookies.clear()
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return str(response.headers["location"])
            if response.status_code != 200:
                raise FetchFailed(f"the answer is {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise FetchFailed("the answer is compressed, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_SIZE:
                    raise FetchFailed(f"it is larger than {MAX_SIZE} bytes")
        finally:
            await response.aclose()
        age = _MAX_AGE.search(response.headers.get("cache-control", "").lower())
        return Fetched(bytes(body), float(age[1]) if age else None)
