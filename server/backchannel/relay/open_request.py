"""An open request: one that its gateway has not answered yet."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from .registry import LiveWorker
from .relay import Reply, Request
from .routing import Lane

__all__ = ["OpenRequest", "Passage"]


class Passage(IntEnum):
    """How far the present attempt is known to have come."""

    WRITTEN = 0
    """It left; Redis has not yet said whether anybody heard it."""
    LOST = 1
    """The connection to Redis broke before it said so."""
    PASSED_ON = 2
    """Redis passed it on."""
    TAKEN = 3
    """The worker acknowledged it."""


class OpenRequest:
    """What the gateway's end knows of one request; no task and no timer of its own."""

    __slots__ = (
        "attempts",
        "deadline",
        "done",
        "due",
        "elsewhere",
        "lane",
        "number",
        "on_reply",
        "outgoing",
        "passage",
        "repeatable",
        "request",
        "risky",
        "worker",
    )

    def __init__(self, request: Request, on_reply: Callable[[Reply], None], number: int, deadline: float) -> None:
        self.request = request
        """As it was sent last."""
        self.on_reply: Final = on_reply
        self.number: Final = number
        """Where it stands in the order of sending."""
        self.deadline: Final = deadline
        """When nobody waits any more."""
        self.due = deadline
        """When to look after it."""
        self.repeatable: Final = request.kind != "command" or request.key is not None
        """Whether it may be sent again although an earlier attempt may have had its effect."""
        self.worker: LiveWorker | None = None
        """Who has it, or to whom it is on its way; None while it waits in this gateway."""
        self.passage = Passage.WRITTEN
        self.attempts = 0
        """How often it was sent."""
        self.risky = False
        """Whether an attempt before the present one may have had its effect."""
        self.elsewhere: list[LiveWorker] | None = None
        """Other workers that may still have an earlier attempt."""
        self.lane: Lane | None = None
        self.outgoing = False
        """Whether it leaves at the end of this tick."""
        self.done = False
        """Whether it was answered."""

    @property
    def certain(self) -> bool:
        """Whether it certainly had no effect so far."""
        return self.worker is None and not self.risky

    def renew(self, now: float, *, again: bool) -> None:
        """Bring the request up to date before it leaves once more: its timeout shrinks by what has passed.

        Args:
            now: by the loop's clock.
            again: whether an earlier attempt may have reached a worker, so that this is the next attempt.
        """
        request = self.request
        self.risky = self.risky or again
        self.due = self.deadline
        self.request = msgspec.structs.replace(
            request, attempt=request.attempt + 1 if again else request.attempt, timeout=max(self.deadline - now, 0.0)
        )
