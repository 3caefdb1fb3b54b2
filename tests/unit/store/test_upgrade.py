"""Migrations: Backchannel's own and an app's, forward only."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from backchannel import RegistrationError
from backchannel.app import Migrations
from backchannel.broker.broker import Envelope
from backchannel.store import tables, upgrade
from backchannel.store.errors import StoreError
from backchannel.store.sqlite import migrate_sqlite, new_sqlite_epoch, open_sqlite
from backchannel.store.sqlite_connection import sqlite_engine

FIRST = """
\"\"\"first orders\"\"\"
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
    )
    op.create_table(
        "lines",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("order", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["app", "order"], ["orders.app", "orders.id"], ondelete="CASCADE"),
    )
"""
SECOND = """
\"\"\"orders have a price\"\"\"
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("orders", recreate="always") as batch:
        batch.add_column(sa.Column("price", sa.Integer, nullable=False, server_default="0"))
"""
THIRD = """
\"\"\"the price goes\"\"\"
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("price")
"""
FOURTH = """
\"\"\"a note\"\"\"
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("orders", sa.Column("note", sa.Text))
"""
BROKEN = """
\"\"\"goes wrong half-way\"\"\"
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table("half", sa.Column("app", sa.Text, primary_key=True))
    op.execute("DELETE FROM orders")
    {mistake}
"""

Write = Callable[..., Migrations]


@pytest.fixture
def shop(tmp_path: Path) -> Write:
    """An app's folder of revisions, as of some version of the app."""
    directory = tmp_path / "revisions"
    directory.mkdir()

    def write(*revisions: str) -> Migrations:
        for file in directory.glob("*.py"):
            file.unlink()
        for number, text in enumerate(revisions, 1):
            (directory / f"{number:04}_change.py").write_text(text)
        return Migrations("shop", sa.MetaData(), directory)

    return write


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What the database answers."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_the_revisions_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    """`tables.py` and the revisions say the same, index by index."""
    path = tmp_path / "store.db"
    migrate_sqlite(path, ())
    engine = sqlite_engine(path)
    with engine.connect() as connection:
        options = {"version_table": "alembic_version_backchannel", "compare_type": True}
        difference = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
        kinds = connection.exec_driver_sql("SELECT name FROM pragma_table_list WHERE wr = 1").scalars().all()
    engine.dispose()
    assert difference == []
    rowless = {t.name for t in tables.metadata.sorted_tables if not t.dialect_options["sqlite"]["with_rowid"]}
    assert rowless == set(kinds)


def test_an_upgrade_that_has_nothing_to_do_is_silent_and_fast(tmp_path: Path, shop: Write) -> None:
    """A database that is up to date is left as it is, well under 100 ms."""
    path = tmp_path / "store.db"
    lines: list[str] = []
    migrate_sqlite(path, [shop(FIRST)], lines.append)
    assert lines == [
        "backchannel: 0001 first tables",
        "backchannel: 0002 revocations",
        "backchannel: 0003 leases, and what older versions can use",
        "backchannel: 0004 keys in the order in which they came",
        "shop: 0001 first orders",
    ]
    version = query(path, "PRAGMA data_version")
    lines.clear()
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        migrate_sqlite(path, [shop(FIRST)], lines.append)
        best = min(best, time.perf_counter() - start)
    assert lines == []
    assert query(path, "PRAGMA data_version") == version
    assert best < 0.1


def test_an_older_database_is_brought_up_to_date(tmp_path: Path, shop: Write) -> None:
    """A newer version's revisions follow the older ones; rows stay, also those that refer to a table made anew."""
    path = tmp_path / "store.db"
    migrate_sqlite(path, [shop(FIRST)])
    query(path, "INSERT INTO orders VALUES ('main', 'a')")
    query(path, "INSERT INTO lines VALUES ('main', 'l', 'a')")
    lines: list[str] = []
    migrate_sqlite(path, [shop(FIRST, SECOND)], lines.append)
    assert lines == ["shop: 0002 orders have a price"]
    assert query(path, "SELECT * FROM orders") == [("main", "a", 0)]
    assert query(path, "SELECT * FROM lines") == [("main", "l", "a")]
    assert query(path, "SELECT * FROM alembic_version_shop") == [("0002",)]


