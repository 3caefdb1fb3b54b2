"""Open requests: matched to their answers by id, sent again where that is safe, never left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backchannel_protocol import Codec, Limits, Refused
from backchannel_protocol.frames import (
    Call,
    Cancel,
    Error,
    History,
    Presence,
    PresenceRequest,
    Publish,
    Refresh,
    Reply,
)

from .backoff import Backoff
from .clock import Clock, Timer
from .connection import Connection
from .errors import ConnectionClosed

__all__ = ["Answerable", "OpenRequest", "Requests"]

Answerable = Call | Publish | History | PresenceRequest | Refresh


class OpenRequest:
    """One request that waits for its answer."""

    __slots__ = (
        "backoff",
        "connection",
        "deadline",
        "frame",
        "future",
        "id",
        "pause",
        "repeatable",
        "sent",
        "timed",
        "timer",
        "uncertain",
    )

    def __init__(self, id_: int, frame: Answerable, *, repeatable: bool, deadline: float, timed: bool) -> None:
        self.id = id_
        self.frame = frame
        self.repeatable = repeatable
        """Whether it may be sent a second time: a key or its nature makes it harmless."""
        self.deadline = deadline
        self.timed = timed
        """Whether the server is told how long the caller waits."""
        self.future: asyncio.Future[Reply | Presence] = asyncio.get_running_loop().create_future()
        self.connection: Connection | None = None
        self.sent = False
        self.uncertain = False
        """Whether an earlier sending may have taken effect, of which a later one's refusal may know nothing."""
        self.timer: Timer | None = None
        """Ends the waiting for an answer."""
        self.backoff: Backoff | None = None
        self.pause: Timer | None = None
        """Ends the pause before it is sent again."""


class Requests:
    """The open requests of one client, over all its connections."""

    def __init__(
        self,
        codec: Codec,
        clock: Clock,
        *,
        others: Callable[[], int],
        backoff: Callable[[], Backoff],
        ready: Callable[[], None],
    ) -> None:
        """`others` counts the open requests that are not kept here; `ready` is called when one is to be sent."""
        self._codec = codec
        self._clock = clock
        self._others = others
        self._backoff = backoff
        self._ready = ready
        self._unsent: dict[int, OpenRequest] = {}
        self._sent: dict[int, OpenRequest] = {}
        self._paused: dict[int, OpenRequest] = {}

    def waiting_on(self, connection: Connection) -> bool:
        """Whether a request waits for an answer from this connection."""
        return any(request.connection is connection for request in self._sent.values())

    def add(self, frame: Answerable, *, repeatable: bool, timeout: float, timed: bool) -> OpenRequest:
        """Take in a request; `pump` sends it. It is refused when `timeout` seconds are over."""
        assert frame.id is not None
        request = OpenRequest(
            frame.id, frame, repeatable=repeatable, deadline=self._clock.time() + timeout, timed=timed
        )
        request.timer = self._clock.call_later(timeout, lambda: self._expire(request, timeout))
        self._unsent[request.id] = request
        return request

    def pump(self, connection: Connection) -> None:
        """Send what waits to be sent, in the order it was asked, as far as the limits allow."""
        if connection.connected is None or not connection.alive:
            return
        # A full connection takes no more until it has drained, and calls this again then.
        limits = connection.connected.limits
        most = max(1, limits.open_requests - self._others())
        while self._unsent and len(self._sent) < most and not connection.full:
            request = self._unsent.pop(next(iter(self._unsent)))
            self._send(request, connection, limits)

    def answer(self, frame: Reply | Error | Presence) -> bool:
        """Match an answer; returns whether a request waited for it."""
        request = self._sent.get(frame.id or 0)
        if request is None:
            return False
        if isinstance(frame, Error):
            if request.uncertain and frame.retry:
                # Who turned this sending away for now was not asked about the one before.
                frame.outcome = "unknown"
            if not self._repeat_later(request, frame):
                self._fail(request, refused(frame))
        else:
            self._forget(request)
            if not request.future.done():
                request.future.set_result(frame)
        return True

    def lost(self, connection: Connection) -> None:
        """A connection ended: its repeatable requests wait to be sent again, the others have failed."""
        for request in [each for each in self._sent.values() if each.connection is connection]:
            if request.repeatable:
                request.connection = None
                request.uncertain = True
                self._unsent[request.id] = self._sent.pop(request.id)
            else:
                self._fail(
                    request,
                    Refused(
                        "unavailable",
                        "The connection was lost before the answer came; give a key and it is sent again.",
                        outcome="unknown",
                    ),
                )
        self._unsent = dict(sorted(self._unsent.items()))

    def abandon(self, request: OpenRequest) -> None:
        """Nobody waits for this request any more: its answer will be ignored."""
        connection = request.connection
        if self._forget(request) and connection is not None and isinstance(request.frame, Call):
            connection.send(Cancel(id=request.id))

    def fail_all(self, reason: ConnectionClosed) -> None:
        """The client is closed: tell everybody who waits."""
        for request in [*self._sent.values(), *self._paused.values(), *self._unsent.values()]:
            self._fail(request, reason.for_request("unknown" if request.sent else "none"))

    def _send(self, request: OpenRequest, connection: Connection, limits: Limits) -> None:
        frame = request.frame
        if isinstance(frame, Call) and request.timed:
            frame.timeout = min(max(request.deadline - self._clock.time(), 0.001), limits.call)
        message = self._codec.encode(frame)
        if len(message) > limits.frame:
            self._sent[request.id] = request
            self._fail(
                request,
                Refused(
                    "too_large",
                    f"The request takes {len(message)} bytes and the server allows {limits.frame}: send less.",
                ),
            )
            return
        request.connection = connection
        request.sent = True
        self._sent[request.id] = request
        connection.send_encoded(message)

    def _repeat_later(self, request: OpenRequest, frame: Error) -> bool:
        """CALL-6: what may have happened is sent again with its key; returns whether there is time for it."""
        if not (request.repeatable and frame.retry and frame.outcome == "unknown"):
            return False
        request.backoff = request.backoff or self._backoff()
        delay = (frame.retry_after or 0.0) + request.backoff.next()
        if self._clock.time() + delay >= request.deadline:
            return False
        del self._sent[request.id]
        request.connection = None
        request.uncertain = True
        self._paused[request.id] = request

        def again() -> None:
            self._unsent[request.id] = self._paused.pop(request.id)
            self._unsent = dict(sorted(self._unsent.items()))
            self._ready()

        request.pause = self._clock.call_later(delay, again)
        return True

    def _expire(self, request: OpenRequest, timeout: float) -> None:
        sent = request.sent
        self.abandon(request)
        if not request.future.done():
            request.future.set_exception(
                Refused(
                    "unavailable",
                    f"No answer came within {timeout:g} s"
                    + ("; with the same key it can be sent again." if sent else ": there is no connection."),
                    outcome="unknown" if sent else "none",
                )
            )

    def _fail(self, request: OpenRequest, reason: Exception) -> None:
        self._forget(request)
        if not request.future.done():
            request.future.set_exception(reason)

    def _forget(self, request: OpenRequest) -> bool:
        for timer in (request.timer, request.pause):
            if timer is not None:
                timer.cancel()
        places = (self._sent, self._unsent, self._paused)
        return any(place.pop(request.id, None) is not None for place in places)


def refused(frame: Error) -> Refused:
    """The exception that an `error` frame stands for."""
    return Refused(
        frame.code,
        frame.message,
        details=frame.details,
        retry=frame.retry,
        outcome=frame.outcome,
        retry_after=frame.retry_after,
    )
