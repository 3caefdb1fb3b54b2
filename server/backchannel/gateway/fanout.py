"""Fan-out: from a channel's pending deliveries to its listeners' sockets.

Rules (anchors: performance 1 to 3, 7): one join per channel and tick, one write per listener, sweeps in slices so that
nobody waits longer than a slice. It regulates itself: what arrives during a sweep leaves in the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..telemetry.metrics import metrics
from .channel import Backlog, HubChannel
from .delivery import Delivery, gap_delivery, joined

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Fanout"]

# Writes between two looks at the loop: at 8 µs each a stall of about a millisecond.
_SLICE = 128

# A listener's share of its bound on queued bytes at which `gap` channels skip.
_SKIP_AT = 0.5


class _Sweep:
    """One channel's batch on its way out."""

    __slots__ = ("at", "channel", "data", "events", "writes")

    def __init__(
        self, channel: HubChannel, events: list[Delivery], writes: list[Callable[[bytes], None]], data: bytes
    ) -> None:
        self.channel = channel
        self.events = events
        self.writes = writes
        self.data = data
        self.at = 0


class Fanout:
    """Sends what is pending. `finished` is called with the deliveries of a batch once all listeners have it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections_of: Callable[[str], Iterable[Connection]],
        finished: Callable[[HubChannel, list[Delivery]], None],
    ) -> None:
        self._loop = loop
        self._connections_of = connections_of
        self._finished = finished
        self._dirty: deque[HubChannel] = deque()
        self._sweeps: deque[_Sweep] = deque()
        self._scheduled = False

    def schedule(self, channel: HubChannel) -> None:
        """See to it that the channel's pending deliveries leave at the end of this tick."""
        if channel.scheduled:
            return
        channel.scheduled = True
        self._dirty.append(channel)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """One slice."""
        left = _SLICE
        while left > 0:
            if self._sweeps:
                left -= self._advance(self._sweeps[0], left)
                if self._sweeps[0].at >= len(self._sweeps[0].writes):
                    self._end(self._sweeps.popleft())
            elif self._dirty:
                left -= self._begin(self._dirty.popleft())
            else:
                self._scheduled = False
                return
        self._loop.call_soon(self._run)

    def _begin(self, channel: HubChannel) -> int:
        """Turn a channel's pending deliveries into sweeps; returns the writes made meanwhile."""
        events, channel.pending = channel.pending, []
        special = self._special(channel, events)
        written = 0
        json = [write for connection, write in channel.json.items() if connection not in special]
        msgpack = [write for connection, write in channel.msgpack.items() if connection not in special]
        for connection, after in special.items():
            if connection in channel.json or connection in channel.msgpack:
                mine = [event for event in events if event.number > after]
                if mine:
                    connection.write(joined(mine, connection))
                    metrics.deliveries += len(mine)
                written += 1
        if channel.slow:
            for connection in list(channel.slow):
                mine = [event for event in events if event.number > special.get(connection, 0)]
                self._offer(channel, connection, mine)
                written += 1
        sweeps = []
        if msgpack:
            sweeps.append(_Sweep(channel, events, msgpack, b"".join([event.msgpack() for event in events])))
        # The last of a channel's sweeps ends the batch, also where it writes to nobody.
        sweeps.append(_Sweep(channel, events, json, b"".join([event.json() for event in events]) if json else b""))
        channel.sweep_writes = tuple(sweep.writes for sweep in sweeps)
        self._sweeps.extend(sweeps)
        return written

    def _special(self, channel: HubChannel, events: list[Delivery]) -> dict[Connection, int]:
        """Listeners that get something of their own, with the number up to which they have everything."""
        special: dict[Connection, int] = {}
        if channel.joiners is not None:
            special.update(channel.joiners)
            if channel.held is None:
                channel.joiners = None
        for event in events:
            if event.key is not None and event.user is not None:
                for connection in self._connections_of(event.user):
                    special.setdefault(connection, 0)
        return special

    def _advance(self, sweep: _Sweep, most: int) -> int:
        writes = sweep.writes
        start = sweep.at
        end = min(len(writes), start + most)
        data = sweep.data
        for write in writes[start:end]:
            write(data)
        sweep.at = end
        metrics.deliveries += (end - start) * len(sweep.events)
        metrics.bytes_out += (end - start) * len(data)
        return end - start

    def _end(self, sweep: _Sweep) -> None:
        channel = sweep.channel
        if self._sweeps and self._sweeps[0].channel is channel:
            return
        channel.sweep_writes = None
        channel.scheduled = False
        self._finished(channel, sweep.events)
        channel.release()
        if channel.pending:
            self.schedule(channel)

    # Listeners that do not keep up

    def _offer(self, channel: HubChannel, connection: Connection, events: list[Delivery]) -> None:
        """Hand deliveries to a slow listener by the channel's policy."""
        if not events:
            return
        assert channel.slow is not None
        backlog = channel.slow[connection]
        policy = channel.namespace.slow
        if policy == "latest":
            self._reduce(backlog, events)
            return
        queued = connection.transport.queued()
        logged = [event for event in events if event.offset]
        if policy == "gap" and (backlog.to or queued > connection.gateway.max_queued * _SKIP_AT):
            if logged:
                if not backlog.to:
                    backlog.after = logged[0].offset - 1
                backlog.to = logged[-1].offset
            return
        data = joined(events, connection)
        if queued + len(data) > connection.gateway.max_queued:
            connection.too_slow()
            return
        connection.write(data)
        metrics.deliveries += len(events)

    def _reduce(self, backlog: Backlog, events: list[Delivery]) -> None:
        """Keep only the newest delivery per subject."""
        latest = backlog.latest
        if latest is None:
            latest = backlog.latest = {}
        for event in events:
            if not event.offset:
                continue
            if not backlog.to:
                backlog.after = event.offset - 1
            backlog.to = event.offset
            # An event without a subject is its own: only the newest of those is kept too.
            latest.pop(event.subject or "", None)
            latest[event.subject or ""] = event

    def catch_up(self, channel: HubChannel, connection: Connection) -> None:
        """A slow listener reads again: tell it what it missed and take it back among the fast."""
        if channel.slow is None or (backlog := channel.slow.pop(connection, None)) is None:
            return
        if not channel.slow:
            channel.slow = None
        channel.fast(connection)[connection] = connection.write
        if not backlog.to:
            return
        at = backlog.after
        out: list[Delivery] = []
        for event in (backlog.latest or {}).values():
            if event.offset > at + 1:
                out.append(gap_delivery(channel.name, channel.epoch, at, event.offset - 1, "slow"))
            out.append(event)
            at = event.offset
        if at < backlog.to:
            out.append(gap_delivery(channel.name, channel.epoch, at, backlog.to, "slow"))
        metrics.gaps["slow"] += 1
        connection.write(joined(out, connection))