def test_keys_stay_when_their_table_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Revision 0004: a database of an earlier version keeps every key with its reply, and what may not be twice."""
    path = tmp_path / "store.db"
    earlier = tmp_path / "earlier"
    assert upgrade.CORE.directory is not None
    shutil.copytree(upgrade.CORE.directory, earlier, ignore=shutil.ignore_patterns("0004_*", "__pycache__"))
    with monkeypatch.context() as then:
        then.setattr(upgrade, "CORE", Migrations("backchannel", tables.metadata, earlier))
        migrate_sqlite(path, ())
    rows = [("main", "b", "2", b"d", b"r", 1), ("main", "a", "1", b"e", None, 2), ("other", "a", "1", b"f", b"s", 3)]
    for row in rows:
        values = ", ".join(f"x'{v.hex()}'" if isinstance(v, bytes) else "NULL" if v is None else repr(v) for v in row)
        query(path, f"INSERT INTO keys (app, principal, key, digest, reply, time) VALUES ({values})")
    lines: list[str] = []
    migrate_sqlite(path, (), lines.append)
    assert lines == ["backchannel: 0004 keys in the order in which they came"]
    assert query(path, "SELECT app, principal, key, digest, reply, time FROM keys ORDER BY rowid") == rows
    with pytest.raises(sqlite3.IntegrityError):
        query(path, "INSERT INTO keys VALUES ('main', 'a', '1', x'00', NULL, 4)")


@pytest.mark.parametrize("mistake", ["raise RuntimeError('mistake')", "pass"])
def test_a_revision_that_fails_changes_nothing(tmp_path: Path, shop: Write, mistake: str) -> None:
    """A revision that raises, or leaves references to nothing, is undone whole."""
    path = tmp_path / "store.db"
    migrate_sqlite(path, [shop(FIRST, SECOND)])
    query(path, "INSERT INTO orders VALUES ('main', 'a', 1)")
    query(path, "INSERT INTO lines VALUES ('main', 'l', 'a')")
    with pytest.raises((RuntimeError, StoreError), match=r"mistake|refer to rows of 'orders' that are not there"):
        migrate_sqlite(path, [shop(FIRST, SECOND, BROKEN.format(mistake=mistake))])
    assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'half'") == []
    assert query(path, "SELECT * FROM orders") == [("main", "a", 1)]
    migrate_sqlite(path, [shop(FIRST, SECOND)])


def test_an_older_version_uses_tables_that_were_expanded(tmp_path: Path, shop: Write) -> None:
    """What a newer version only added to is in nobody's way: the older one starts, says so, and changes nothing."""
    path = tmp_path / "store.db"
    migrate_sqlite(path, [shop(FIRST, SECOND)])
    lines: list[str] = []
    migrate_sqlite(path, [shop(FIRST)], lines.append)
    assert lines == ["shop: a newer version made the tables (0002); this one can use them"]
    assert query(path, "SELECT * FROM alembic_version_shop") == [("0002",)]


def test_an_older_version_is_refused_where_something_was_taken_away(tmp_path: Path, shop: Write) -> None:
    """A revision that says `contracts = True` ends the time of all versions that do not know it, also when others came
    after it; versions that know it start."""
    path = tmp_path / "store.db"
    contracting = THIRD + "\ncontracts = True\n"
    migrate_sqlite(path, [shop(FIRST, SECOND, contracting, FOURTH)])
    for known in ((FIRST,), (FIRST, SECOND)):
        with pytest.raises(StoreError, match=r"at revision 0004.*made by a newer version.*taken away"):
            migrate_sqlite(path, [shop(*known)])
    migrate_sqlite(path, [shop(FIRST, SECOND, contracting)])
    migrate_sqlite(path, [shop(FIRST, SECOND, contracting, FOURTH)])


def test_revisions_must_make_one_line(tmp_path: Path, shop: Write) -> None:
    """Two heads, or no revision at all, are refused by name."""
    fork = SECOND.replace('"0002"', '"0002b"')
    with pytest.raises(StoreError, match="'shop'"):
        migrate_sqlite(tmp_path / "store.db", [shop(FIRST, SECOND, fork)])
    with pytest.raises(StoreError, match="there are no revisions"):
        migrate_sqlite(tmp_path / "store.db", [shop()])


