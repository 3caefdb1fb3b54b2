"""SQLite's errors at the store's border."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import sqlalchemy as sa

from backchannel.app import Migrations
from backchannel.store import sqlite_connection
from backchannel.store.sqlite import SqliteStore, open_sqlite
from backchannel_protocol import Refused

metadata = sa.MetaData()
parents = sa.Table(
    "parents",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
)
children = sa.Table(
    "children",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("parent", sa.Text),
    sa.Column("later", sa.Text),
    sa.ForeignKeyConstraint(["app", "parent"], ["parents.app", "parents.id"]),
    sa.ForeignKeyConstraint(["app", "later"], ["parents.app", "parents.id"], deferrable=True, initially="DEFERRED"),
)


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[SqliteStore]:
    """A store that does not wait for a busy database."""
    monkeypatch.setattr(sqlite_connection, "BUSY_TIMEOUT", 0.0)
    opened = open_sqlite(tmp_path / "store.db", migrations=[Migrations("shop", metadata, None)])
    yield opened
    await opened.close()


async def test_a_reference_to_nothing_is_a_conflict(store: SqliteStore) -> None:
    """A foreign key that does not hold is `conflict`, at once or, where deferred, at the commit: nothing happened."""
    transaction = await store.begin([])
    with pytest.raises(Refused, match="refers to") as refused:
        await transaction.insert(children, [{"id": "a", "parent": "nobody"}])
    await transaction.rollback()
    assert (refused.value.code, refused.value.outcome) == ("conflict", "none")
    transaction = await store.begin([])
    await transaction.insert(children, [{"id": "a", "later": "nobody"}])
    with pytest.raises(Refused) as refused:
        await transaction.commit()
    await transaction.rollback()
    assert (refused.value.code, refused.value.outcome) == ("conflict", "none")
    snapshot = await store.snapshot()
    assert await snapshot.rows(sa.select(children)) == []
    await snapshot.close()


async def test_a_busy_database_is_unavailable(store: SqliteStore) -> None:
    """While another process writes for too long, `begin` is `unavailable`, nothing happened; then it works again."""
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Refused, match="busy") as refused:
        await store.begin([])
    other.execute("COMMIT")
    other.close()
    assert (refused.value.code, refused.value.outcome, refused.value.retry) == ("unavailable", "none", True)
    assert refused.value.retry_after == 1.0
    await (await store.begin([])).rollback()


async def test_a_full_disk_is_unavailable(store: SqliteStore) -> None:
    """When the database cannot grow, a write is `unavailable`, and nothing of its transaction is left."""
    pages = store.writer.execute("PRAGMA page_count").fetchone()[0]
    store.writer.execute(f"PRAGMA max_page_count = {pages + 5}")
    transaction = await store.begin([])
    await transaction.insert(parents, [{"id": "small"}])
    with pytest.raises(Refused, match="full") as refused:
        await transaction.insert(parents, [{"id": f"{i}" + "x" * 1000} for i in range(100)])
    await transaction.rollback()
    assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
    transaction = await store.begin([])
    assert await transaction.rows(sa.select(parents)) == []
    await transaction.insert(parents, [{"id": "small"}])
    await transaction.commit()


async def test_a_failed_commit_leaves_the_outcome_open(store: SqliteStore) -> None:
    """When the disk refuses the commit itself, the outcome is `unknown`, and the turn is free again."""
    transaction = await store.begin([])
    await transaction.insert(parents, [{"id": "a"}])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What is small is written by COMMIT alone; from here on no file of this process may grow.
    resource.setrlimit(resource.RLIMIT_FSIZE, (store.path.with_name("store.db-wal").stat().st_size, limits[1]))
    try:
        with pytest.raises(Refused, match="disk") as refused:
            await transaction.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (refused.value.code, refused.value.outcome, refused.value.retry) == ("unavailable", "unknown", True)
    await transaction.rollback()
    transaction = await store.begin([])
    await transaction.insert(parents, [{"id": "a"}])
    await transaction.commit()


async def test_readers_that_cannot_open_the_database_say_unavailable(store: SqliteStore) -> None:
    """A gateway's log reader and a snapshot are told `unavailable` while no connection can be had, and recover."""
    away = store.path.with_name("away.db")
    reader = store.log_reader()
    store.path.rename(away)
    for read in (reader.head("c:a"), reader.read("c:a", 0, 1), reader.changed(0), store.snapshot()):
        with pytest.raises(Refused) as refused:
            await read
        assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
    away.rename(store.path)
    assert (await reader.head("c:a")).offset == 0
    await (await store.snapshot()).close()
    await reader.close()
