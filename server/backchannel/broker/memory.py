"""The broker of one process: events, live logs and presence in memory.

Everything lives on the gateway's loop. The worker's thread reaches it through `publish`, `append` and `presence`, which
hop over by themselves.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from backchannel_protocol.frames import Member

from .broker import Envelope, LogBounds, LogHead, PresenceChange, PresenceState, Settled
from .notes import NoteBook, PresenceNote, Tell

__all__ = ["MemoryBroker"]

T = TypeVar("T")

# How often logs whose events have all expired are let go, in seconds.
_SWEEP = 60.0

_HEARD: Final = Settled(None)


class _Log:
    """One live channel's log."""

    __slots__ = ("bounds", "envelopes", "epoch", "offset", "publications")

    def __init__(self) -> None:
        self.bounds = LogBounds(0, 0.0)
        self.epoch = secrets.token_hex(8)
        self.offset = 0
        self.envelopes: deque[Envelope] = deque()
        self.publications: OrderedDict[str, int] = OrderedDict()

    def trim(self, now: int) -> None:
        envelopes = self.envelopes
        oldest = now - int(self.bounds.age * 1000)
        while envelopes and (len(envelopes) > self.bounds.size or envelopes[0].time < oldest):
            envelopes.popleft()

    def head(self) -> LogHead:
        first = self.envelopes[0].offset if self.envelopes else self.offset + 1
        return LogHead(self.epoch, self.offset, first)


