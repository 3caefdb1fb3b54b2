"""Writes: grouping set-wise never changes what the rows are in the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchannel import Refused
from backchannel.app import Migrations
from backchannel.store.sqlite import SqliteStore, open_sqlite
from backchannel.worker.tables import tables_of
from backchannel.worker.writes import OrderedWrites, Write, WriteKind, Writes

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("a", sa.Integer),
    sa.Column("b", sa.Integer),
)
parts = sa.Table(
    "parts",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("thing", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["app", "thing"], ["things.app", "things.id"]),
)

_ids = st.sampled_from(["x", "y", "z"])
_numbers = st.integers(0, 2)
_columns = st.one_of(
    st.fixed_dictionaries({"a": _numbers}),
    st.fixed_dictionaries({"b": _numbers}),
    st.fixed_dictionaries({"a": _numbers, "b": _numbers}),
)
_keys = st.one_of(
    st.fixed_dictionaries({"id": _ids}),
    st.fixed_dictionaries({"id": _ids, "a": _numbers}),
    st.fixed_dictionaries({"a": _numbers}),
    st.fixed_dictionaries({"b": _numbers}),
)
_writes = st.one_of(
    st.builds(
        lambda name, columns: Write(WriteKind.INSERT, things, {}, {"id": name, **columns}),
        _ids,
        st.fixed_dictionaries({"a": _numbers, "b": _numbers}),
    ),
    st.builds(lambda key, columns: Write(WriteKind.UPDATE, things, key, columns), _keys, _columns),
    st.builds(lambda key, name: Write(WriteKind.UPDATE, things, key, {"id": name}), _keys, _ids),
    st.builds(lambda key: Write(WriteKind.DELETE, things, key, {}), _keys),
)


def store_at(path: Path) -> SqliteStore:
    return open_sqlite(path, migrations=[Migrations("test", metadata, None)])


async def outcome(store: SqliteStore, batches: list[Writes | list[Write]]) -> list[tuple[Any, ...]] | None:
    """The rows after these writes, or None if the database refused; nothing is kept."""
    transaction = await store.begin([])
    try:
        for batch in batches:
            if isinstance(batch, Writes):
                await batch.flush(transaction)
                assert not batch
            for write in batch if isinstance(batch, list) else ():
                one = OrderedWrites()
                one.add([write])
                await one.flush(transaction)
        rows = await transaction.rows(sa.select(things.c.id, things.c.a, things.c.b).order_by(things.c.id))
        return [tuple(row) for row in rows]
    except Refused:
        return None
    finally:
        await transaction.rollback()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_writes, max_size=12))
def test_grouped_is_as_one_after_another(tmp_path: Path, writes: list[Write]) -> None:
    """Whatever is declared, writing it grouped leaves the rows that writing it one by one leaves, or is refused; and
    what is not refused one by one is not refused in order."""

    async def check() -> None:
        store = store_at(tmp_path / "grouped.db")
        try:
            expected = await outcome(store, [writes])
            grouped, ordered = Writes(), OrderedWrites()
            grouped.add(writes)
            ordered.add(writes)
            assert await outcome(store, [ordered]) == expected
            found = await outcome(store, [grouped])
            # A refused group costs no more than a second run, in order.
            assert found == expected or found is None
        finally:
            await store.close()

    asyncio.run(check())


class Recorder:
    """Takes writes as a transaction does, and remembers the statements."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, str, int]] = []

    async def insert(self, table: sa.Table, rows: list[Any]) -> None:
        self.statements.append(("insert", table.name, len(rows)))

    async def update(self, table: sa.Table, changes: list[Any]) -> None:
        self.statements.append(("update", table.name, len(changes)))

    async def delete(self, table: sa.Table, keys: list[Any]) -> None:
        self.statements.append(("delete", table.name, len(keys)))


async def statements(writes: Writes, *tables: sa.Table) -> list[tuple[str, str, int]]:
    recorder: Any = Recorder()
    await writes.flush(recorder, tables or None)
    found: list[tuple[str, str, int]] = recorder.statements
    return found


def insert(name: str, table: sa.Table = things) -> Write:
    return Write(WriteKind.INSERT, table, {}, {"id": name} | ({"thing": name} if table is parts else {"a": 0, "b": 0}))


async def test_one_statement_per_kind_table_and_columns() -> None:
    """Commands that do the same to other rows share statements: parents first, deletes last and children first."""
    writes = Writes()
    for i in range(20):
        writes.add([insert(f"{i}", parts), insert(f"{i}")])
        writes.add([Write(WriteKind.UPDATE, things, {"id": f"old {i}"}, {"a": i})])
        writes.add([Write(WriteKind.DELETE, things, {"id": f"gone {i}"}, {})])
        writes.add([Write(WriteKind.DELETE, parts, {"id": f"gone {i}"}, {})])
    assert await statements(writes) == [
        ("insert", "things", 20),
        ("update", "things", 20),
        ("insert", "parts", 20),
        ("delete", "parts", 20),
        ("delete", "things", 20),
    ]


async def test_same_row_again_is_one_row_of_the_statement() -> None:
    """Twenty new values of one row are one row of one statement."""
    writes = Writes()
    writes.add([Write(WriteKind.UPDATE, things, {"id": "x"}, {"a": i}) for i in range(20)])
    assert await statements(writes) == [("update", "things", 1)]


async def test_flush_takes_what_hangs_together() -> None:
    """A read of one table has the tables written that refer to it or that it refers to, and no others."""
    other = sa.Table(
        "other", sa.MetaData(), sa.Column("app", sa.Text, primary_key=True), sa.Column("id", sa.Text, primary_key=True)
    )
    writes = Writes()
    writes.add([insert("x"), insert("x", parts), Write(WriteKind.DELETE, other, {"id": "x"}, {})])
    assert await statements(writes, parts) == [("insert", "things", 1), ("insert", "parts", 1)]
    assert writes
    assert await statements(writes) == [("delete", "other", 1)]


async def test_row_that_nothing_touches_needs_no_flush() -> None:
    """Reading one row by its key has nothing written unless a declared write could touch that row."""
    writes = Writes()
    writes.add([insert("x"), Write(WriteKind.UPDATE, things, {"id": "y"}, {"a": 1})])
    assert [writes.touches(things, (name,)) for name in "xyz"] == [True, True, False]
    assert writes.touches(things)
    assert not writes.touches(parts)
    writes.add([Write(WriteKind.DELETE, things, {"a": 1}, {})])
    assert writes.touches(things, ("z",))


_x = sa.select(parts.c.thing)


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        (sa.select(things.c.id), {things}),
        (sa.select(sa.func.count()).select_from(things), {things}),
        (sa.select(things).join(parts, parts.c.thing == things.c.id), {things, parts}),
        (sa.select(things).where(sa.exists().where(parts.c.thing == things.c.id)), {things, parts}),
        (sa.select(things).where(things.c.id.in_(_x)), {things, parts}),
        (sa.select(_x.cte("x").c.thing), {parts}),
        (sa.select(_x.subquery().c.thing), {parts}),
        (sa.select(_x.scalar_subquery()), {parts}),
        (sa.select(parts.alias("p").c.id), {parts}),
        (sa.select(sa.text("count(*)")).select_from(things), None),
    ],
)
def test_tables_that_a_statement_reads(statement: sa.Select[Any], tables: set[sa.Table] | None) -> None:
    """All tables of a statement are found, however deep they are; free text may read any."""
    for _ in range(2):
        assert tables_of(statement) == tables
