"""The sandbox's broker: the real one in memory, several hubs around it, and faults between them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from ..broker.broker import Envelope, LogBounds, LogHead, PresenceChange, PresenceState, Settled
from ..broker.memory import MemoryBroker
from ..broker.notes import Tell
from .faults import Fault

__all__ = ["BusEnd", "SandboxBroker"]

# How long an event that is to be overtaken waits for one that overtakes it, in seconds: longer than a hub is patient.
_OVERTAKEN_WITHIN = 0.1

_Kind = Literal["drop", "duplicate", "delay", "reorder"]


class BusEnd:
    """A `Broker` for one gateway."""

    def __init__(self, bus: SandboxBroker, inner: MemoryBroker) -> None:
        self._bus = bus
        self._inner = inner
        self.listening: set[str] = set()
        self.receive: Callable[[Sequence[Envelope]], None] = lambda envelopes: None
        self.changed: Callable[[PresenceChange], None] = lambda change: None
        self.on_lost: Callable[[], None] = lambda: None

    def attach(
        self,
        receive: Callable[[Sequence[Envelope]], None],
        changed: Callable[[PresenceChange], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Set what is called with what arrives."""
        self.receive, self.changed, self.on_lost = receive, changed, on_lost

    def note(self, wanted: Callable[[str], bool], tell: Tell) -> None:
        """Have it noted who comes and who is gone; whoever asked for it last is told."""
        self._inner.note(wanted, tell)

    def hears(self) -> bool:
        """Whether the way is whole."""
        return not self._bus.lost

    async def listen(self, channel: str) -> None:
        """Receive this channel's events from now on."""
        self.listening.add(channel)
        await self._inner.listen(channel)

    def unlisten(self, channel: str) -> None:
        """Stop receiving a channel's events."""
        self.listening.discard(channel)
        self._bus.unlistened(channel)

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Send events."""
        self._bus.publish(envelopes)

    def append(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> Awaitable[LogHead]:
        """Append an event to its live log and publish it."""
        return self._bus.append(envelope, bounds, publication)

    async def head(self, channel: str) -> LogHead:
        """Where a live channel's log stands."""
        return await self._inner.head(channel)

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events of a live log after an offset, in order."""
        return await self._inner.read(channel, after, limit)

    async def enter(self, channel: str, user: str, connection: str) -> None:
        """A connection of this user listens to the channel."""
        await self._inner.enter(channel, user, connection)

    async def leave(self, channel: str, user: str, connection: str) -> None:
        """That connection listens no more."""
        await self._inner.leave(channel, user, connection)

    async def presence(self, channel: str) -> PresenceState:
        """Who is there now."""
        return await self._inner.presence(channel)

    async def close(self) -> None:
        """The gateway is gone: nothing arrives here any more."""
        self._bus.detach(self)


class SandboxBroker:
    """`box.broker`: what carries events to the gateways, and what can befall them on that way.

    Each fault befalls the next `count` events (None: all until `calm`), or of them the share `rate`, on one channel or
    on all; it returns the `Fault`, which knows what it struck. Where several could, the one that was set first does.
    Only the way is touched: logs, durable and live, are whole, and hubs are expected to make good what befalls it.
    """

    def __init__(self, inner: MemoryBroker, chance: random.Random) -> None:
        self._inner = inner
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._ends: list[BusEnd] = []
        self._faults: list[tuple[_Kind, Fault[Envelope]]] = []
        self._overtaken: dict[str, list[Envelope]] = {}
        self._newest: dict[str, LogHead] = {}
        self.published: list[Envelope] = []
        """Everything that was ever published, in order, whether somebody listens or not."""
        self.lost = 0
        """How many losses of the connection to the bus are going on."""
        inner.attach(self._arrive, self._changed, lambda: None)

    # Faults

    def drop(self, count: int | None = 1, *, rate: float = 1.0, channel: str | None = None) -> Fault[Envelope]:
        """Lose events on their way to the gateways."""
        return self._set("drop", count, rate, channel)

    def duplicate(self, count: int | None = 1, *, rate: float = 1.0, channel: str | None = None) -> Fault[Envelope]:
        """Bring events twice."""
        return self._set("duplicate", count, rate, channel)

    def delay(
        self, seconds: float, count: int | None = 1, *, rate: float = 1.0, channel: str | None = None
    ) -> Fault[Envelope]:
        """Bring events so much later; others overtake them."""
        return self._set("delay", count, rate, channel, seconds)

    def reorder(self, count: int | None = 1, *, rate: float = 1.0, channel: str | None = None) -> Fault[Envelope]:
        """Let events be overtaken by the one that follows on their channel, or come 0.1 s later if none does."""
        return self._set("reorder", count, rate, channel, _OVERTAKEN_WITHIN)

    def lose(self, seconds: float) -> Fault[Envelope]:
        """Lose the connection to the bus: nothing arrives for so long; then the gateways are told."""
        fault = self._set("drop", None, 1.0, None)
        self.lost += 1
        self._loop.call_later(seconds, self._hear_again, fault)
        return fault

    def _hear_again(self, fault: Fault[Envelope]) -> None:
        fault.end()
        self.lost -= 1
        for end in list(self._ends):
            end.on_lost()

    def calm(self) -> None:
        """End all faults; what is late comes when it is due."""
        for _, fault in self._faults:
            fault.end()
        self._faults.clear()

    def _set(
        self, kind: _Kind, count: int | None, rate: float, channel: str | None, seconds: float = 0.0
    ) -> Fault[Envelope]:
        fault: Fault[Envelope] = Fault(
            lambda envelope: channel is None or envelope.channel == channel,
            count=count,
            rate=rate,
            chance=self._chance,
            seconds=seconds,
        )
        self._faults.append((kind, fault))
        return fault

    # The gateways' side

    def end(self) -> BusEnd:
        """An end for one more gateway."""
        end = BusEnd(self, self._inner)
        self._ends.append(end)
        return end

    def detach(self, end: BusEnd) -> None:
        """Let a gateway's end go."""
        if end in self._ends:
            self._ends.remove(end)
            for channel in end.listening:
                self.unlistened(channel)

    def unlistened(self, channel: str) -> None:
        """Stop receiving a channel's events if no gateway listens any more."""
        if not any(channel in end.listening for end in self._ends):
            self._inner.unlisten(channel)

    # What is published

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Send durable events that have their offsets, and ephemeral ones."""
        self.published.extend(envelopes)
        self._inner.publish(envelopes)

    def append(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> Awaitable[LogHead]:
        """Append an event to its live log and publish it."""
        head = self._inner.append_now(envelope, bounds, publication)
        newest = self._newest.get(envelope.channel)
        if newest is None or newest.epoch != head.epoch or head.offset > newest.offset:
            self._newest[envelope.channel] = head
            self.published.append(envelope)
        return Settled(head)

    async def presence(self, channel: str) -> PresenceState:
        """Who is there now."""
        return await self._inner.presence(channel)

    # The way

    def _arrive(self, envelopes: Sequence[Envelope]) -> None:
        self._faults = [(kind, fault) for kind, fault in self._faults if not fault.over]
        now: list[Envelope] = []
        for envelope in envelopes:
            struck = next(((kind, fault) for kind, fault in self._faults if fault.strikes(envelope)), None)
            if struck is None:
                now.append(envelope)
            elif struck[0] == "duplicate":
                now += (envelope, envelope)
            else:
                self._keep_back(*struck, envelope)
                continue
            now.extend(self._overtaken.pop(envelope.channel, ()))
        self._hand_over(now)

    def _keep_back(self, kind: _Kind, fault: Fault[Envelope], envelope: Envelope) -> None:
        if kind == "delay":
            self._loop.call_later(fault.seconds, self._hand_over, [envelope])
        elif kind == "reorder":
            self._overtaken.setdefault(envelope.channel, []).append(envelope)
            self._loop.call_later(fault.seconds, self._overtaken_late, envelope)

    def _overtaken_late(self, envelope: Envelope) -> None:
        waiting = self._overtaken.get(envelope.channel, [])
        if envelope in waiting:
            waiting.remove(envelope)
            self._hand_over([envelope])

    def _hand_over(self, envelopes: Sequence[Envelope]) -> None:
        for end in list(self._ends):
            heard = [envelope for envelope in envelopes if envelope.channel in end.listening]
            if heard:
                end.receive(heard)

    def _changed(self, change: PresenceChange) -> None:
        for end in list(self._ends):
            if change.channel in end.listening:
                end.changed(change)