class _Present:
    """One user on one channel."""

    __slots__ = ("connections", "leaving", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.connections: set[str] = set()
        self.leaving: asyncio.TimerHandle | None = None


class _Room:
    """Who is present on one channel."""

    __slots__ = ("revision", "users")

    def __init__(self) -> None:
        self.revision = 0
        self.users: dict[str, _Present] = {}


class MemoryBroker:
    """A `Broker` for one process; make it on the gateway's loop."""

    def __init__(self, *, grace: float = 10.0, wall: Callable[[], float] | None = None) -> None:
        """`wall` tells Unix seconds; the system's clock by default."""
        self._loop = asyncio.get_running_loop()
        self._wall = wall or time.time
        self._thread = threading.get_ident()
        self._grace = grace
        self._listening: set[str] = set()
        self._logs: dict[str, _Log] = {}
        self._rooms: dict[str, _Room] = {}
        self._queue: list[Envelope] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._receive: Callable[[Sequence[Envelope]], None] = lambda envelopes: None
        self._changed: Callable[[PresenceChange], None] = lambda change: None
        self._wanted: Callable[[str], bool] = lambda channel: False
        self._notes: NoteBook | None = None

    def attach(
        self,
        receive: Callable[[Sequence[Envelope]], None],
        changed: Callable[[PresenceChange], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Set what is called with what arrives. Nothing is ever lost here, so `on_lost` is not called."""
        self._receive = receive
        self._changed = changed

    def note(self, wanted: Callable[[str], bool], tell: Tell) -> None:
        """Have it noted who comes and who is gone, on channels that are wanted."""
        self._wanted = wanted
        if self._notes is None:
            self._notes = NoteBook(tell)
        self._notes.tell = tell

    def hears(self) -> bool:
        """Nothing lies between whoever publishes and this."""
        return True

    def listen(self, channel: str) -> Settled[None]:
        """Receive this channel's events from now on."""
        self._listening.add(channel)
        return _HEARD

    def unlisten(self, channel: str) -> None:
        """Stop receiving a channel's events."""
        self._listening.discard(channel)
        room = self._rooms.get(channel)
        if room is not None and not room.users:
            del self._rooms[channel]

    # Events

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Send events to the hub; from any thread, in the order of the calls of that thread."""
        if threading.get_ident() == self._thread:
            self._enqueue(envelopes)
        else:
            self._loop.call_soon_threadsafe(self._enqueue, list(envelopes))

    def _enqueue(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            if envelope.channel in self._listening:
                if not self._queue:
                    self._loop.call_soon(self._deliver)
                self._queue.append(envelope)

    def _deliver(self) -> None:
        envelopes, self._queue = self._queue, []
        self._receive(envelopes)

    def append(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> Awaitable[LogHead]:
        """Append an event to its live log and publish it; from any thread's loop."""
        if threading.get_ident() == self._thread:
            return Settled(self.append_now(envelope, bounds, publication))
        return self._there(self._append_here(envelope, bounds, publication))

    async def _append_here(self, envelope: Envelope, bounds: LogBounds, publication: str | None) -> LogHead:
        return self.append_now(envelope, bounds, publication)

    def append_now(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> LogHead:
        """As `append`, at once, and on the gateway's loop only."""
        log = self._log(envelope.channel)
        log.bounds = bounds
        if publication is not None:
            if (offset := log.publications.get(publication)) is not None:
                return LogHead(log.epoch, offset, log.head().first)
            log.publications[publication] = log.offset + 1
            if len(log.publications) > bounds.size:
                log.publications.popitem(last=False)
        log.offset += 1
        envelope.epoch, envelope.offset = log.epoch, log.offset
        log.envelopes.append(envelope)
        log.trim(envelope.time)
        self._enqueue((envelope,))
        return log.head()

    async def head(self, channel: str) -> LogHead:
        """Where a live channel's log stands. A channel without a log gets one, so that its epoch is settled."""
        log = self._log(channel)
        log.trim(int(self._wall() * 1000))
        return log.head()

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events after an offset, in order."""
        head = await self.head(channel)
        envelopes = self._logs[channel].envelopes
        skip = max(0, after + 1 - head.first)
        return head, [envelopes[i] for i in range(skip, min(len(envelopes), skip + limit))]

    def _log(self, channel: str) -> _Log:
        log = self._logs.get(channel)
        if log is None:
            log = self._logs[channel] = _Log()
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        return log

    def _sweep(self) -> None:
        now = int(self._wall() * 1000)
        for channel, log in list(self._logs.items()):
            log.trim(now)
            # A channel that nobody hears and whose events are gone: its next event begins a new epoch.
            if not log.envelopes and channel not in self._listening:
                del self._logs[channel]
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep) if self._logs else None

    # Presence

    async def enter(self, channel: str, user: str, connection: str) -> None:
        """A connection of this user listens to the channel."""
        room = self._rooms.setdefault(channel, _Room())
        present = room.users.get(user)
        if present is None:
            present = room.users[user] = _Present(int(self._wall() * 1000))
            self._change(channel, room, joined=[Member(user, present.since)])
        elif present.leaving is not None:
            present.leaving.cancel()
            present.leaving = None
        present.connections.add(connection)

    async def leave(self, channel: str, user: str, connection: str) -> None:
        """That connection listens no more; the user is gone after the grace, unless it is back."""
        room = self._rooms.get(channel)
        present = room.users.get(user) if room else None
        if room is None or present is None:
            return
        present.connections.discard(connection)
        if not present.connections and present.leaving is None:
            present.leaving = self._loop.call_later(self._grace, self._gone, channel, room, user)

    def _gone(self, channel: str, room: _Room, user: str) -> None:
        del room.users[user]
        self._change(channel, room, left=[user])
        if not room.users and channel not in self._listening:
            del self._rooms[channel]

    def _change(
        self, channel: str, room: _Room, *, joined: list[Member] | None = None, left: list[str] | None = None
    ) -> None:
        room.revision += 1
        if channel in self._listening:
            self._changed(PresenceChange(channel, room.revision, len(room.users), joined or [], left or []))
        if self._notes is not None and self._wanted(channel):
            here = [(member.user, True) for member in joined or ()]
            gone = [(user, False) for user in left or ()]
            # A room that was let go begins to count anew.
            self._notes.add(
                PresenceNote(channel, user, is_here, secrets.token_hex(8)) for user, is_here in (*here, *gone)
            )

    async def presence(self, channel: str) -> PresenceState:
        """Who is there now; from any thread's loop."""
        if threading.get_ident() != self._thread:
            return await self._there(self.presence(channel))
        room = self._rooms.get(channel)
        if room is None:
            return PresenceState(0, [])
        return PresenceState(room.revision, [Member(user, p.since) for user, p in room.users.items()])

    async def close(self) -> None:
        """Let go of timers, logs and presence."""
        if self._notes is not None:
            await self._notes.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for room in self._rooms.values():
            for present in room.users.values():
                if present.leaving is not None:
                    present.leaving.cancel()
        self._rooms.clear()
        self._logs.clear()
        self._listening.clear()

    def _there(self, coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Run on the gateway's loop, from another thread's; it begins with the call."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))
