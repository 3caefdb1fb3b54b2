"""Ways in: logins with the least rights, TLS, Unix sockets, and what is wrong with them told at the start."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from backchannel.bus import RedisReplyError, Script, redis_target
from backchannel.bus.connection import Connection
from backchannel.bus.errors import Unreachable
from backchannel.bus.opening import Opener
from backchannel.settings import ConfigurationError
from backchannel.testing.services import RedisServer, free_port
from backchannel.testing.services.redis_cluster import RedisCluster

COUNT = Script.of("count", "return redis.call('INCR', KEYS[1])")

RIGHTS = "-@all +ping +select +publish +subscribe +unsubscribe +eval +evalsha"
"""As `Bus` states them."""

CLUSTER_RIGHTS = "+spublish +ssubscribe +sunsubscribe +asking +cluster|slots +cluster|info"


async def assert_works(bus: Any, heard: Any) -> None:
    """Messages and scripts pass."""
    topic = bus.key("n", "a")
    await bus.subscribe(topic, heard)
    bus.publish(topic, b"hello")
    await heard.until(b"hello")
    assert await bus.run(COUNT, [topic]) == 1
    bus.unsubscribe(topic)
    assert await bus.run(COUNT, [topic]) == 2


async def until_logged(lines: Sequence[Mapping[str, Any]], event: str) -> None:
    """Return once this was logged."""
    async with asyncio.timeout(10):
        while not any(line["event"] == event for line in lines):  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0)


@pytest.fixture
def with_user(own_redis: RedisServer, redis_prefix: str) -> str:
    """The URL of a user who has the stated rights under the prefix, `INCR` for the script, and nothing else."""
    rights = f"~{redis_prefix}:* &{redis_prefix}:* {RIGHTS} +incr"
    own_redis.command("ACL", "SETUSER", "bc", "on", ">se%cret", "resetkeys", "resetchannels", *rights.split())
    return f"redis://bc:se%25cret@127.0.0.1:{own_redis.port}/1"


async def test_the_stated_rights_are_enough(with_user: str, open_bus: Any, heard: Any) -> None:
    """A user with exactly the documented commands, keys and channels serves the whole bus."""
    await assert_works(await open_bus(with_user), heard)


async def test_another_prefix_is_out_of_reach(with_user: str, open_bus: Any, heard: Any) -> None:
    """The same user may neither hear, publish nor use keys of another installation; each says so."""
    bus = await open_bus(with_user, prefix="other")
    topic = bus.key("n", "a")
    with pytest.raises(RedisReplyError, match="NOPERM"):
        await bus.subscribe(topic, heard)
    with pytest.raises(RedisReplyError, match="NOPERM"):
        await bus.run(COUNT, [topic])
    counts: asyncio.Queue[int | None] = asyncio.Queue()
    bus.publish(topic, b"x", counts.put_nowait)
    assert await counts.get() is None
    assert bus.hearing


async def test_a_right_that_was_taken_away_is_told(
    with_user: str, own_redis: RedisServer, open_bus: Any, told: Any, heard: Any
) -> None:
    """A topic that may no longer be heard is lost until it may be again, not forgotten."""
    bus = await open_bus(with_user)
    topic = bus.key("n", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    with capture_logs() as lines:
        own_redis.command("ACL", "SETUSER", "bc", "resetchannels")  # which throws out who hears
        await until_logged(lines, "redis refuses a subscription")
    assert news.news == ["lost"]
    own_redis.command("ACL", "SETUSER", "bc", f"&{topic.decode().partition(':')[0]}:*")
    await news.until("lost", "back")
    own_redis.command("PUBLISH", topic, b"again")
    await heard.until(b"again")


async def test_the_stated_rights_are_enough_on_a_cluster(redis_prefix: str, open_bus: Any, heard: Any) -> None:
    """The same, with what a cluster needs besides."""
    running = RedisCluster()
    try:
        await asyncio.to_thread(running.start)
        rights = f"~{redis_prefix}:* &{redis_prefix}:* {RIGHTS} {CLUSTER_RIGHTS} +incr".split()
        for node in running.nodes:
            node.command("ACL", "SETUSER", "bc", "on", ">secret", "resetkeys", "resetchannels", *rights)
        await assert_works(await open_bus(running.url.replace("://", "://bc:secret@")), heard)
    finally:
        await asyncio.to_thread(running.stop)


@pytest.mark.parametrize("login", ["", "bc:wrong@", "nobody:se%25cret@"])
async def test_a_wrong_login_is_told_at_the_start(
    login: str, with_user: str, own_redis: RedisServer, open_bus: Any
) -> None:
    """No retry cures it, so `start` says what to check, without the password."""
    own_redis.command("ACL", "SETUSER", "default", "off")
    with pytest.raises(ConfigurationError, match="user and password") as caught:
        await open_bus(f"redis://{login}127.0.0.1:{own_redis.port}")
    assert "wrong" not in str(caught.value).lower().replace("wrongpass", "")


async def test_a_database_that_is_not_there_is_told_at_the_start(redis_server: RedisServer, open_bus: Any) -> None:
    """A number beyond Redis's databases is told."""
    with pytest.raises(ConfigurationError, match="database"):
        await open_bus(f"{redis_server.url}/99")