def test_tables_without_revisions_are_made_and_left_alone(tmp_path: Path) -> None:
    """Without a folder missing tables are made at start, and those that are there are never changed."""
    path = tmp_path / "store.db"
    metadata = sa.MetaData()
    sa.Table("orders", metadata, sa.Column("app", sa.Text, primary_key=True))
    lines: list[str] = []
    migrate_sqlite(path, [Migrations("shop", metadata, None)], lines.append)
    metadata = sa.MetaData()
    sa.Table("orders", metadata, sa.Column("app", sa.Text, primary_key=True), sa.Column("price", sa.Integer))
    sa.Table("lines", metadata, sa.Column("app", sa.Text, primary_key=True))
    migrate_sqlite(path, [Migrations("shop", metadata, None)], lines.append)
    assert lines[4:] == ["shop: made table orders", "shop: made table lines"]
    assert [row[1] for row in query(path, "PRAGMA table_info(orders)")] == ["app"]


def app_column() -> sa.Column[str]:
    """The column that every table begins with."""
    return sa.Column("app", sa.Text, primary_key=True)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ([sa.Column("id", sa.Text, primary_key=True)], "has no `app` column"),
        ([sa.Column("id", sa.Text, primary_key=True), app_column()], "`app` must come first"),
        ([sa.Column("id", sa.Text, primary_key=True), sa.Column("app", sa.Text)], "`app` must come first"),
        ([app_column(), sa.Column("at", sa.DateTime, default=sa.func.now())], "use `server_default`"),
        ([app_column(), sa.Column("at", sa.Integer, onupdate=1)], "`onupdate` is never run"),
    ],
)
def test_tables_that_apps_could_not_share_are_refused(
    tmp_path: Path, columns: list[sa.Column[Any]], reason: str
) -> None:
    """A table that is not keyed by app, or that the driver alone could not fill, is refused; nothing is made."""
    metadata = sa.MetaData()
    sa.Table("orders", metadata, *columns)
    with pytest.raises(RegistrationError, match=reason):
        open_sqlite(tmp_path / "store.db", migrations=[Migrations("shop", metadata, None)])
    assert query(tmp_path / "store.db", "SELECT name FROM sqlite_schema") == []


def test_names_that_are_taken_are_refused(tmp_path: Path, shop: Write) -> None:
    """Two apps cannot own one table or one version table, and nobody may take Backchannel's."""
    orders, others, events = sa.MetaData(), sa.MetaData(), sa.MetaData()
    for metadata, name in ((orders, "orders"), (others, "orders"), (events, "events")):
        sa.Table(name, metadata, sa.Column("app", sa.Text, primary_key=True))
    for migrations, reason in (
        ([Migrations("a", orders, None), Migrations("b", others, None)], "'orders' belongs to 'a'"),
        ([Migrations("a", events, None)], "'events' belongs to 'backchannel'"),
        ([shop(FIRST), shop(FIRST)], "an app named 'shop'"),
    ):
        with pytest.raises(RegistrationError, match=reason):
            migrate_sqlite(tmp_path / "store.db", migrations)


async def test_a_new_epoch_makes_positions_void(tmp_path: Path) -> None:
    """After a restore every channel of every app has a new epoch, used or not; offsets go on and events stay."""
    path = tmp_path / "store.db"
    before, after = {}, {}
    for app in ("one", "two"):
        store = open_sqlite(path, app)
        transaction = await store.begin([])
        (before[app],) = await transaction.append([Envelope(channel="c:a", name="x.y", data=b"1")])
        await transaction.commit()
        await store.close()
    assert new_sqlite_epoch(path, lambda: 5) == 2
    for app in ("one", "two"):
        store = open_sqlite(path, app)
        reader = store.log_reader()
        unused = (await reader.head("c:unused")).epoch
        head, events = await reader.read("c:a", 0, 10)
        await reader.close()
        transaction = await store.begin([])
        (after[app],) = await transaction.append([Envelope(channel="c:a", name="x.y", data=b"2")])
        await transaction.commit()
        await store.close()
        assert head.epoch == unused == after[app].epoch != before[app].epoch
        assert [event.offset for event in events] == [1]
        assert after[app].offset == 2
    assert len({event.epoch for event in (*before.values(), *after.values())}) == 4
