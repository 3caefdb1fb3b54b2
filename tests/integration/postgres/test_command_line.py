"""The command line works on PostgreSQL as it does on a SQLite file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from backchannel.cli.checks.database import check_database
from backchannel.demo import app as demo
from backchannel.settings import Settings
from backchannel.store.postgres import migrate_postgres, postgres_api_keys, postgres_revocations
from backchannel.testing.services import PgBouncer, PostgresServer

Run = Callable[..., Awaitable[str]]


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Run:
    """Runs a command of ours on the test's database, and returns what it prints."""

    async def run_it(*words: str) -> str:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "backchannel.cli", *words,
            cwd=tmp_path, env={**ours, "BACKCHANNEL_POSTGRES": database_url, "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()

    return run_it


async def test_keys_and_revocations(run: Run, database_url: str, tmp_path: Path) -> None:
    """Made, listed and revoked; nothing is written to the data folder."""
    shown = (await run("keys", "create", "billing")).strip()
    keys = await postgres_api_keys(database_url)
    found = await keys.find(shown)
    assert found is not None
    assert [key["name"] for key in json.loads(await run("keys", "list", "--json"))] == ["billing"]
    await run("keys", "revoke", found.id)
    assert await keys.find(shown) is None
    await keys.close()
    await run("revoke", "--user", "alice")
    revocations = await postgres_revocations(database_url)
    assert [row.user for row in await revocations.since(0)] == ["alice"]
    await revocations.close()
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_migrate(run: Run) -> None:
    """It names each revision once and the database without its password, and makes new epochs."""
    first = await run("migrate")
    assert "backchannel: 0001 first tables" in first
    assert "is up to date." in first
    again = await run("migrate", "--new-epoch")
    assert "nothing was to be done" in again
    assert "New epochs for 0 tenants" in again


async def test_the_doctor(postgres_server: PostgresServer, database_url: str) -> None:
    """It says what is well, and each fault with its cure."""

    def look(url: str, **more: Any) -> list[tuple[str, str]]:
        findings = check_database(Settings(postgres=url, **more), demo.migrations)
        return [(finding.status, finding.text) for finding in findings]

    async def seen(url: str, status: str, part: str, **more: Any) -> bool:
        found = await asyncio.to_thread(look, url, **more)
        return any(status == one and part in text for one, text in found)

    assert await seen(database_url, "warning", "tables of backchannel, chat")
    await migrate_postgres(database_url, demo.migrations)
    assert await seen(database_url, "ok", "tables are up to date")
    assert await seen(database_url, "ok", "it is PostgreSQL 1")
    assert await seen(database_url, "failed", "fsync is off")
    assert await seen(database_url, "warning", "connections are in use", postgres_pool=1000)
    assert await seen("postgresql://u:topsecret@127.0.0.1:1/x", "failed", "cannot be used")
    postgres_server.execute("UPDATE alembic_version_chat SET version_num = '9'", urlsplit(database_url).path.strip("/"))
    assert await seen(database_url, "warning", "a newer version made the tables of 'chat'; this one can use them")
    with PgBouncer(database_url) as bouncer:
        assert await seen(bouncer.url, "ok", "a pooler stands between")