async def test_a_password_that_changes_is_told_and_healed(
    own_redis: RedisServer, open_bus: Any, told: Any, heard: Any
) -> None:
    """A login that stops working while it runs is an outage that the log explains, and ends by itself."""
    own_redis.command("ACL", "SETUSER", "bc", "on", ">secret", "~*", "&*", "+@all")
    bus = await open_bus(f"redis://bc:secret@127.0.0.1:{own_redis.port}")
    topic = bus.key("n", "a")
    await bus.subscribe(topic, heard)
    news = told(bus)
    with capture_logs() as lines:
        own_redis.command("ACL", "SETUSER", "bc", "resetpass", ">other")
        own_redis.command("CLIENT", "KILL", "USER", "bc")
        await news.until("lost")
        await until_logged(lines, "redis cannot be used")
        own_redis.command("ACL", "SETUSER", "bc", ">secret")
        await news.until("lost", "back")
    assert {line["event"] for line in lines} >= {"redis is lost", "redis cannot be used", "redis is back"}
    assert not any("secret" in str(line) for line in lines)
    own_redis.command("PUBLISH", topic, b"again")
    await heard.until(b"again")


async def test_a_unix_socket(open_bus: Any, heard: Any) -> None:
    """A socket of the file system serves as well."""
    server = RedisServer()
    server.config["unixsocket"] = str(server.folder / "redis.sock")
    with server:
        await assert_works(await open_bus(f"unix://{server.folder}/redis.sock?db=2"), heard)


class Authority:
    """A certificate authority of one's own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certificate(self._name, self._key.public_key(), authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _certificate(self, name: x509.Name, key: Any, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files with a certificate for 127.0.0.1 and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key(), authority=False
        )
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom server and client trust."""
    return Authority(tmp_path, "ca")


@pytest.fixture
def tls_redis(authority: Authority) -> Iterator[RedisServer]:
    """A Redis that speaks TLS only, and asks clients for a certificate."""
    certificate, key = authority.issue("server")
    port = free_port()
    config = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(authority.file),
        "tls-auth-clients": "yes",
    }
    with RedisServer(port=port, config=config) as server:
        yield server


async def test_tls_with_certificates_of_both_sides(
    tls_redis: RedisServer, authority: Authority, open_bus: Any, told: Any, heard: Any
) -> None:
    """With the CA and a certificate of its own the bus works over TLS, and is back after a restart."""
    certificate, key = authority.issue("client")
    url = f"rediss://127.0.0.1:{tls_redis.port}?ca={authority.file}&cert={certificate}&key={key}"
    bus = await open_bus(url)
    await assert_works(bus, heard)
    news = told(bus)
    tls_redis.kill()
    await news.until("lost")
    await asyncio.to_thread(tls_redis.start)
    await news.until("lost", "back")


async def test_what_is_wrong_with_tls_is_told_at_the_start(
    tls_redis: RedisServer, redis_server: RedisServer, authority: Authority, tmp_path: Path, open_bus: Any
) -> None:
    """An unknown CA, a missing certificate, a server's wrong name, a port without TLS: each with its cure."""
    port = tls_redis.port
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(ConfigurationError, match=r"\?ca=FILE"):
        await open_bus(f"rediss://127.0.0.1:{port}?ca={stranger.file}")
    with pytest.raises(ConfigurationError, match=r"\?cert=FILE"):
        await open_bus(f"rediss://127.0.0.1:{port}?ca={authority.file}")
    with pytest.raises(ConfigurationError, match="as its certificate does"):
        await open_bus(f"rediss://localhost:{port}?ca={authority.file}")
    target = redis_target(f"rediss://127.0.0.1:{redis_server.port}?ca={authority.file}")
    connection = Connection(target.addresses[0], "test", lambda _: None)
    with pytest.raises(Unreachable, match="speak TLS"):
        await Opener(target=target, tls=target.tls_context(), client_name="test").open(connection)


async def test_no_tls_where_tls_is_wanted_is_absent(tls_redis: RedisServer, open_bus: Any) -> None:
    """A port that closes on plain words may be any: it is tried again, and the log says what to look at."""
    bus = await open_bus(tls_redis.url)
    assert not bus.hearing


async def test_what_is_no_redis_is_never_heard(open_bus: Any) -> None:
    """An HTTP server at the address is absent, whatever it answers."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        bus = await open_bus(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert not bus.hearing
        await bus.close()
