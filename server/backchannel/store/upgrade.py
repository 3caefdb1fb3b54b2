"""Brings a database's tables up to date: Backchannel's own first, then each app's. Forward only, safe to repeat.

Several processes may do so at once, while others use the database. Code may meet tables that a newer version made: it
can use them as long as no revision that it does not know took something away (`contracts = True` in the revision).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from ..app import Migrations
from ..registration import RegistrationError
from . import tables
from .errors import StoreError
from .lanes import lock_number
from .shapes import check_table
from .tables import revision_floors

__all__ = ["CORE", "LOCK_PATIENCE", "PATIENCE", "Standing", "standing", "upgrade"]

Standing = Literal["behind", "current", "newer", "too new"]
"""`newer`: a newer version made the tables, and this one can use them. `too new`: it cannot."""

PATIENCE: Final = 600.0
"""Seconds that a process waits for another one that migrates."""

LOCK_PATIENCE: Final = 3.0
"""Seconds that a revision waits for a table, while everybody who wants it waits behind it."""

CORE = Migrations("backchannel", tables.metadata, Path(__file__).with_name("migrations") / "versions")
"""Backchannel's own tables."""


def upgrade(
    connection: sa.Connection, apps: Sequence[Migrations] = (), progress: Callable[[str], None] | None = None
) -> None:
    """Bring the tables of Backchannel and of these apps up to date.

    Args:
        connection: not in a transaction, on SQLite with foreign keys off; each app's revisions are applied in a
            transaction of their own, whole or not at all.
        apps: `App.migrations`.
        progress: called with one line per revision applied or table made.

    Raises:
        RegistrationError: a table is not keyed by app (tenant), or two sets of migrations claim one name. Nothing was
            changed.
        StoreError: the code is too old for the database, or the revisions do not make one line.
    """
    _check(apps)
    say = progress or (lambda line: None)
    for migrations in (CORE, *apps):
        if migrations.directory is None:
            _create_missing(connection, migrations, say)
        else:
            _apply(connection, migrations, _script(migrations), say)


def standing(connection: sa.Connection, migrations: Migrations) -> Standing:
    """How the tables in a database stand to this code. The connection is left outside of a transaction.

    Raises:
        StoreError: the revisions do not make one line.
    """
    try:
        if migrations.directory is None:
            return "behind" if _missing(connection, migrations) else "current"
        return _standing(connection, migrations.app, _script(migrations))[0]
    finally:
        connection.rollback()


@contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    """A transaction in which no other process migrates; it waits for one that does.

    What it waits for besides, it waits for only briefly: behind a lock that is waited for, all others would wait.
    """
    with connection.begin():
        if connection.dialect.name == "postgresql":
            for text in (
                "SET LOCAL statement_timeout = 0",
                f"SET LOCAL lock_timeout = {int(PATIENCE * 1000)}",
                f"SELECT pg_advisory_xact_lock({lock_number('migrations')})",
                f"SET LOCAL lock_timeout = {int(LOCK_PATIENCE * 1000)}",
            ):
                connection.exec_driver_sql(text)
        yield


def _check(apps: Sequence[Migrations]) -> None:
    named = {CORE.app}
    owners: dict[str, Migrations] = dict.fromkeys(tables.metadata.tables, CORE)
    for migrations in apps:
        for name, table in migrations.metadata.tables.items():
            check_table(table)
            owner = owners.setdefault(name, migrations)
            if owner.metadata is not migrations.metadata:
                raise RegistrationError(
                    f"App {migrations.app!r}: table {name!r} belongs to {owner.app!r} already; choose another name."
                )
        if migrations.directory is None:
            continue
        if migrations.app in named:
            raise RegistrationError(
                f"Two sets of migrations belong to an app named {migrations.app!r}: rename one app, or put its "
                f"revisions in one folder."
            )
        named.add(migrations.app)


def _missing(connection: sa.Connection, migrations: Migrations) -> list[sa.Table]:
    present = set(sa.inspect(connection).get_table_names())
    return [table for table in migrations.metadata.sorted_tables if table.name not in present]


