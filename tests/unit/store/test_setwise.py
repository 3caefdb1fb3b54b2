"""Set-wise writes mean what the same writes one after another mean."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchannel.app import Migrations
from backchannel.store.sqlite import open_sqlite

COLUMNS = ("id", "kind", "note")

grid = sa.Table(
    "grid",
    sa.MetaData(),
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("id", sa.Integer),
    sa.Column("kind", sa.Text),
    sa.Column("note", sa.Text(collation="NOCASE")),
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
def path(tmp_path: Path) -> Path:
    """A database file, made once per test; every example is rolled back."""
    return tmp_path / "store.db"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(rows=st.lists(st.fixed_dictionaries(cells), max_size=8), calls=st.lists(writes(), max_size=3))
def test_sets_equal_sequences(path: Path, rows: list[dict[str, Any]], calls: list[Any]) -> None:
    """Whatever is updated and deleted in sets leaves the rows that a loop over the same writes leaves."""
    expected = [{"row": number, **row} for number, row in enumerate(rows)]

    async def run() -> list[dict[str, Any]]:
        store = open_sqlite(path, migrations=[Migrations("grid", grid.metadata, None)])
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
