"""Failures: what becomes of an exception on its way to whoever asked. Internals never leave the worker."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
import structlog

from backchannel_protocol import ERROR_CODES, Refused

from ..relay.relay import Failure

__all__ = [
    "CANCELLED",
    "CANCELLED_RUNNING",
    "DEFECT",
    "INTERNAL",
    "NO_DATABASE",
    "STOPPED",
    "TOO_LATE",
    "UNKNOWN_OUTCOME",
    "failure_of_database",
    "failure_of_refusal",
    "failure_of_time",
    "held_too_long",
    "too_large",
]

log = structlog.get_logger(__name__)

INTERNAL: Final = Failure.of(
    Refused("internal", "The server failed; its log has the reason. Nothing happened.", outcome="none")
)
DEFECT: Final = Failure.of(Refused("internal", "The server failed; its log has the reason."))
STOPPED: Final = Failure.of(
    Refused("unavailable", "This worker stops; ask again in a moment.", outcome="none", retry_after=1.0)
)
NO_DATABASE: Final = Failure.of(
    Refused("unavailable", "The database is not there; nothing happened.", outcome="none", retry_after=1.0)
)
CANCELLED: Final = Failure.of(Refused("cancelled", "The call was cancelled before it was run.", outcome="none"))
CANCELLED_RUNNING: Final = Failure.of(
    Refused("cancelled", "The call was cancelled while it was run; nothing happened.", outcome="none")
)
TOO_LATE: Final = Failure.of(
    Refused("unavailable", "The time was over before its turn came; nothing happened.", outcome="none")
)
UNKNOWN_OUTCOME: Final = Failure.of(
    Refused(
        "unavailable",
        "The database did not confirm the commit; ask again with the same key to learn the outcome.",
        outcome="unknown",
        retry=True,
    )
)


def failure_of_refusal(exc: Refused, name: str, declared: Collection[str]) -> Failure:
    """What a handler's `Refused` is told as; `internal` if its code or details have no form on the wire."""
    if exc.code not in ERROR_CODES and exc.code not in declared:
        log.error(
            "a handler refused with a code that is not declared: add it to the declaration's `errors`",
            request=name,
            code=exc.code,
        )
        return INTERNAL
    failure = Failure.of(exc)
    if exc.details is not None:
        try:
            # Also cuts the tie to objects that the handler may still change.
            failure.details = msgspec.json.decode(msgspec.json.encode(exc.details))
        except (TypeError, ValueError, msgspec.MsgspecError):
            log.error(
                "a handler refused with details that cannot travel: use plain values",
                request=name,
                code=exc.code,
            )
            return INTERNAL
    return failure


def too_large(name: str, size: int, limit: int) -> Failure:
    """A reply is over the frame limit."""
    return Failure.of(
        Refused("too_large", f"The answer of {name} has {size} bytes, and {limit} are allowed: ask for less at a time.")
    )


def failure_of_time(name: str, seconds: float) -> Failure:
    """A handler took too long and was cancelled."""
    return Failure.of(
        Refused("unavailable", f"{name} took longer than {seconds:.3g} s; nothing happened.", outcome="none")
    )


def held_too_long(name: str, seconds: float) -> Refused:
    """A handler waited for other things while it held its transaction."""
    return Refused(
        "unavailable",
        f"{name} kept the database waiting for longer than {seconds:.3g} s; nothing happened.",
        outcome="none",
    )


def failure_of_database(exc: BaseException) -> Failure:
    """What the store's refusal is told as, after the rollback. A defect (bad SQL, a wrong column) is `internal`."""
    if isinstance(exc, Refused):
        failure = Failure.of(exc)
        failure.outcome = "none"
        return failure
    return INTERNAL