def _create_missing(connection: sa.Connection, migrations: Migrations, say: Callable[[str], None]) -> None:
    missing = _missing(connection, migrations)
    connection.rollback()
    if not missing:
        return
    with _alone(connection):
        missing = _missing(connection, migrations)
        migrations.metadata.create_all(connection, tables=missing)
    for table in missing:
        say(f"{migrations.app}: made table {table.name}")


def _script(migrations: Migrations) -> ScriptDirectory:
    directory = migrations.directory
    try:
        script = ScriptDirectory(str(directory), version_locations=[str(directory)])
        if script.get_current_head() is not None:
            return script
    except CommandError as exc:
        raise StoreError(f"App {migrations.app!r}: the revisions in {directory} cannot be used: {exc}") from exc
    raise StoreError(f"App {migrations.app!r}: there are no revisions in {directory}; add one, or name no folder.")


def _standing(connection: sa.Connection, app: str, script: ScriptDirectory) -> tuple[Standing, tuple[str, ...]]:
    """How an app's tables stand, and the revisions that they are at."""
    options = {"version_table": f"alembic_version_{app}"}
    current = MigrationContext.configure(connection, opts=options).get_current_heads()
    if current == (script.get_current_head(),):
        return "current", current
    known = {revision.revision for revision in script.walk_revisions()}
    if known.issuperset(current):
        return "behind", current
    floor = None
    if sa.inspect(connection).has_table(revision_floors.name):
        floor = connection.scalar(sa.select(revision_floors.c.revision).where(revision_floors.c.app == app))
    return ("newer" if floor is None or floor in known else "too new"), current


def _apply(
    connection: sa.Connection, migrations: Migrations, script: ScriptDirectory, say: Callable[[str], None]
) -> None:
    app = migrations.app
    state, _ = _standing(connection, app, script)
    connection.rollback()
    if state == "current":
        return
    with _alone(connection):
        # Another process may have brought it up to date meanwhile.
        state, current = _standing(connection, app, script)
        if state == "behind":
            _run(connection, migrations, script, current, say)
        elif state == "newer":
            say(f"{app}: a newer version made the tables ({', '.join(current)}); this one can use them")
        elif state == "too new":
            raise StoreError(
                f"App {app!r}: the database is at revision {', '.join(current)}: it was made by a newer version, and "
                f"what this one uses was taken away. Install that version; there is no way back."
            )


def _run(
    connection: sa.Connection,
    migrations: Migrations,
    script: ScriptDirectory,
    current: tuple[str, ...],
    say: Callable[[str], None],
) -> None:
    app, target = migrations.app, script.get_current_head()
    assert target is not None  # `_script` looked
    try:
        # What `alembic.command.upgrade` does, without its configuration file and env.py.
        steps = script._upgrade_revs(target, current)  # type: ignore[arg-type]
    except CommandError as exc:
        raise StoreError(f"App {app!r}: the revisions in {script.dir} cannot be used: {exc}") from exc
    contracting: list[str] = []

    def revisions(_heads: Any, _context: MigrationContext) -> Any:
        return steps

    def applied(*, step: MigrationInfo, **_: Any) -> None:
        revision: Any = step.up_revision
        say(f"{app}: {revision.revision} {revision.doc}")
        if getattr(revision.module, "contracts", False):
            contracting.append(revision.revision)

    with EnvironmentContext(Config(), script, fn=revisions, destination_rev=target) as environment:
        environment.configure(
            connection=connection,
            target_metadata=migrations.metadata,
            version_table=f"alembic_version_{app}",
            on_version_apply=applied,  # type: ignore[arg-type]
        )
        environment.run_migrations()
        _check_references(connection, app)
    if contracting:
        connection.execute(revision_floors.delete().where(revision_floors.c.app == app))
        connection.execute(revision_floors.insert().values(app=app, revision=contracting[-1]))


def _check_references(connection: sa.Connection, app: str) -> None:
    """SQLite's foreign keys are off meanwhile, since a table that is made anew by Alembic's batch mode is dropped, and
    dropping it would delete, by cascade, whatever refers to it. So they are checked at the end."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise StoreError(
                f"App {app!r}: after its revisions, rows of table {broken[0]!r} refer to rows of {broken[2]!r} that "
                f"are not there. Nothing was changed; correct the revision."
            )
