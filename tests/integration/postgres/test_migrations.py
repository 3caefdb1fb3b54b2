"""Migrations of PostgreSQL: by several processes at once, and while an older version serves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from backchannel.app import Migrations
from backchannel.broker.broker import Envelope
from backchannel.store import postgres_migrations, tables
from backchannel.store.errors import StoreError
from backchannel.store.postgres import (
    migrate_postgres,
    new_postgres_epoch,
    open_postgres,
    open_postgres_reader,
)
from backchannel.store.postgres_migrations import run_in_engine
from backchannel.store.postgres_target import PostgresTarget
from backchannel.testing.services import PgBouncer, PostgresServer

FIRST = """
\"\"\"first orders\"\"\"
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "orders", sa.Column("app", sa.Text, primary_key=True), sa.Column("id", sa.Text, primary_key=True)
    )
    op.execute("SELECT pg_sleep(0.3)")
"""
EXPANDS = """
\"\"\"orders have a price\"\"\"
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("orders", sa.Column("price", sa.Integer))
"""
CONTRACTS = """
\"\"\"every order has a price\"\"\"
from alembic import op

revision = "0003"
down_revision = "0002"
contracts = True


def upgrade() -> None:
    op.alter_column("orders", "price", nullable=False)
"""

START = """
import asyncio, pathlib, sys
import sqlalchemy as sa
from backchannel.app import Migrations
from backchannel.store.postgres import open_postgres

async def main():
    store = await open_postgres(
        sys.argv[1], migrations=[Migrations("shop", sa.MetaData(), pathlib.Path(sys.argv[2]))], progress=print
    )
    reader = store.log_reader()
    print("epoch", (await reader.head("c:a")).epoch)
    await reader.close()
    await store.close()

asyncio.run(main())
"""

Write = Callable[..., Migrations]


@pytest.fixture
def shop(tmp_path: Path) -> Write:
    """An app's folder of revisions, as of some version of the app."""

    def write(*revisions: str) -> Migrations:
        directory = tmp_path / f"version-{len(revisions)}"
        directory.mkdir(exist_ok=True)
        for number, text in enumerate(revisions, 1):
            (directory / f"{number:04}_change.py").write_text(text)
        return Migrations("shop", sa.MetaData(), directory)

    return write


