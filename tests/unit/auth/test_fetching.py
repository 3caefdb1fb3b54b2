"""Fetching an operator's document: only from where it may be, only so long, only so much."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backchannel.auth.fetching import MAX_SIZE, Fetcher, FetchFailed
from backchannel.settings import ConfigurationError

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Site:
    """A web server on this machine that answers each path as a test says."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Answer] = {}
        self.requests: list[bytes] = []
        self.port = 0
        self.left = asyncio.Event()
        """Set when a client has gone before it was answered."""

    def page(self, path: str, body: bytes = b"{}", status: str = "200 OK", **headers: Any) -> None:
        """What is at a path."""
        fields = {"content-length": len(body), "connection": "close", **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self.pages[path] = f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            page = self.pages[head.split()[1].decode()]
            if isinstance(page, bytes):
                writer.write(page)
            else:
                await page(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A plain web server."""
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    server.close()


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    """A fetcher of a development server."""
    fetcher = Fetcher(dev=True)
    yield fetcher
    await fetcher.close()


async def test_a_document_comes_with_how_long_it_is_fresh(site: Site, fetcher: Fetcher) -> None:
    """As `Cache-Control` says."""
    site.page("/k", b'{"keys":[]}', cache_control="public, max-age=300")
    site.page("/n", b"x", cache_control="no-store")
    assert await fetcher.get(f"{site.url}/k") == (b'{"keys":[]}', 300.0)
    assert await fetcher.get(f"{site.url}/n") == (b"x", None)


async def test_nothing_of_ours_is_told(site: Site, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookies that were set before, no proxy, no credentials of the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    site.page("/k", set_cookie="a=b")
    await fetcher.get(f"{site.url}/k")
    await fetcher.get(f"{site.url}/k")
    request = site.requests[1].lower()
    assert b"cookie" not in request
    assert b"authorization" not in request
    assert f"host: 127.0.0.1:{site.port}".encode() in request


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content", "206 Partial Content"])
async def test_only_a_whole_document_is_one(site: Site, fetcher: Fetcher, status: str) -> None:
    """Nothing but 200 is."""
    site.page("/k", status=status)
    with pytest.raises(FetchFailed, match=status[:3]):
        await fetcher.get(f"{site.url}/k")


async def test_a_large_document_is_given_up(site: Site, fetcher: Fetcher) -> None:
    """Whether or not its length was told, and without having read it all."""
    site.page("/k", b"x" * (MAX_SIZE + 1))

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    site.pages["/endless"] = endless
    for path in ("/k", "/endless"):
        with pytest.raises(FetchFailed, match="larger"):
            await fetcher.get(site.url + path)
    await asyncio.wait_for(site.left.wait(), 5)


async def test_a_compressed_answer_is_refused(site: Site, fetcher: Fetcher) -> None:
    """It was not asked for, and may be a bomb."""
    site.page("/k", gzip.compress(b"x" * 10_000_000), content_encoding="gzip")
    with pytest.raises(FetchFailed, match="compressed"):
        await fetcher.get(f"{site.url}/k")


async def test_a_slow_server_is_given_up(site: Site) -> None:
    """The deadline is for everything, however often a byte comes."""
    fetcher = Fetcher(dev=True, deadline=0.3)
    drips = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        await drips.wait()

    site.pages["/k"] = drip
    with pytest.raises(FetchFailed, match="seconds"):
        await fetcher.get(f"{site.url}/k")
    drips.set()
    await fetcher.close()


async def test_nobody_there_is_a_failure(fetcher: Fetcher) -> None:
    """A closed port, and a name that has no address."""
    with pytest.raises(FetchFailed):
        await fetcher.get("http://127.0.0.1:1/k")

    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    with pytest.raises(FetchFailed, match="no such host"):
        await Fetcher(resolve=nowhere).get("https://id.example.org/k")


# Redirects


async def test_a_redirect_within_the_site_is_followed(site: Site, fetcher: Fetcher) -> None:
    """Three times at the most."""
    site.page("/k", b"yes")
    for hop in range(1, 5):
        site.page(f"/{hop}", status="302 Found", location="/k" if hop == 1 else f"/{hop - 1}")
    assert (await fetcher.get(f"{site.url}/3")).body == b"yes"
    with pytest.raises(FetchFailed, match="more than 3"):
        await fetcher.get(f"{site.url}/4")


async def test_a_redirect_leads_to_no_other_server_of_this_network(site: Site, fetcher: Fetcher) -> None:
    """Not to this machine's other ports, not to metadata, not out of HTTP; nobody is asked."""
    for location in (
        "http://127.0.0.1:1/k",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/k",
        "http://localhost:1/k",
        "https://127.0.0.1/k",
        "https://10.0.0.1/k",
        "https://[::ffff:10.0.0.1]/k",
        "https://1.1.1.1:8443/k",
        "file:///etc/passwd",
        "https://user@1.1.1.1/k",
    ):
        site.page("/r", status="302 Found", location=location)
        with pytest.raises(FetchFailed, match=r"not where|https URL|user and password"):
            await fetcher.get(f"{site.url}/r")


# Addresses


@pytest.mark.parametrize(
    ("addresses", "good"),
    [
        (["127.0.0.1"], True),
        (["169.254.169.254"], False),
        (["127.0.0.1", "169.254.169.254"], False),
        ([], False),
    ],
)
async def test_all_addresses_of_a_host_are_checked(addresses: list[str], good: bool) -> None:
    """One that must not be reached is enough to refuse; the check comes before any connection."""

    async def resolve(host: str, port: int) -> list[str]:
        return addresses

    with pytest.raises(FetchFailed) as raised:
        await Fetcher(resolve=resolve).get("https://id.example.org:1/k")
    assert ("not where" in str(raised.value)) is not good


class Authority:
    """Makes a certificate for a host, and the contexts of a server with it and of a client that trusts it."""

    def __init__(self, folder: Path, host: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = folder / "server.pem"
        file.write_bytes(private + pem)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(file)
        self.client = ssl.create_default_context(cadata=pem.decode())


async def test_the_connection_goes_to_the_checked_address_in_the_hosts_name(tmp_path: Path) -> None:
    """Resolved once and pinned: a name that leads elsewhere a moment later (DNS rebinding) changes nothing, and the
    certificate is checked for the host, not for the address."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1" if len(asked) == 1 else "127.0.0.2"]

    authority = Authority(tmp_path, "id.example.org")
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=authority.server)
    port = server.sockets[0].getsockname()[1]
    site.page("/k", b"yes")
    fetcher = Fetcher(resolve=resolve, tls=authority.client)
    assert (await fetcher.get(f"https://id.example.org:{port}/k")).body == b"yes"
    assert asked == ["id.example.org"]
    assert f"host: id.example.org:{port}".encode() in site.requests[0].lower()
    asked.clear()
    with pytest.raises(FetchFailed, match=r"(?i)certificate|hostname"):
        await fetcher.get(f"https://evil.example.org:{port}/k")
    await fetcher.close()
    server.close()


async def test_the_next_address_is_tried_where_one_does_not_answer(site: Site) -> None:
    """A host with an IPv6 address that this network cannot reach is reached all the same."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    site.page("/k", b"yes")
    fetcher = Fetcher(dev=True, resolve=resolve)
    assert (await fetcher.get(f"http://localhost:{site.port}/k")).body == b"yes"
    await fetcher.close()


def test_a_bad_url_is_told_with_its_cure() -> None:
    """At start, before anything is fetched."""
    for url, said in (("http://id.example.org/k", "https"), ("https://a:b@id.example.org/k", "password")):
        with pytest.raises(ConfigurationError, match=said):
            Fetcher().check(url)
    with pytest.raises(ConfigurationError, match="--dev"):
        Fetcher().check("http://127.0.0.1/k")
    Fetcher(dev=True).check("http://127.0.0.1/k")
