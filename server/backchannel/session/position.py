"""Positions and verdicts: how a subscription starts."""

from __future__ import annotations

from typing import NamedTuple

from backchannel_protocol.frames import Position, Verdict

from ..broker.broker import LogHead

__all__ = ["Beginning", "begin"]


class Beginning(NamedTuple):
    """Where a subscription starts."""

    verdict: Verdict
    after: int
    """The events after this offset are to be sent first."""


def begin(since: Position | None, head: LogHead, recovery: int, after: int) -> Beginning:
    """Decide the verdict (design: *way of an event* 2 and 5; PROTOCOL.md SUB-1, SUB-2, SUB-5).

    Args:
        since: what the client has, if it was here before.
        head: where the log stands.
        recovery: missed events that a resume brings at most.
        after: events at or below it are not for this user, who joined later, and so cannot be brought.
    """
    if since is None:
        return Beginning("new", head.offset)
    if since.epoch != head.epoch or since.offset > head.offset:
        # Another epoch, or a position that this log never gave out: what the client knows is void.
        return Beginning("gap", head.offset)
    if since.offset == head.offset:
        return Beginning("recovered", head.offset)
    if since.offset < max(after, head.first - 1) or head.offset - since.offset > recovery:
        return Beginning("gap", head.offset)
    return Beginning("recovered", since.offset)
