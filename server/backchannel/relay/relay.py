"""The relay: requests to workers and replies back.

What every implementation guarantees, and no more:

- A worker gets a request whole or not at all. It is with one worker at a time, but for one that is sent again: a worker
  that stalls may have it still when another has it, too, and a key makes that one effect.
- Requests that a gateway sends in one loop tick reach each worker together, in the order sent. Requests of one lane
  reach the same worker while the set of workers stays the same, and keep their order when it changes, unless one had
  to be sent again. Nothing may be *correct* because of it.
- `on_reply` is called exactly once per request, on the gateway's loop and never from within `send`: with the worker's
  reply, or with an error that the relay made. That is `unavailable` with outcome `none` where no worker took it (none
  is there, none serves its name, it has too much to do, or there is no way to it: told at once, never as a time-out);
  `unavailable` with outcome `unknown` where the time ran out, or the worker died, after one may have taken it;
  `cancelled` after `cancel`. Later replies are dropped.
- Only queries, internal queries and commands with a key are ever sent twice, with a rising `attempt` and what is left
  of their `timeout`. What certainly reached no worker is not sent twice by going to another: it is the same attempt.
- Replies may overtake each other, and may overtake the events that their command published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from backchannel_protocol import Outcome, Refused

from ..auth.principal import Principal

__all__ = ["Failure", "Grant", "May", "MayReply", "Relay", "Reply", "Request", "RequestKind", "WorkerRelay"]

RequestKind = Literal["command", "query", "internal"]


class Request(Struct, array_like=True, kw_only=True):
    """One command, query or internal query on its way to a worker."""

    id: int
    """Unique within the gateway that sent it; at the worker another one, unique within the worker's end."""
    kind: RequestKind
    name: str
    data: bytes
    """The body, in `encoding`, not yet checked against the declaration."""
    encoding: Literal["json", "msgpack"] = "json"
    principal: Principal
    connection: str = ""
    """The session's id; empty behind the HTTP door."""
    lane: str = ""
    """What a command is serialised by; empty for queries."""
    key: str | None = None
    attempt: int = 1
    timeout: float = 10.0
    """Seconds that remained when it was sent."""


class Failure(Struct, array_like=True):
    """A refusal on its way back: `Refused` as data."""

    code: str
    message: str
    retry: bool
    outcome: Outcome
    details: Any = None
    retry_after: float | None = None

    @classmethod
    def of(cls, refused: Refused) -> Failure:
        """The failure that carries this refusal."""
        return cls(refused.code, refused.message, refused.retry, refused.outcome, refused.details, refused.retry_after)

    def refused(self) -> Refused:
        """The refusal that this failure carries."""
        return Refused(
            self.code,
            self.message,
            details=self.details,
            retry=self.retry,
            outcome=self.outcome,
            retry_after=self.retry_after,
        )


class Reply(Struct, array_like=True, kw_only=True):
    """A worker's answer to the request with this id."""

    id: int
    data: bytes = b""
    """The answer in canonical JSON; empty if it failed."""
    positions: dict[str, int] | None = None
    failure: Failure | None = None


class May(Struct):
    """The internal query `may`: what may this principal hear, and where may it publish?"""

    listen: list[str] = []
    publish: list[str] = []


class Grant(Struct, array_like=True):
    """An answer about one channel."""

    allowed: bool
    after: int = 0
    """Events at or below this offset are not for this user (who joined later)."""
    code: str = "forbidden"
    message: str = ""
    unseen: bool = False
    """Whether this user listens without being present for others."""


class MayReply(Struct):
    """The answer to `may`, per channel asked."""

    listen: dict[str, Grant] = {}
    publish: dict[str, Grant] = {}


class Relay(Protocol):
    """The gateway's end. Use it on the gateway's loop only."""

    def send(self, request: Request, on_reply: Callable[[Reply], None]) -> None:
        """Send a request; never blocks, never raises. It leaves at the end of this loop tick."""

    def cancel(self, request_id: int) -> None:
        """Nobody waits any more: the worker may stop, and `on_reply` gets `cancelled` now."""

    async def ask(self, request: Request) -> Reply:
        """Send and wait. Cancelling the wait cancels the request."""

    def ready(self) -> bool:
        """Whether a worker is there and can be reached."""


class WorkerRelay(Protocol):
    """The worker's end. Use it on the worker's loop only."""

    def attach(
        self,
        receive: Callable[[Sequence[Request]], None],
        cancel: Callable[[int], None],
    ) -> None:
        """Take requests from now on; both callbacks run on the worker's loop.

        Raises:
            RuntimeError: it is attached already: one end serves one worker.
        """

    def reply(self, replies: Sequence[Reply]) -> None:
        """Send replies back; never blocks. They leave together."""

    def detach(self) -> None:
        """Take no further requests; those that were not yet handed over go to another worker, or are `unavailable`.

        What was taken may still be answered.
        """
