"""Whether PostgreSQL can be reached, keeps what it says it keeps, has connections to spare, and is up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from backchannel_protocol import BackchannelError

from ...settings import Settings
from .finding import Finding, failed, fine, warning
from .tables import check_tables

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ...app import Migrations

__all__ = ["check_postgres"]

_OLDEST: Final = 130_000


def check_postgres(settings: Settings, migrations: Sequence[Migrations]) -> Iterator[Finding]:
    """The database of the settings. Nothing is changed."""
    from ...store.postgres_migrations import run_in_engine
    from ...store.postgres_target import PostgresTarget

    def look(connection: sa.Connection) -> list[Finding]:
        return [
            *_server(connection),
            *_connections(connection, settings.postgres_pool),
            *check_tables(connection, migrations),
        ]

    async def ask() -> list[Finding]:
        target = PostgresTarget(settings.postgres)
        found = await run_in_engine(target, look, begin=False)
        pooler = ["a pooler stands between: each statement takes two round trips"] if await target.pooled() else []
        return [fine(f"{target.shown} can be reached"), *map(fine, pooler), *found]

    try:
        yield from asyncio.run(ask())
    except BackchannelError as exc:
        yield failed(f"PostgreSQL cannot be used: {exc}", "Start it, and check `postgres` in the settings.")


def _server(connection: sa.Connection) -> Iterator[Finding]:
    said = {
        name: str(connection.exec_driver_sql(f"SELECT current_setting('{name}')").scalar_one())
        for name in ("server_version_num", "server_version", "fsync", "full_page_writes", "server_encoding")
    }
    version = said["server_version"]
    if int(said["server_version_num"]) < _OLDEST:
        yield failed(f"PostgreSQL {version} is too old", "Use version 13 or later.")
    else:
        yield fine(f"it is PostgreSQL {version}")
    if said["server_encoding"] != "UTF8":
        yield failed(f"its encoding is {said['server_encoding']}", "Make the database with ENCODING 'UTF8'.")
    for name in ("fsync", "full_page_writes"):
        if said[name] != "on":
            yield failed(f"{name} is off: a machine that fails loses what was acknowledged", f"Set {name} = on.")
    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        yield failed("it is a replica, which cannot be written", "Name the primary.")


def _connections(connection: sa.Connection, pool: int) -> Iterator[Finding]:
    limit, used = connection.exec_driver_sql(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int, "
        "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
    ).one()
    text = f"{used} of {limit} connections are in use, and each process may hold {pool}"
    if limit - used < pool:
        yield warning(text, "Raise max_connections, lower postgres_pool, or put PgBouncer between.")
    else:
        yield fine(text)
