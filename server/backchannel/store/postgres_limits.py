"""How long PostgreSQL may take for what, and what a transaction begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

__all__ = ["SLACK", "PostgresLimits", "begin_snapshot", "begin_write"]

SLACK: Final = 2.0
"""How many seconds later than the server this side gives up: by then the server is not there."""


class PostgresLimits(Struct, frozen=True, kw_only=True):
    """Seconds. The server ends what takes longer, so that a worker that stopped keeps nobody waiting for its lanes."""

    lock: float = 5.0
    """How long a lane, or a row, is waited for."""
    statement: float = 10.0
    """How long one statement may take, waiting included."""
    idle: float = 5.0
    """How long a transaction may be open without a statement."""

    @property
    def answer(self) -> float:
        """How long this side waits for an answer."""
        return self.statement + SLACK


def begin_write(limits: PostgresLimits, lanes: Sequence[int]) -> str:
    """Begin a transaction and lock lanes, in one message.

    Each statement of it sees what was committed before it began, so what is read after the lock is what the lane's last
    transaction left. A commit waits for the disk also where the server's settings say that it need not.
    """
    text = (
        f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {_settings(limits)}; "
        "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
    )
    if lanes:
        numbers = ",".join(map(str, lanes))
        text += f"; SELECT pg_advisory_xact_lock(lane) FROM unnest('{{{numbers}}}'::bigint[]) AS w(lane)"  # noqa: S608
    return text


def begin_snapshot(limits: PostgresLimits) -> str:
    """Begin a read-only transaction, and take its snapshot: `BEGIN` alone takes none."""
    return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_settings(limits)}; SELECT 1"


def _settings(limits: PostgresLimits) -> str:
    spans = {
        "lock_timeout": limits.lock,
        "statement_timeout": limits.statement,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    settings = [f"SET LOCAL {name} = {max(int(seconds * 1000), 1)}" for name, seconds in spans.items()]
    # Compiling a statement with a few subqueries takes a quarter of a second, and running it a few milliseconds.
    return "; ".join([*settings, "SET LOCAL jit = off"])
