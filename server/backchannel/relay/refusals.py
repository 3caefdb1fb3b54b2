"""Refusals that the relay itself makes, whatever carries it."""

from __future__ import annotations

from typing import Final

import msgspec

from backchannel_protocol import Outcome, Refused

from .relay import Failure

__all__ = [
    "BUSY",
    "CANCELLED",
    "GATEWAY_STOPS",
    "NOT_SENT",
    "NOT_SENT_IN_TIME",
    "NO_WORKER",
    "REDIS_LOST",
    "TIME_IS_OUT",
    "TOO_MANY_ATTEMPTS",
    "UNSERVED",
    "WORKER_DIED",
    "unsendable",
    "with_unknown_outcome",
]


def _unavailable(message: str, retry_after: float | None = 1.0) -> Failure:
    return Failure.of(Refused("unavailable", message, outcome="none", retry_after=retry_after))


NO_WORKER: Final = _unavailable("No worker is there; ask again in a moment.")
UNSERVED: Final = _unavailable("No worker that is there serves this name; ask again in a moment.")
BUSY: Final = _unavailable("The worker has as many requests as it may have; ask again in a moment.", 0.5)
REDIS_LOST: Final = _unavailable("Redis cannot be reached; ask again in a moment.")
GATEWAY_STOPS: Final = _unavailable("This gateway stops; ask again in a moment.")
TOO_MANY_ATTEMPTS: Final = _unavailable("No worker answered, however often it was asked; ask again in a moment.")
WORKER_DIED: Final = Failure.of(
    Refused("unavailable", "The worker is gone, and with it the answer.", outcome="unknown", retry_after=1.0)
)
TIME_IS_OUT: Final = Failure.of(
    Refused("unavailable", "No answer came in time; ask again, a command with the same key.")
)
NOT_SENT_IN_TIME: Final = _unavailable("The time was over before a worker could be asked; nothing happened.")
CANCELLED: Final = Failure.of(Refused("cancelled", "The call was cancelled; whether it took effect is unknown."))
NOT_SENT: Final = Failure.of(Refused("cancelled", "The call was cancelled before it reached a worker.", outcome="none"))


def unsendable(what: str, outcome: Outcome) -> Failure:
    """The failure of a request or reply that has no form on the bus.

    Args:
        what: what it is, as the beginning of a sentence.
        outcome: whether anything has happened.
    """
    message = f"{what} cannot travel: it holds text or numbers that have no form."
    return Failure.of(Refused("internal", message, retry=False, outcome=outcome))


def with_unknown_outcome(failure: Failure) -> Failure:
    """The same failure, where an earlier attempt may have taken effect."""
    return msgspec.structs.replace(failure, outcome="unknown")
