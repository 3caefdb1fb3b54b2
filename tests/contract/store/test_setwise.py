"""Set-wise writes mean what the same writes one after another mean."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchannel.app import Migrations
from backchannel.store.postgres import open_postgres
from backchannel.store.sqlite import open_sqlite
from backchannel.store.store import Store
from backchannel.testing.services import PostgresServer

COLUMNS = ("id", "kind", "note")

grid = sa.Table(
    "grid",
    sa.MetaData(),
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("id", sa.Integer),
    sa.Column("kind", sa.Text),
    sa.Column("note", sa.Text(collation="NOCASE").with_variant(sa.Text(collation="anycase"), "postgresql")),
)
cells = {"id": st.integers(1, 3), "kind": st.sampled_from(["1", "2", "a"]), "note": st.sampled_from(["x", "X", "y"])}


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Updates or deletes of one call: pairs of key and new values, all with the same columns."""
    columns = st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3, unique=True)
    keys, values = draw(columns), draw(columns)
    change = st.tuples(*(st.fixed_dictionaries({name: cells[name] for name in names}) for names in (keys, values)))
    return draw(st.sampled_from(["update", "delete"])), draw(st.lists(change, min_size=1, max_size=6))


def matches(row: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether the database would find this row by this key."""
    return all(row[n].lower() == v.lower() if n == "note" else row[n] == v for n, v in key.items())


@pytest.fixture
def place(database: str, request: pytest.FixtureRequest) -> str:
    """A database, made once per test; every example is rolled back."""
    if "://" in database:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.execute(
            "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            urlsplit(database).path.strip("/"),
        )
    return database


@pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(rows=st.lists(st.fixed_dictionaries(cells), max_size=8), calls=st.lists(writes(), max_size=3))
def test_sets_equal_sequences(place: str, rows: list[dict[str, Any]], calls: list[Any]) -> None:
    """Whatever is updated and deleted in sets leaves the rows that a loop over the same writes leaves."""
    expected = [{"row": number, **row} for number, row in enumerate(rows)]

    async def run() -> list[dict[str, Any]]:
        migrations = [Migrations("grid", grid.metadata, None)]
        store: Store = (
            await open_postgres(place, migrations=migrations)
            if "://" in place
            else open_sqlite(place, migrations=migrations)
        )
        transaction = await store.begin([])
        await transaction.insert(grid, expected)
        for verb, changes in calls:
            if verb == "update":
                await transaction.update(grid, changes)
            else:
                await transaction.delete(grid, [key for key, _ in changes])
        result = await transaction.rows(sa.select(grid.c.row, *(grid.c[n] for n in COLUMNS)).order_by(grid.c.row))
        await transaction.rollback()
        await store.close()
        return [dict(row._mapping) for row in result]

    got = asyncio.run(run())
    for verb, changes in calls:
        for key, values in changes:
            if verb == "delete":
                expected = [row for row in expected if not matches(row, key)]
            else:
                expected = [{**row, **values} if matches(row, key) else row for row in expected]
    assert got == expected
