"""Where SQLite's errors become refusals: once, at the store's border."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

import sqlalchemy as sa

from backchannel_protocol import Refused

__all__ = ["sqlite_border"]

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "The database is busy.",
    sqlite3.SQLITE_LOCKED: "The database is busy.",
    sqlite3.SQLITE_FULL: "The database's disk is full.",
    sqlite3.SQLITE_IOERR: "The database's disk failed.",
    sqlite3.SQLITE_READONLY: "The database cannot be written.",
    sqlite3.SQLITE_CANTOPEN: "The database cannot be opened.",
    sqlite3.SQLITE_NOMEM: "The server is out of memory.",
    sqlite3.SQLITE_CORRUPT: "The database is damaged; the operator must restore it.",
    sqlite3.SQLITE_NOTADB: "The database is damaged; the operator must restore it.",
}
_CONFLICT = {
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "What this refers to does not exist, or something still refers to it.",
    sqlite3.SQLITE_CONSTRAINT_CHECK: "A value breaks a rule of the database.",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "A value that the database needs is missing.",
}


@contextmanager
def sqlite_border(*, committing: bool = False) -> Generator[None]:
    """Turn what SQLite refuses into `conflict`, and what it cannot do now into `unavailable`.

    A statement that is wrong in itself (no such table, bad SQL) is a defect of whoever wrote it and passes unchanged.

    Args:
        committing: a failure leaves open whether the transaction counts (`outcome` is `unknown`).
    """
    try:
        yield
    except (sqlite3.DatabaseError, sa.exc.DBAPIError) as exc:
        refused = _refusal(exc, committing)
        if refused is None:
            raise
        raise refused from exc


def _refusal(exc: sqlite3.DatabaseError | sa.exc.DBAPIError, committing: bool) -> Refused | None:
    cause = exc.orig if isinstance(exc, sa.exc.DBAPIError) else exc
    code: int = getattr(cause, "sqlite_errorcode", 0)
    if isinstance(cause, sqlite3.IntegrityError):
        # A deferred constraint is checked by COMMIT, which then leaves the transaction open: nothing happened.
        return Refused("conflict", _CONFLICT.get(code, "Something with this key is there already."))
    message = _UNAVAILABLE.get(code & 0xFF)
    if message is None:
        return None
    return Refused("unavailable", message, outcome="unknown" if committing else "none", retry_after=1.0)
