"""Subscription: one session listening to one channel."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Subscription", "SubscriptionState"]


class SubscriptionState(IntEnum):
    """Where a subscription stands."""

    PENDING = 0
    """Asked for; the right, the broker or the log has not answered yet. Registered before it is checked, so that an
    event that takes the right away voids the answer."""
    ACTIVE = 1
    """`subscribed` was sent."""


class Subscription:
    """One session's interest in one channel. The session owns it; the hub keeps its place in `after` and `leased`."""

    __slots__ = ("after", "channel", "leased", "request_ids", "state", "unseen")

    def __init__(self, channel: str, request_id: int | None) -> None:
        self.channel = channel
        self.state = SubscriptionState.PENDING
        self.request_ids: tuple[int | None, ...] = (request_id,)
        """Requests that wait for `subscribed`; None for a subscription that the server made."""
        self.after = 0
        """Events at or below this offset are not for this user."""
        self.unseen = False
        """Whether its user is not present for others."""
        self.leased = 0.0
        """Until when the grant holds, on the gateway's clock, in seconds."""
