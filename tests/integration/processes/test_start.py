"""Starting: before what a process stands on is there, while it goes away, and with what can never work."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backchannel.chat import ListMessages, SendMessage
from backchannel.testing.services import PostgresServer, RedisServer
from backchannel_client import Client
from backchannel_protocol import Refused

if TYPE_CHECKING:
    from tests.integration.processes.conftest import Installation

pytestmark = pytest.mark.timeout(180)

MakeClient = Callable[..., Client]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]

PATIENCE = 30.0
LOBBY = "chat:lobby"
PASSWORD = "correct-horse-battery"


@pytest.fixture
def nothing_yet(own_installation: Installation, own_redis: RedisServer, own_postgres: PostgresServer) -> Installation:
    """An installation whose Redis and PostgreSQL do not run."""
    own_redis.kill()
    own_postgres.end()
    return own_installation


async def test_they_wait_for_redis_and_postgresql(
    nothing_yet: Installation,
    own_redis: RedisServer,
    own_postgres: PostgresServer,
    client: MakeClient,
    request_http: Ask,
) -> None:
    """Gateway and worker start in any order with what they stand on: unready, alive, telling for what they wait in one
    line now and then; a client that comes early is told to come again, and is in as soon as all is there."""
    gateway, worker = nothing_yet.gateway("--dev"), nothing_yet.worker()
    waited = {"redis", "postgres"}
    for part in (gateway, worker):
        reasons = await part.until_readiness(lambda reasons: waited <= reasons.keys())
        assert "127.0.0.1" in reasons["redis"]
        assert await part.get("/healthz") == (200, {"status": "ok"})
        told = json.loads(await asyncio.to_thread(part.until, lambda line: "waiting for" in line and "redis" in line))
        assert told["level"] == "warning"
    assert (await request_http("GET", gateway.port, "/demo/users"))[0] == 200
    assert (await request_http("GET", gateway.port, "/openapi.json"))[0] == 200
    alice = client("alice", gateway.url)
    connecting = asyncio.create_task(alice.connect())
    await asyncio.to_thread(own_redis.start)
    await gateway.until_readiness(lambda reasons: "redis" not in reasons and "postgres" in reasons)
    await asyncio.to_thread(own_postgres.start)
    await nothing_yet.ready(gateway, worker)
    await connecting
    await alice.call(SendMessage(channel=LOBBY, text="at last"), timeout=PATIENCE)
    await alice.close()
    for part in (gateway, worker):
        lines = [line for line in part.output.splitlines() if "waiting for" in line]
        # Every five seconds, and once when the reasons first came.
        assert len(lines) <= 12, part.output
        assert await part.end() == 0


async def test_a_worker_without_migrations_waits_for_them(installation: Installation) -> None:
    """`--no-migrate` leaves the database alone, and takes requests once somebody else has brought it up to date."""
    worker = installation.worker("--no-migrate")
    reasons = await worker.until_readiness(lambda reasons: "postgres" in reasons)
    assert "backchannel migrate" in reasons["postgres"]
    migrate = installation.part("migrate")
    assert await asyncio.to_thread(migrate.ended) == 0
    await worker.until_ready()


async def test_a_worker_survives_its_services(
    own_installation: Installation, own_redis: RedisServer, own_postgres: PostgresServer, client: MakeClient
) -> None:
    """While PostgreSQL is gone it refuses as `unavailable` and is unready, likewise without Redis; afterwards the same
    process goes on, and what was acknowledged is there."""
    gateway, worker = own_installation.gateway(), own_installation.worker()
    await own_installation.ready(gateway, worker)
    async with client("alice", gateway.url) as alice:
        first = await alice.call(SendMessage(channel=LOBBY, text="before"), timeout=PATIENCE)
        await asyncio.to_thread(own_postgres.end)
        with pytest.raises(Refused) as refused:
            await alice.call(SendMessage(channel=LOBBY, text="lost"), timeout=1.0)
        assert refused.value.code == "unavailable"
        assert "store" in await worker.until_readiness(lambda reasons: "store" in reasons)
        await asyncio.to_thread(own_postgres.start)
        await own_installation.ready(worker, gateway)
        await asyncio.to_thread(own_redis.kill)
        for part in (gateway, worker):
            await part.until_readiness(lambda reasons: "relay" in reasons)
        await asyncio.to_thread(own_redis.start)
        await own_installation.ready(worker, gateway)
        last = await alice.call(SendMessage(channel=LOBBY, text="after"), timeout=PATIENCE)
        assert last.seq in (first.seq + 1, first.seq + 2)
    assert await worker.end(patience=10) == 0
    assert await gateway.end() == 0


async def test_sigterm_while_it_waits(nothing_yet: Installation) -> None:
    """Who waits for ever can still be ended in order."""
    gateway, worker = nothing_yet.gateway("--dev"), nothing_yet.worker()
    for part in (gateway, worker):
        await part.until_readiness(lambda reasons: "postgres" in reasons)
        assert await part.end(patience=10) == 0


@pytest.mark.parametrize("command", ["gateway", "worker", "serve --gateways 1"])
@pytest.mark.parametrize(("missing", "flag"), [("redis", "--redis redis://"), ("postgres", "--postgres postgresql://")])
def test_what_is_missing_is_told(installation: Installation, command: str, missing: str, flag: str) -> None:
    """With what to write."""
    part = installation.part(*command.split(), **{missing: ""})
    assert part.ended() == 2
    assert flag in part.output
    assert f"BACKCHANNEL_{missing.upper()}" in part.output
    assert "Traceback" not in part.output


@pytest.fixture(scope="module")
def guarded() -> Iterator[dict[str, str]]:
    """The URLs of a Redis and a PostgreSQL that want passwords, with wrong ones."""
    with RedisServer(config={"requirepass": PASSWORD}) as redis, PostgresServer() as postgres:
        postgres.execute(f"ALTER USER backchannel PASSWORD '{PASSWORD}'")
        (postgres.folder / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        postgres.execute("SELECT pg_reload_conf()")
        yield {
            "redis": f"redis://:wrong-{PASSWORD}@127.0.0.1:{redis.port}",
            "postgres": f"postgresql://backchannel:wrong-{PASSWORD}@127.0.0.1:{postgres.port}/postgres",
        }


@pytest.mark.parametrize("command", ["gateway", "worker"])
@pytest.mark.parametrize("which", ["redis", "postgres"])
def test_a_wrong_password_is_one_line(
    installation: Installation, guarded: dict[str, str], command: str, which: str
) -> None:
    """No retry cures it, so the process ends; it tells what to correct, and the password to nobody."""
    part = installation.part(command, "--port", "0", **{which: guarded[which]})
    assert part.ended() in (1, 2)
    assert PASSWORD not in part.output
    assert "Traceback" not in part.output
    *before, last = part.output.splitlines()
    assert last.startswith("Error: ")
    assert "password" in last
    assert not [line for line in before if '"level": "error"' in line or "Error" in line]


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("redis", f"redis://:{PASSWORD}@127.0.0.1:port"),
        ("redis", f"redis://:{PASSWORD}/x@127.0.0.1"),
        ("redis", f"redis+ring://:{PASSWORD}@127.0.0.1"),
        ("redis", f"http://:{PASSWORD}@127.0.0.1"),
        ("postgres", f"postgresql://u:{PASSWORD}@127.0.0.1:port/db"),
        ("postgres", f"mysql://u:{PASSWORD}@127.0.0.1/db"),
    ],
)
def test_a_wrong_url_is_one_line(installation: Installation, variable: str, url: str) -> None:
    """Whatever is wrong with it, and without the password in it."""
    part = installation.part("worker", **{variable: url})
    assert part.ended() in (1, 2)
    assert PASSWORD not in part.output
    assert "Traceback" not in part.output
    assert "Error" in part.output


def test_an_inherited_socket_must_listen(installation: Installation) -> None:
    """`--fd` with what is no such socket is told."""
    part = installation.part("gateway", "--fd", "77")
    assert part.ended() == 2
    assert "File descriptor 77" in part.output


async def test_a_service_manager_may_hand_over_the_socket(installation: Installation, request_http: Ask) -> None:
    """`--fd N`: connections that came before the gateway was there are served; SIGTERM leaves the socket to others."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        early = asyncio.create_task(request_http("GET", port, "/healthz"))
        installation.inherit.append(listening.fileno())
        gateway = installation.part("gateway", "--fd", str(listening.fileno()))
        assert await early == (200, {"status": "ok"})
        assert gateway.port == port
        assert await gateway.end() == 0
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
            listening.accept()[0].close()


async def test_serve_alone_takes_postgresql(installation: Installation, client: MakeClient, tmp_path: Path) -> None:
    """One process on PostgreSQL: commands, events and what was missed come from there, no file of SQLite is made, and
    Redis is not used."""
    texts = ["one", "two"]
    for text in texts:
        part = installation.part("serve", "--port", "0", redis="")
        assert "postgresql://" in await asyncio.to_thread(part.until, "Data")
        await part.until_ready()
        async with client("alice", part.url) as alice:
            await alice.call(SendMessage(channel=LOBBY, text=text), timeout=PATIENCE)
            page = await alice.call(ListMessages(channel=LOBBY), timeout=PATIENCE)
        assert await part.end() == 0
    assert sorted(message.text for message in page.messages) == sorted(texts)
    assert list(tmp_path.rglob("*.db")) == []  # noqa: ASYNC240  # nothing else runs on this loop
