"""Stores of every kind, and a table of an app's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from backchannel.app import Migrations
from backchannel.store.postgres import open_postgres
from backchannel.store.sqlite import open_sqlite
from backchannel.store.store import Store
from backchannel.testing.services import PgBouncer, PostgresServer

Opener = Callable[..., AbstractAsyncContextManager[Store]]


class Clock:
    """Unix milliseconds that stand still until a test sets them."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the stores that a test opens."""
    return Clock()


@pytest.fixture
def items() -> sa.Table:
    """A table as an app would declare it, with types that must be converted."""
    return sa.Table(
        "items",
        sa.MetaData(),
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("shelf", sa.Text, nullable=False, default="none"),
        sa.Column("amount", sa.Integer, sa.CheckConstraint("amount >= 0"), nullable=False, server_default="0"),
        sa.Column("open", sa.Boolean),
        sa.Column("tags", sa.JSON(none_as_null=True)),
        sa.Column("since", sa.DateTime),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("code", sa.Text, unique=True),
    )


@pytest.fixture(scope="session")
def bouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """A PgBouncer in transaction mode before every database of the shared server, with fewer connections than asked."""
    with PgBouncer(postgres_server.url, config={"default_pool_size": "12"}) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the test's database is: a file's path, or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("database_url")
    if request.param == "postgres":
        return url
    return urlsplit(url)._replace(netloc=urlsplit(request.getfixturevalue("bouncer").url).netloc).geturl()


@pytest.fixture
def snapshots(database: str) -> int:
    """How many snapshots may be open at once."""
    return 4 if "://" in database else 32


@pytest.fixture
def open_store(database: str, items: sa.Table, clock: Clock) -> Opener:
    """Opens the test's database, for an app; closes it again."""
    migrations = [Migrations("shop", items.metadata, None)]

    @asynccontextmanager
    async def open_it(app: str = "main") -> AsyncGenerator[Store]:
        store: Store
        if "://" in database:
            store = await open_postgres(database, app, migrations=migrations, clock=clock)
        else:
            store = open_sqlite(database, app, migrations=migrations, clock=clock)
        try:
            yield store
        finally:
            await store.close()

    return open_it


@pytest.fixture
async def store(open_store: Opener) -> AsyncGenerator[Store]:
    """A store for the app `main`."""
    async with open_store() as opened:
        yield opened
