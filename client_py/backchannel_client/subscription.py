"""Subscriptions: one listener's ordered, bounded stream of a channel's events."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, Self

from backchannel_protocol import frames
from backchannel_protocol.frames import Gap, Position, Subscribed, Verdict

from .errors import Overflow
from .position import OpenGap, Tracker
from .received import Received

__all__ = ["OnGap", "OnPresence", "OverflowPolicy", "Subscription", "SubscriptionState"]

log = logging.getLogger("backchannel_client")

OnGap = Callable[[Gap], Awaitable[None] | None]
OnPresence = Callable[[frames.Presence], None]
OverflowPolicy = Literal["raise", "drop_oldest"]
SubscriptionState = Literal["subscribing", "subscribed", "ended"]


class Subscription:
    """A channel's events, in order, none twice, as an async iterator.

    Made by `Client.subscribe`; it survives reconnects. Leaving `async with` ends it.

    What the server could not deliver is a **gap**. `on_gap` is called with it, and awaited, when
    iteration comes to that place in the stream: load a snapshot there, then call `dismiss_gap(gap)`.
    While a gap is open (see `gaps`), a reconnect resumes from before it, and what the server still
    has then arrives late, behind events that came after the gap; what arrived is never repeated.

    Iterating raises `Refused` when the server ends the subscription, `Overflow` when the queue was
    full, `ConnectionClosed` when the client's connection is closed for good; it stops quietly after
    `close()`. Cancelling an iteration loses no event and no gap.
    """

    def __init__(
        self,
        channel: str,
        *,
        since: Position | None,
        queue: int,
        overflow: OverflowPolicy,
        on_gap: OnGap | None,
        on_presence: OnPresence | None,
        detach: Callable[[Subscription], None],
    ) -> None:
        self.channel = channel
        self.verdict: Verdict | None = None
        """How the stream started last: `new`, `recovered` or `gap`."""
        self.dropped = 0
        """Events given up by the policy `drop_oldest`."""
        self.tracker = Tracker(since)
        self._limit = queue
        self._overflow: OverflowPolicy = overflow
        self._on_gap = on_gap
        self._on_presence = on_presence
        self._detach = detach
        self._items: deque[Received | OpenGap] = deque()
        self._taken = since
        self._late: deque[Position] = deque()
        """Queued events that fill a gap, behind events that came after it; oldest first."""
        self._state: SubscriptionState = "subscribing"
        self._end: BaseException | None = None
        self._settled = asyncio.Event()
        self._news = asyncio.Event()

    # For the app

    @property
    def state(self) -> SubscriptionState:
        """`subscribing` until the server's verdict, also after a lost connection."""
        return self._state

    @property
    def position(self) -> Position | None:
        """Where another subscription has to go on so that the app misses nothing.

        That is behind the last event that iteration gave out, or before the oldest open gap that
        iteration has told, or before a late event that waits to be taken. None before the first verdict.
        """
        position = self._taken
        if self.tracker.open and self.tracker.open[0].told:
            position = self.tracker.open[0].since
        for late in self._late:
            if position is not None and late.epoch == position.epoch and late.offset <= position.offset:
                position = Position(late.epoch, late.offset - 1)
        return position

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The open gaps, oldest first."""
        return tuple(hole.gap for hole in self.tracker.open)

    def dismiss_gap(self, gap: Gap | None = None) -> None:
        """Say that the app has filled the gaps up to `gap`, or does without them; all by default."""
        self.tracker.dismiss(gap)

    async def ready(self) -> None:
        """Wait for the server's first verdict; events that happen from now on will come.

        Raises:
            Refused: the user may not listen, or there is no such channel.
            ConnectionClosed: the connection was closed for good first.
        """
        await self._settled.wait()
        if self._end is not None:
            raise self._end

    def close(self) -> None:
        """Stop listening at once. What was queued is not given out any more."""
        self._items.clear()
        self.end(None)
        self._detach(self)

    async def __aenter__(self) -> Self:
        try:
            await self.ready()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Received:
        while True:
            if self._items:
                item = self._items.popleft()
                if isinstance(item, Received):
                    self._take(item)
                    return item
                try:
                    await self._tell(item)
                except asyncio.CancelledError:
                    # Who iterates on is told of the gap again.
                    self._items.appendleft(item)
                    raise
            elif self._state == "ended":
                if self._end is None:
                    raise StopAsyncIteration
                raise self._end
            else:
                self._news.clear()
                await self._news.wait()

    # For the client

    def confirm(self, frame: Subscribed) -> None:
        """The server has given its verdict."""
        if self._state == "ended":
            return
        self.verdict = frame.verdict
        self._queue_gap(self.tracker.subscribed(frame))
        if self._taken is None:
            self._taken = self.tracker.position
        self._state = "subscribed"
        self._settled.set()

    def interrupt(self) -> None:
        """The connection that carried the stream is gone; a verdict will follow."""
        if self._state == "subscribed":
            self._state = "subscribing"

    def deliver(self, event: Received) -> None:
        """Queue an event, if it is new to this listener."""
        newest = self.tracker.position
        if self._state == "ended" or not self.tracker.accept(event.offset):
            return
        position = event.position
        if position and newest and position.epoch == newest.epoch and position.offset <= newest.offset:
            self._late.append(position)
        if len(self._items) >= self._limit:
            if self._overflow == "raise":
                self.end(Overflow(self.channel, self._limit))
                self._detach(self)
                return
            self._drop_oldest()
        self._items.append(event)
        self._news.set()

    def deliver_gap(self, frame: Gap) -> None:
        """Queue a gap, if it concerns something new."""
        if self._state != "ended":
            self._queue_gap(self.tracker.gap(frame))

    def deliver_presence(self, frame: frames.Presence) -> None:
        """Hand over a change of presence."""
        if self._on_presence is not None and self._state != "ended":
            try:
                self._on_presence(frame)
            except Exception:
                log.exception("on_presence for %s failed", self.channel)

    def end(self, reason: BaseException | None) -> None:
        """The stream ends for good, behind what is queued."""
        if self._state != "ended":
            self._state = "ended"
            self._end = reason
            self._settled.set()
            self._news.set()

    def _queue_gap(self, hole: OpenGap | None) -> None:
        # Gaps are not counted: one lies behind each loss, and a full queue ends the subscription.
        if hole is not None:
            self._items.append(hole)
            self._news.set()

    def _drop_oldest(self) -> None:
        for index, item in enumerate(self._items):
            if isinstance(item, Received):
                del self._items[index]
                self._take(item)
                self.dropped += 1
                return

    def _take(self, event: Received) -> None:
        """An event leaves the queue."""
        position = event.position
        if position is None:
            return
        if self._late and self._late[0] == position:
            self._late.popleft()
        if self._taken is None or self._taken.epoch != position.epoch or self._taken.offset < position.offset:
            self._taken = position

    async def _tell(self, hole: OpenGap) -> None:
        if hole not in self.tracker.open:
            return
        hole.told = True
        self._taken = Position(hole.gap.epoch, hole.gap.to)
        if self._on_gap is None:
            log.warning(
                "Events %d to %d of %s are missing (%s); give on_gap to handle this, then call dismiss_gap()",
                hole.gap.from_ + 1,
                hole.gap.to,
                self.channel,
                hole.gap.reason,
            )
            return
        answer = self._on_gap(hole.gap)
        if answer is not None:
            await answer
