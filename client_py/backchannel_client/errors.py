"""Errors that only a client can meet.

BackchannelError (backchannel_protocol)
├── Refused            a request was refused, by the server or before it was sent
├── ConnectionClosed   the connection is closed for good, or was never opened
├── Overflow           events came faster than the app took them from a subscription
└── StateError         a bot's state file cannot be used
"""

from __future__ import annotations

from backchannel_protocol import CLOSE_CODES, BackchannelError, Outcome, is_final

__all__ = ["ConnectionClosed", "Overflow", "StateError"]


class ConnectionClosed(BackchannelError):
    """A connection ended, or could not be opened.

    A `Client` reconnects by itself and hides the ends that are not final; the app meets this error
    when the end is final, when the client was closed, or when it could not connect in time.

    `code` is a close code (1006 where the peer sent none, RFC 6455 section 7.4.1). `final` tells
    whether connecting again is pointless; `outcome` whether a request that was waiting may have
    taken effect; `retry_after` how many seconds the server asked to wait; `asked_for` whether the app
    itself closed the client.
    """

    def __init__(
        self,
        code: int,
        reason: str = "",
        *,
        final: bool | None = None,
        outcome: Outcome = "none",
        retry_after: float | None = None,
        asked_for: bool = False,
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.final: bool = is_final(code) if final is None else final
        self.outcome: Outcome = outcome
        self.retry_after = retry_after
        self.asked_for = asked_for

    def __str__(self) -> str:
        info = CLOSE_CODES.get(self.code)
        reason = self.reason or (info.meaning if info else "The connection is closed.")
        cure = f" {info.cure}" if info and self.final else ""
        return f"{reason}{cure} (close code {self.code})"

    def for_request(self, outcome: Outcome) -> ConnectionClosed:
        """The same end, as told to one waiting request."""
        return ConnectionClosed(
            self.code,
            self.reason,
            final=self.final,
            outcome=outcome,
            retry_after=self.retry_after,
            asked_for=self.asked_for,
        )


class Overflow(BackchannelError):
    """A subscription's queue was full and its policy is `raise`.

    The subscription has ended after the events that were queued. Subscribe again with
    `since=subscription.position` to go on without a loss, and take events faster or give a larger
    `queue`.
    """

    def __init__(self, channel: str, queue: int) -> None:
        super().__init__(channel, queue)
        self.channel = channel
        self.queue = queue

    def __str__(self) -> str:
        return (
            f"More than {self.queue} events of {self.channel} were waiting: "
            "subscribe again with since=subscription.position, and take events faster."
        )


class StateError(BackchannelError):
    """A bot's state file is another bot's, is in use, or cannot be read or written; the message tells the cure."""
