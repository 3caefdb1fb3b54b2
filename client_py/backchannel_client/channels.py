"""The channels that a client listens to, whichever connection carries them at the moment."""

from __future__ import annotations

import logging
from collections.abc import Callable

from backchannel_protocol import ERROR_CODES, Codec, Refused, frames
from backchannel_protocol.frames import Gap, Position, Subscribe, Subscribed, Unsubscribe, Unsubscribed

from .backoff import Backoff
from .clock import Clock, Timer
from .connection import Connection
from .errors import ConnectionClosed
from .position import Tracker
from .received import Received
from .requests import refused
from .subscription import Subscription

__all__ = ["Channels"]

log = logging.getLogger("backchannel_client")

# A first subscribe that meets one of these waits and asks again; anything else is told to the app.
_BUSY = frozenset({"rate_limited", "unavailable"})

# Of the requests that may be open at one time, subscribes take this share at most, so that an app with
# hundreds of channels can still call.
_ASKED_SHARE = 0.5

# `connect` with all its positions must fit into one frame; what does not is subscribed afterwards.
_CONNECT_RESERVE = 1024


class _Listening:
    """One channel: who listens to it here, and which connection carries it."""

    __slots__ = (
        "asked_on",
        "backoff",
        "connection",
        "name",
        "request",
        "retry",
        "server_made",
        "subscriptions",
        "tracker",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscriptions: list[Subscription] = []
        self.server_made = False
        """Whether the server listens on our behalf, unasked (`user:<id>`, a token's channels)."""
        self.tracker = Tracker()
        """The position of the channel itself, for those who join later."""
        self.connection: Connection | None = None
        """The connection whose events count."""
        self.request: int | None = None
        """The id of a `subscribe` without an answer yet, sent on `asked_on`."""
        self.asked_on: Connection | None = None
        self.backoff: Backoff | None = None
        self.retry: Timer | None = None

    def resume(self) -> Position | None:
        """The position before everything that any listener here has not heard."""
        positions = [sub.tracker.resume for sub in self.subscriptions]
        if not self.subscriptions:
            positions = [self.tracker.resume]
        known = [position for position in positions if position is not None]
        # A position of an older epoch is the most behind: it makes the server tell the gap.
        stale = [position for position in known if position.epoch != self.tracker.epoch]
        return min(stale or known, key=lambda position: position.offset, default=None)


class Channels:
    """Subscriptions by channel: asked for, resumed, moved from one connection to the next."""

    def __init__(self, codec: Codec, clock: Clock, next_id: Callable[[], int], backoff: Callable[[], Backoff]) -> None:
        self._codec = codec
        self._clock = clock
        self._next_id = next_id
        self._backoff = backoff
        self._current: Connection | None = None
        self._channels: dict[str, _Listening] = {}
        self._asked: dict[int, _Listening] = {}
        self._to_ask: dict[str, _Listening] = {}

    # What the app asks

    def attach(self, sub: Subscription) -> None:
        """Start to listen for one more subscription."""
        listening = self._get(sub.channel)
        since = sub.tracker.position
        listening.subscriptions.append(sub)
        if self._current is None:
            return
        heard = listening.tracker.position
        if listening.connection is None:
            if not self._is_pending(listening) and listening.retry is None:
                self._ask(listening)
        elif since is None and heard is not None:
            sub.confirm(Subscribed(channel=sub.channel, verdict="new", epoch=heard.epoch, offset=heard.offset))
        elif since != heard:
            # The missed events can only come through a subscription of their own; those who
            # listened already drop what they have heard.
            self._leave(listening)
            self._ask(listening)
        else:
            assert since is not None
            sub.confirm(Subscribed(channel=sub.channel, verdict="recovered", epoch=since.epoch, offset=since.offset))

    def detach(self, sub: Subscription) -> None:
        """One subscription less; the last one ends the channel, unless the server made it."""
        listening = self._channels.get(sub.channel)
        if listening is None or sub not in listening.subscriptions:
            return
        listening.subscriptions.remove(sub)
        if listening.subscriptions or listening.server_made:
            return
        self._leave(listening)
        self._drop(listening)

    # What happens to connections

    @property
    def asked(self) -> int:
        """Subscribes without an answer yet."""
        return len(self._asked)

    def positions(self, most: int, count: int) -> dict[str, Position]:
        """The positions to resume from, as many as fit into `most` bytes, and not more than `count`."""
        left = most - _CONNECT_RESERVE
        positions: dict[str, Position] = {}
        for name, listening in self._channels.items():
            position = listening.resume()
            if position is None:
                continue
            left -= len(self._codec.encode({name: position}))
            if left < 0 or len(positions) == count:
                break
            positions[name] = position
        return positions

    def adopt(self, connection: Connection) -> None:
        """A connection is open: ask on it for everything that its `connect` did not name."""
        self._current = connection
        for name in connection.resumed - self._channels.keys():
            connection.resumed.discard(name)
            self._refuse_resumed(connection, name)
        for listening in list(self._channels.values()):
            # An answer that is still to come from the connection before is of no interest.
            self._forget_request(listening)
            if listening.name not in connection.resumed and listening.subscriptions:
                self._ask(listening)

    def lost(self, connection: Connection) -> None:
        """A connection has ended; its channels wait for the next one."""
        if self._current is connection:
            self._current = None
        for listening in self._channels.values():
            if listening.asked_on is connection:
                self._forget_request(listening)
            if listening.connection is connection:
                listening.connection = None
                for sub in listening.subscriptions:
                    sub.interrupt()

    def carried_by(self, connection: Connection) -> bool:
        """Whether a channel's events still come from this connection."""
        return any(listening.connection is connection for listening in self._channels.values())

    def end_all(self, reason: ConnectionClosed | None) -> None:
        """The client is closed: end every subscription."""
        for listening in list(self._channels.values()):
            for sub in listening.subscriptions:
                sub.end(reason)
            self._drop(listening)

    # What the server says

    def subscribed(self, connection: Connection, frame: Subscribed) -> None:
        """A channel's stream starts, or goes on, on this connection."""
        if frame.id is not None:
            listening = self._asked.get(frame.id)
            if listening is None:
                return
            self._forget_request(listening)
            self._ask_next()
            if listening.connection is connection:
                # SUB-4: the server had subscribed us before it read our `subscribe`. It resets nothing.
                return
        elif frame.channel in connection.unwanted:
            connection.unwanted.discard(frame.channel)
            return
        elif connection is not self._current:
            return
        else:
            was_resumed = frame.channel in connection.resumed
            connection.resumed.discard(frame.channel)
            listening = self._get(frame.channel)
            listening.server_made = listening.server_made or not was_resumed
        listening.connection = connection
        listening.backoff = None
        self._forget_retry(listening)
        listening.tracker.subscribed(frame)
        listening.tracker.dismiss()
        for sub in list(listening.subscriptions):
            sub.confirm(frame)

    def event(self, connection: Connection, frame: frames.Event) -> None:
        """An event; it counts if its channel is carried by this connection."""
        listening = self._channels.get(frame.channel)
        if listening is None or listening.connection is not connection:
            return
        tracker = listening.tracker
        tracker.accept(frame.offset)
        if listening.subscriptions:
            event = Received(frame, self._codec, tracker.epoch)
            for sub in list(listening.subscriptions):
                sub.deliver(event)

    def gap(self, connection: Connection, frame: Gap) -> None:
        """Events that will not come; likewise."""
        listening = self._channels.get(frame.channel)
        if listening is None or listening.connection is not connection:
            return
        listening.tracker.gap(frame)
        # Nobody has to fill this one: who joins later joins behind it.
        listening.tracker.dismiss()
        for sub in list(listening.subscriptions):
            sub.deliver_gap(frame)

    def presence(self, connection: Connection, frame: frames.Presence) -> None:
        """A change of who is present; likewise."""
        listening = self._channels.get(frame.channel)
        if listening is not None and listening.connection is connection:
            for sub in list(listening.subscriptions):
                sub.deliver_presence(frame)

    def unsubscribed(self, connection: Connection, frame: Unsubscribed) -> None:
        """The server ended a subscription, or refused to resume it."""
        connection.resumed.discard(frame.channel)
        if frame.channel in connection.unwanted:
            connection.unwanted.discard(frame.channel)
            return
        listening = self._channels.get(frame.channel)
        if listening is None or (connection is not self._current and listening.connection is not connection):
            return
        if listening.request is not None and listening.connection is not connection:
            # It crossed a new `subscribe`, whose answer decides.
            return
        listening.connection = None
        info = ERROR_CODES.get(frame.code)
        self._end_or_retry(listening, Refused(frame.code, frame.message), retry=info is not None and info.retry)

    def refused(self, frame: frames.Error) -> bool:
        """Match an `error` to a `subscribe`; returns whether it was one."""
        listening = self._asked.get(frame.id or 0)
        if listening is None:
            return False
        self._forget_request(listening)
        self._ask_next()
        if listening.connection is None or listening.connection is not self._current:
            listening.connection = None
            started = any(sub.verdict is not None for sub in listening.subscriptions)
            self._end_or_retry(listening, refused(frame), retry=frame.code in _BUSY or (started and frame.retry))
        return True

    # Inside

    def _get(self, name: str) -> _Listening:
        listening = self._channels.get(name)
        if listening is None:
            listening = self._channels[name] = _Listening(name)
        return listening

    def _is_pending(self, listening: _Listening) -> bool:
        """Whether an answer will come without asking again."""
        return (
            listening.request is not None
            or listening.name in self._to_ask
            or (self._current is not None and listening.name in self._current.resumed)
        )

    def _ask(self, listening: _Listening) -> None:
        assert self._current is not None
        self._forget_request(listening)
        if len(self._asked) >= self._most_asked:
            self._to_ask[listening.name] = listening
            return
        listening.request = self._next_id()
        listening.asked_on = self._current
        self._asked[listening.request] = listening
        self._current.send(Subscribe(id=listening.request, channel=listening.name, since=listening.resume()))

    @property
    def _most_asked(self) -> int:
        assert self._current is not None
        assert self._current.connected is not None
        return max(1, int(self._current.connected.limits.open_requests * _ASKED_SHARE))

    def _ask_next(self) -> None:
        while self._to_ask and self._current is not None and len(self._asked) < self._most_asked:
            self._ask(self._to_ask.pop(next(iter(self._to_ask))))

    def _leave(self, listening: _Listening) -> None:
        connection = self._current
        if connection is None:
            return
        if listening.name in connection.resumed:
            connection.resumed.discard(listening.name)
            self._refuse_resumed(connection, listening.name)
        elif listening.connection is connection or listening.asked_on is connection:
            connection.send(Unsubscribe(id=self._next_id(), channel=listening.name))
        self._forget_request(listening)
        listening.connection = None

    def _refuse_resumed(self, connection: Connection, name: str) -> None:
        # Its verdict is on the way and must not be taken for a subscription that the server made.
        connection.unwanted.add(name)
        connection.send(Unsubscribe(id=self._next_id(), channel=name))

    def _forget_request(self, listening: _Listening) -> None:
        if listening.request is not None:
            self._asked.pop(listening.request, None)
        self._to_ask.pop(listening.name, None)
        listening.request = None
        listening.asked_on = None

    @staticmethod
    def _forget_retry(listening: _Listening) -> None:
        if listening.retry is not None:
            listening.retry.cancel()
            listening.retry = None

    def _drop(self, listening: _Listening) -> None:
        self._forget_request(listening)
        self._forget_retry(listening)
        self._channels.pop(listening.name, None)

    def _end_or_retry(self, listening: _Listening, reason: Refused, *, retry: bool) -> None:
        if not listening.subscriptions or not retry:
            for sub in listening.subscriptions:
                sub.end(reason)
            self._drop(listening)
            return
        for sub in listening.subscriptions:
            sub.interrupt()
        listening.backoff = listening.backoff or self._backoff()
        delay = (reason.retry_after or 0.0) + listening.backoff.next()
        log.info("Cannot listen to %s yet (%s); asking again in %.1f s", listening.name, reason, delay)

        def again() -> None:
            listening.retry = None
            if self._current is not None and listening.connection is None and not self._is_pending(listening):
                self._ask(listening)

        self._forget_retry(listening)
        listening.retry = self._clock.call_later(delay, again)
