"""Where a PostgreSQL is, and how a connection to it is made."""

from __future__ import annotations

import asyncio
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg

from .errors import StoreError
from .postgres_errors import postgres_border, refuses_for_good

__all__ = ["CONNECT_SECONDS", "Connection", "PostgresTarget"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_SECONDS: Final = 3.0
"""How long a connection may take to be made."""

_STATEMENTS: Final = 512
"""Prepared statements kept per connection."""

_FORM: Final = "postgresql://user:password@host:5432/database"


class PostgresTarget:
    """One database. Its text never holds the password.

    Args:
        url: `postgresql://user:password@host:port/database`, with the parameters of libpq (`sslmode=…`).
            `pgbouncer=true` or `false` says whether a pooler that gives a connection away after each transaction stands
            between; without it, it is found out: the process id that a pooler greets with is not the server process's.

    Raises:
        StoreError: the URL cannot be read.
    """

    __slots__ = ("_dsn", "_pooled", "shown")

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            words = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            port = parts.port
        except ValueError:
            # Whatever it says may quote the password.
            raise StoreError(f"The URL of PostgreSQL cannot be read: write it as {_FORM}.") from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise StoreError(f"{parts.scheme or 'An empty URL'} is no PostgreSQL: write its URL as {_FORM}.")
        said = dict(words).get("pgbouncer", "auto")
        if said not in ("true", "false", "auto"):
            raise StoreError("pgbouncer in the URL of PostgreSQL must be true, false or auto.")
        self._pooled: bool | None = {"true": True, "false": False}.get(said)
        rest = [(name, value) for name, value in words if name != "pgbouncer"]
        self._dsn = urlunsplit(parts._replace(query=urlencode(rest)))
        place = (parts.hostname or "") + (f":{port}" if port else "")
        user = f"{quote(parts.username, safe='')}@" if parts.username else ""
        self.shown: str = f"postgresql://{user}{place}{parts.path}"
        """The URL without its password and parameters."""

    def __repr__(self) -> str:
        return f"PostgresTarget({self.shown})"

    async def pooled(self) -> bool:
        """Whether statements must not outlive their transaction on the server; found out with the first connection.

        Raises:
            Refused, StoreError: as `connect`.
        """
        if self._pooled is None:
            connection = await self._connect(0)
            try:
                with postgres_border():
                    async with asyncio.timeout(CONNECT_SECONDS), connection.transaction():
                        process: int = await connection.fetchval("SELECT pg_backend_pid()")
                self._pooled = process != connection.get_server_pid()
            finally:
                connection.terminate()
        return self._pooled

    async def connect(self) -> Connection:
        """Make a connection.

        Behind a pooler it keeps no prepared statements, which cost one more round trip per statement there.

        Raises:
            Refused: `unavailable`: it is not there now.
            StoreError: it refuses for good: a wrong password, no such database.
        """
        return await self._connect(0 if await self.pooled() else _STATEMENTS)

    async def _connect(self, statements: int) -> Connection:
        try:
            with postgres_border():
                return await self._open(statements)
        except Exception as exc:
            if reason := refuses_for_good(exc):
                raise StoreError(f"PostgreSQL at {self.shown} refuses: {reason}. Check the URL.") from None
            raise

    async def _open(self, statements: int) -> Connection:
        try:
            return await asyncpg.connect(
                self._dsn, timeout=CONNECT_SECONDS, statement_cache_size=statements, max_cacheable_statement_size=0
            )
        except ValueError:
            # Its own words may quote the password.
            raise StoreError(f"The URL of PostgreSQL cannot be used: write it as {_FORM}.") from None
