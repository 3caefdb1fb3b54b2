"""Brings a database's tables up to date: Backchannel's own first, then each app's. Forward only, safe to repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from ..app import Migrations
from ..registration import RegistrationError
from . import tables
from .errors import StoreError
from .shapes import check_table

__all__ = ["CORE", "upgrade"]

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
        StoreError: the database is newer than the code, or the revisions do not make one line.
    """
    _check(apps)
    say = progress or (lambda line: None)
    for migrations in (CORE, *apps):
        if migrations.directory is None:
            _create_missing(connection, migrations, say)
        else:
            _apply(connection, migrations.app, migrations.metadata, migrations.directory, say)


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


def _create_missing(connection: sa.Connection, migrations: Migrations, say: Callable[[str], None]) -> None:
    present = set(sa.inspect(connection).get_table_names())
    connection.rollback()
    missing = [table for table in migrations.metadata.sorted_tables if table.name not in present]
    if missing:
        with connection.begin():
            migrations.metadata.create_all(connection, tables=missing)
        for table in missing:
            say(f"{migrations.app}: made table {table.name}")


def _apply(
    connection: sa.Connection, app: str, metadata: sa.MetaData, directory: Path, say: Callable[[str], None]
) -> None:
    version_table = f"alembic_version_{app}"
    try:
        script = ScriptDirectory(str(directory), version_locations=[str(directory)])
        target = script.get_current_head()
    except CommandError as exc:
        raise StoreError(f"App {app!r}: the revisions in {directory} cannot be used: {exc}") from exc
    if target is None:
        raise StoreError(f"App {app!r}: there are no revisions in {directory}; add one, or name no folder.")
    options: dict[str, Any] = {"version_table": version_table}
    current = MigrationContext.configure(connection, opts=options).get_current_heads()
    connection.rollback()
    if current == (target,):
        return
    try:
        # What `alembic.command.upgrade` does, without its configuration file and env.py.
        steps = script._upgrade_revs(target, current)  # type: ignore[arg-type]
    except CommandError as exc:
        raise StoreError(
            f"App {app!r}: the database is at revision {', '.join(current)}, which this version does not know: it was "
            f"made by a newer one. Install that version; there is no way back."
        ) from exc

    def revisions(_heads: Any, _context: MigrationContext) -> Any:
        return steps

    with (
        EnvironmentContext(Config(), script, fn=revisions, destination_rev=target) as environment,
        connection.begin(),
    ):
        environment.configure(
            connection=connection,
            target_metadata=metadata,
            version_table=version_table,
            on_version_apply=lambda *, step, **_: say(f"{app}: {step.up_revision_id} {step.up_revision.doc}"),
        )
        environment.run_migrations()
        _check_references(connection, app)


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
