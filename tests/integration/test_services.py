"""The servers that the test kit starts for users' own tests: real, on loopback, in temporary folders."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from pathlib import Path

import asyncpg
import pytest

from backchannel.testing.services import (
    Nginx,
    NotInstalled,
    PgBouncer,
    PostgresServer,
    RedisServer,
    ServiceFailed,
    free_port,
)
from backchannel.testing.services.process import program


@pytest.mark.parametrize("persistent", [False, True])
def test_redis_forgets_or_keeps(persistent: bool) -> None:
    """A Redis that was ended begins empty, or with what it had, as it was asked to."""
    with RedisServer(persistent=persistent) as server:
        server.command("SET", "a", "1")
        server.end()
        server.start()
        assert server.command("GET", "a") == (b"1" if persistent else None)


def test_valkey_is_valkey() -> None:
    """`program="valkey"` starts a real Valkey."""
    with RedisServer(program="valkey") as server:
        assert server.command("INFO", "server")["server_name"] == "valkey"


def test_paused_server_answers_again(own_redis: RedisServer) -> None:
    """A paused server keeps its port and its data, and goes on where it was."""
    own_redis.command("SET", "a", "1")
    own_redis.pause()
    own_redis.resume()
    assert own_redis.command("GET", "a") == b"1"


def test_postgres_keeps_what_it_committed(own_postgres: PostgresServer) -> None:
    """What was committed is there after an orderly restart, a failure, and a kill."""
    own_postgres.execute("CREATE TABLE t (n int)")
    for number, end in enumerate(("fast", "immediate", "kill")):
        own_postgres.execute(f"INSERT INTO t VALUES ({number})")
        if end == "kill":
            own_postgres.kill()
            own_postgres.start()
        else:
            own_postgres.restart("fast" if end == "fast" else "immediate")
        assert own_postgres.execute("SELECT count(*) FROM t") == [(number + 1,)]


def test_paused_postgres_answers_nobody(own_postgres: PostgresServer) -> None:
    """A paused PostgreSQL answers nothing on connections that are open, and goes on where it was."""

    async def ask() -> list[tuple[int]]:
        connection = await asyncpg.connect(own_postgres.url)
        own_postgres.pause()
        try:
            with pytest.raises(TimeoutError):
                await connection.fetchval("SELECT 1", timeout=0.2)
        finally:
            own_postgres.resume()
        await connection.close()
        return own_postgres.execute("SELECT 1")

    assert asyncio.run(ask()) == [(1,)]


def test_databases_are_apart(postgres_server: PostgresServer) -> None:
    """Each database made is new and empty."""
    first, second = postgres_server.create_database(), postgres_server.create_database()
    assert first != second
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    assert postgres_server.execute(tables, first.rpartition("/")[2]) == [(0,)]


async def test_pgbouncer_reaches_its_database(database_url: str) -> None:
    """A client of PgBouncer is in the database that it stands before."""
    with PgBouncer(database_url) as bouncer:
        connection = await asyncpg.connect(bouncer.url, statement_cache_size=0)
        try:
            assert await connection.fetchval("SELECT current_database()") == database_url.rpartition("/")[2]
        finally:
            await connection.close()


def test_nginx_serves_its_configuration() -> None:
    """nginx runs with the file that was given."""
    port = free_port()
    server = f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 yes; }} }}"
    config = f"events {{}} http {{ access_log off; {server} }}"
    with Nginx(config, port=port) as nginx, urllib.request.urlopen(nginx.url) as answer:
        assert answer.read() == b"yes"


def test_server_that_cannot_start_says_why() -> None:
    """A configuration that the server refuses is told with the server's own words, and nothing stays behind."""
    server = RedisServer(config={"no-such-line": "1"})
    with pytest.raises(ServiceFailed, match="no-such-line"):
        server.__enter__()
    assert not server.folder.exists()


def test_what_is_not_installed_is_named() -> None:
    """A program that is not there is named, with the package that brings it."""
    with pytest.raises(NotInstalled, match="apt-get install some-package"):
        program("no-such-program", package="some-package")


def test_server_dies_with_its_test_run(tmp_path: Path) -> None:
    """A test run that is killed leaves no server behind."""
    code = "import os; from backchannel.testing.services import RedisServer as R; r = R(); r.start(); print(r.pid, r.folder); os.kill(os.getpid(), 9)"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid, folder = done.stdout.split()
    state = Path(f"/proc/{pid}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "ZX":
        pass
    subprocess.run(["rm", "-rf", folder], check=True)
