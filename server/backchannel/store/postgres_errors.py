"""Where PostgreSQL's errors become refusals: once, at the store's border."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import asyncpg
import sqlalchemy as sa

from backchannel_protocol import Refused

__all__ = ["LOCK_TIMEOUT", "ROLLED_BACK", "SCHEMA_MISSING", "postgres_border", "refuses_for_good"]

ROLLED_BACK: Final = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock: the same transaction may well succeed when it is tried again."""
LOCK_TIMEOUT: Final = "55P03"
SCHEMA_MISSING: Final = frozenset({"42P01", "3F000"})

_CONFLICT: Final = {
    "23503": "What this refers to does not exist, or something still refers to it.",
    "23514": "A value breaks a rule of the database.",
    "23502": "A value that the database needs is missing.",
}
# By SQLSTATE, or by its class.
_UNAVAILABLE: Final = {
    "08": "The connection to the database was lost.",
    "40": "Another transaction was in the way.",
    "53": "The database has no room, or too many connections.",
    "57": "The database stops or starts.",
    "58": "The database's disk failed.",
    "XX": "The database is damaged; the operator must look at its log.",
    "53100": "The database's disk is full.",
    "57014": "The database took too long.",
    "25P03": "The transaction was kept open for too long.",
    "25P02": "The transaction was refused before.",
    "25006": "The database cannot be written.",
    "3D000": "The database is not there.",
    "28000": "The database does not let this server in.",
    "28P01": "The database does not let this server in.",
    LOCK_TIMEOUT: "Another transaction holds what this one needs.",
}
# After these the server has told that it rolled back, so that even the outcome of a commit is known.
_KNOWN: Final = ("22", "23", "40", "42", "53", "55", "25", "57014")
_FOR_GOOD: Final = {
    "28000": "this user may not connect",
    "28P01": "the password is wrong",
    "3D000": "there is no such database",
    "42501": "this user's rights do not suffice",
}


@contextmanager
def postgres_border(*, committing: bool = False) -> Generator[None]:
    """Turn what PostgreSQL refuses into `conflict` or `invalid`, and what it cannot do now into `unavailable`.

    A statement that is wrong in itself (no such table, bad SQL) is a defect of whoever wrote it: it comes as
    SQLAlchemy's `DatabaseError`, as it does on SQLite.

    Args:
        committing: a failure of the connection leaves open whether the transaction counts (`outcome` is `unknown`).
    """
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as exc:
        raise _translated(exc, committing) from exc


def _translated(exc: Exception, committing: bool) -> Exception:
    if isinstance(exc, asyncpg.PostgresError):
        state = exc.sqlstate or "XX000"
        if state.startswith("23"):
            return Refused("conflict", _CONFLICT.get(state, "Something with this key is there already."))
        if state.startswith("22"):
            # What asyncpg itself cannot encode comes with the reason; where it is the type, the code is wrong.
            if exc.__cause__ is not None and not isinstance(exc.__cause__, OverflowError | UnicodeError):
                return sa.exc.DataError(None, None, exc, hide_parameters=True)
            return Refused("invalid", "A value is one that the database cannot hold.", outcome="none")
        message = _UNAVAILABLE.get(state) or _UNAVAILABLE.get(state[:2])
        if message is None:
            return sa.exc.DatabaseError(None, None, exc, hide_parameters=True)
        unknown = committing and not state.startswith(_KNOWN)
        return _unavailable(message, unknown)
    if isinstance(exc, TimeoutError):
        return _unavailable("The database does not answer.", committing)
    # asyncpg names a connection that was lost in many ways; all that it names otherwise is met with one that works.
    return _unavailable("The connection to the database was lost.", committing)


def _unavailable(message: str, unknown: bool) -> Refused:
    return Refused("unavailable", message, outcome="unknown" if unknown else "none", retry_after=1.0)


def refuses_for_good(exc: BaseException) -> str:
    """Why no further try would help, when a connection was refused; empty if one may."""
    cause = exc.__cause__ if isinstance(exc, Refused) else exc
    if isinstance(cause, sa.exc.DBAPIError):
        cause = cause.orig
    state = cause.sqlstate if isinstance(cause, asyncpg.PostgresError) else None
    return _FOR_GOOD.get(state or "", "")