async def test_the_revisions_make_the_tables_that_the_code_uses(database_url: str) -> None:
    """`tables.py` and the revisions say the same of PostgreSQL, collations of names included."""
    await migrate_postgres(database_url, ())

    def compare(connection: sa.Connection) -> list[Any]:
        options = {"version_table": "alembic_version_backchannel", "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))

    assert await run_in_engine(PostgresTarget(database_url), compare) == []
    collations = await run_in_engine(
        PostgresTarget(database_url),
        lambda connection: (
            connection.exec_driver_sql(
                "SELECT DISTINCT a.attcollation::regcollation::text "
                "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
                "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) "
                "AND a.atttypid = 'text'::regtype "
                "WHERE i.indisprimary AND c.relnamespace = 'public'::regnamespace"
            )
            .scalars()
            .all()
        ),
    )
    assert collations == ['"C"']


async def test_several_processes_migrate_at_once(database_url: str, shop: Write) -> None:
    """Each revision is applied once, by whichever is first; all of them start, on one epoch."""
    directory = shop(FIRST, EXPANDS, CONTRACTS).directory
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", START, database_url, str(directory),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    outputs = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    lines = [line for output, _ in outputs for line in output.decode().splitlines()]
    applied = sorted(line for line in lines if not line.startswith("epoch"))
    assert applied == [
        "backchannel: 0001 first tables",
        "backchannel: 0002 revocations",
        "backchannel: 0003 leases, and what older versions can use",
        "backchannel: 0004 keys in the order in which they came",
        "shop: 0001 first orders",
        "shop: 0002 orders have a price",
        "shop: 0003 every order has a price",
    ]
    assert len({line for line in lines if line.startswith("epoch")}) == 1


async def test_an_older_version_goes_on_and_starts_beside_a_newer_one(database_url: str, shop: Write) -> None:
    """Expand while the old version serves, also when it restarts; contract when it is gone: then it starts no more."""
    old, new, newest = shop(FIRST), shop(FIRST, EXPANDS), shop(FIRST, EXPANDS, CONTRACTS)
    serving = await open_postgres(database_url, migrations=[old])
    await (await open_postgres(database_url, migrations=[new])).close()
    lines: list[str] = []
    restarted = await open_postgres(database_url, migrations=[old], progress=lines.append)
    assert lines == ["shop: a newer version made the tables (0002); this one can use them"]
    for store in (serving, restarted):
        transaction = await store.begin([])
        await transaction.execute(sa.text("INSERT INTO orders (app, id) VALUES ('main', 'a')"))
        await transaction.rollback()
        await store.close()
    await migrate_postgres(database_url, [newest])
    with pytest.raises(StoreError, match=r"made by a newer version.*taken away"):
        await open_postgres(database_url, migrations=[old])
    await (await open_postgres(database_url, migrations=[newest])).close()


async def test_a_table_in_use_is_waited_for_without_blocking_others(
    database_url: str, shop: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revision that cannot have its table gives it up after 3 seconds, so that whoever waits behind it gets through,
    and tries again; after some tries it says what to do."""
    monkeypatch.setattr("backchannel.store.upgrade.LOCK_PATIENCE", 0.1)
    monkeypatch.setattr(postgres_migrations, "_PAUSE", 0.01)
    store = await open_postgres(database_url, migrations=[shop(FIRST)])
    holding = await store.begin([])
    await holding.execute(sa.text("SELECT * FROM orders"))
    migrating = asyncio.create_task(migrate_postgres(database_url, [shop(FIRST, EXPANDS)]))
    for _ in range(5):
        reader = await store.snapshot()
        await reader.rows(sa.select(sa.text("id")).select_from(sa.text("orders")))
        await reader.close()
    assert not migrating.done()
    await holding.rollback()
    await migrating
    holding = await store.begin([])
    await holding.execute(sa.text("SELECT * FROM orders"))
    monkeypatch.setattr(postgres_migrations, "_TRIES", 2)
    with pytest.raises(StoreError, match=r"stayed in use.*pg_stat_activity"):
        await migrate_postgres(database_url, [shop(FIRST, EXPANDS, CONTRACTS)])
    await holding.rollback()
    await store.close()


async def test_migrations_work_behind_a_pooler(postgres_server: PostgresServer, database_url: str, shop: Write) -> None:
    """Also where several processes share the few connections of a PgBouncer in transaction mode."""
    with PgBouncer(database_url, config={"default_pool_size": "2"}) as bouncer:
        url = bouncer.url
        migrations = shop(FIRST, EXPANDS)
        stores = await asyncio.gather(*(open_postgres(url, f"app{n}", migrations=[migrations]) for n in range(5)))
        assert await stores[0]._target.pooled()
        transactions = await asyncio.gather(*(store.begin([]) for store in stores[:2]))
        for transaction in transactions:
            await transaction.rollback()
        for store in stores:
            await store.close()
    rows = postgres_server.execute("SELECT app FROM installation ORDER BY app", urlsplit(database_url).path.strip("/"))
    assert [row[0] for row in rows] == [f"app{n}" for n in range(5)]


async def test_a_new_epoch_is_seen_by_those_that_run(database_url: str) -> None:
    """After a restore every channel has a new epoch, used or not, whatever a worker or gateway remembers."""
    store = await open_postgres(database_url)
    reader = store.log_reader()
    before = (await reader.head("c:unused")).epoch
    assert await new_postgres_epoch(database_url, lambda: 5) == 1
    after = await reader.head("c:unused")
    assert (await reader.read("c:unused", 0, 5))[0] == after
    transaction = await store.begin([])
    (event,) = await transaction.append([Envelope(channel="c:unused", name="x.y", data=b"1")])
    await transaction.commit()
    assert event.epoch == after.epoch != before
    await reader.close()
    await store.close()


async def test_a_gateway_waits_for_the_tables(database_url: str) -> None:
    """It starts once a worker has made them, makes none itself, and says what was missing when it waited too long."""
    with pytest.raises(StoreError, match=r"within 0\.1 s: its tables are not made"):
        await open_postgres_reader(database_url, wait=0.1)
    await migrate_postgres(database_url, ())
    with pytest.raises(StoreError, match=r"within 0\.1 s: no worker of the tenant 'main'"):
        await open_postgres_reader(database_url, wait=0.1)
    waiting = asyncio.create_task(open_postgres_reader(database_url, wait=20))
    store = await open_postgres(database_url)
    gateway = await waiting
    reader = gateway.log_reader()
    assert (await reader.head("c:a")).offset == 0
    assert await gateway.api_keys.list() == []
    assert await gateway.revocations.since(0) == []
    for close in (reader.close, gateway.close, store.close):
        await close()


async def test_a_gateway_waits_for_a_server_that_starts(own_postgres: PostgresServer) -> None:
    """A database that is not there yet is waited for too."""
    url = own_postgres.create_database()
    await (await open_postgres(url)).close()
    await asyncio.to_thread(own_postgres.end)
    with pytest.raises(StoreError, match=r"was not ready within 0\.1 s"):
        await open_postgres_reader(url, wait=0.1)
    waiting = asyncio.create_task(open_postgres_reader(url, wait=20))
    await asyncio.to_thread(own_postgres.start)
    await (await waiting).close()
