"""The lease by which a gateway's presence counts, and what is done for those that are gone.

Every process beats once a second (beat.lua). A gateway whose lease ends is gone, for good: should it wake, it takes
another name, its next incarnation. Whoever beats finds the gone ones and clears their rooms, and looks at rooms where a
grace has ended; both are bounded per beat.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from backchannel_protocol import BackchannelError, Refused

from ..bus import Bus, Script
from ..bus.connection import Word
from ..telemetry.logs import get_logger

__all__ = ["KEEP", "MOST", "Lease"]

_log = get_logger(__name__)

KEEP: Final = 3_600_000
"""Milliseconds after which keys expire that nobody uses any more."""
MOST: Final = 500
"""Users, connections or rooms dealt with in one step."""

_BEAT: Final = 1.0
# A gateway that is silent for so long is gone. Its presence must be gone within 15 s: the grace of 10 s counts from its
# last sign of life, and what ends with it is found a beat or two later.
_LEASE: Final = 5.0
# What is written by one whose lease is about to end may arrive when it has ended.
_MARGIN: Final = 1.0
# How long a room that is due is its finder's.
_CLAIM: Final = 5.0
# Rooms of a gone gateway cleared at once.
_SWEPT: Final = 100
# How long giving up may take, in seconds.
_GIVING_UP: Final = 1.0


class Lease:
    """Beats, and tells what follows from it. Spans are milliseconds.

    Args:
        bus: the way to Redis.
        grace: how long a user without a connection still counts.
        gateway: the first incarnation; empty for a process without connections.
        held: called whenever the lease was renewed.
        late: called when this gateway is counted as gone; it takes another incarnation.
        settle: looks at a room where something is due; returns when the next thing is due there, 0 for never.
        sweep: clears a room of a gateway (channel, incarnation, when it was there last); returns likewise.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        grace: int,
        gateway: str,
        held: Callable[[], None],
        late: Callable[[], Awaitable[None]],
        settle: Callable[[str], Awaitable[int]],
        sweep: Callable[[str, str, int], Awaitable[int]],
    ) -> None:
        self._bus = bus
        self._grace = grace
        self.incarnation = gateway
        self.settled = 0
        """Until when rooms that begin anew wait, Unix milliseconds by Redis's clock."""
        self._held = held
        self._late = late
        self._settle = settle
        self._sweep = sweep
        self._script = Script.load("broker", "beat.lua")
        self._keys = [bus.key(kind, "gateways") for kind in ("presence", "leases", "dead", "due")]
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._new = True
        self._epoch = ""
        self._now = 0
        self._sweeping: dict[str, asyncio.Task[None]] = {}
        self._settling: asyncio.Task[None] | None = None
        self._looking = asyncio.Event()
        self._beating = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the lease if Redis is there, and go on beating."""
        await self._beat()
        self._task = self._loop.create_task(self._run(), name="presence lease")

    async def stop(self) -> None:
        """Beat no more."""
        tasks = [task for task in (self._task, self._settling, *self._sweeping.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def give_up(self) -> None:
        """Let the others know that this gateway is gone, if Redis is there. Takes a second at most."""
        if self.incarnation and not self._new:
            with contextlib.suppress(BackchannelError, TimeoutError):
                async with asyncio.timeout(_GIVING_UP):
                    await self.bury(self.incarnation, [])
        self._until = 0.0

    def held(self) -> bool:
        """Whether what is written in this gateway's name now arrives while it counts as there."""
        return self._loop.time() < self._until

    def take(self, incarnation: str) -> None:
        """Go on under another name; the lease is held again after the next beat."""
        self.incarnation = incarnation
        self._new = True
        self._until = 0.0

    async def look(self) -> None:
        """Beat now, for much may have happened. Raises `BackchannelError` where Redis cannot be asked."""
        self._until = 0.0
        await self._beat_once()

    # Beating

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT):
                    await self._looking.wait()
            self._looking.clear()
            await self._beat()

    async def _beat(self) -> None:
        try:
            await self._beat_once()
        except Refused:
            pass  # the bus tells that Redis is not there
        except BackchannelError as exc:
            _log.error("presence cannot be kept", reason=str(exc))

    async def _beat_once(self) -> None:
        async with self._beating:
            await self._beat_alone()

    async def _beat_alone(self) -> None:
        sent = self._loop.time()
        lease = int(_LEASE * 1000)
        new = int(self._new)
        args: list[Word] = [self.incarnation, new, lease, self._grace, self._epoch, secrets.token_hex(8), MOST]
        reply = await self._bus.run(self._script, self._keys, [*args, int(_CLAIM * 1000), KEEP])
        held, epoch, self.settled, self._now, dead, due = reply
        known, self._epoch = self._epoch, epoch.decode()
        if not held:
            why = "this gateway woke late" if self._epoch == known else "redis forgot it"
            _log.warning("presence is entered anew", because=why, incarnation=self.incarnation)
            await self._late()
            self._looking.set()
            return
        self._new = False
        self._until = sent + _LEASE - _MARGIN
        self._held()
        for incarnation, last in zip(dead[::2], dead[1::2], strict=True):
            self._begin_sweep(incarnation.decode(), int(last))
        if due and self._settling is None:
            self._settling = self._loop.create_task(self._settle_all(due))
            self._settling.add_done_callback(self._settled)

    # Rooms where something is due

    async def schedule(self, channel: str, due: int) -> None:
        """See to it that somebody looks at a room when something is due there; 0: nothing is."""
        if due:
            # In whole seconds, so that what is due about the same time is one entry.
            at = -(-due // 1000) * 1000
            await self._add(self._keys[3], "ZADD", at, f"{at}:{channel}")

    async def _settle_all(self, due: Sequence[bytes]) -> None:
        await _all([self._settle_one(entry) for entry in due])
        if len(due) == MOST:
            self._looking.set()

    async def _settle_one(self, entry: bytes) -> None:
        channel = entry.partition(b":")[2].decode()
        await self.schedule(channel, await self._settle(channel))
        await self._bus.call("ZREM", self._keys[3], entry, key=self._keys[3])

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling = None
        _report(task)

    # Gateways that are gone

    def _entered(self, incarnation: str) -> bytes:
        """The key of the set of rooms that a gateway may have connections in."""
        return self._bus.key("entered", incarnation)

    async def register(self, channel: str, incarnation: str) -> None:
        """Note that this gateway has connections in a room, before it has."""
        entered = self._entered(incarnation)
        await self._add(entered, "SADD", channel)

    async def _add(self, key: bytes, command: str, *words: Word) -> None:
        """Add to a set, which may be made by this and is to expire."""
        await _all(
            [self._bus.call(command, key, *words, key=key), self._bus.call("PEXPIRE", key, KEEP, key=key)],
        )

    async def keep(self) -> None:
        """Keep the list of this gateway's rooms from expiring."""
        entered = self._entered(self.incarnation)
        await self._bus.call("PEXPIRE", entered, KEEP, key=entered)

    async def unregister(self, channel: str, incarnation: str) -> None:
        """Note that it has none there any more."""
        entered = self._entered(incarnation)
        await self._bus.call("SREM", entered, channel, key=entered)

    async def bury(self, incarnation: str, channels: Sequence[str]) -> None:
        """Count a gateway as gone now, whose connections may be in these rooms too."""
        leases, dead = self._keys[1], self._keys[2]
        entered = self._entered(incarnation)
        if channels:
            await self._add(entered, "SADD", *channels)
        await self._add(dead, "ZADD", self._now, incarnation)
        await self._bus.call("ZREM", leases, incarnation, key=leases)

    def _begin_sweep(self, incarnation: str, last: int) -> None:
        if incarnation in self._sweeping:
            return
        task = self._sweeping[incarnation] = self._loop.create_task(self._sweep_all(incarnation, last))

        def swept(task: asyncio.Task[None]) -> None:
            del self._sweeping[incarnation]
            _report(task)

        task.add_done_callback(swept)

    async def _sweep_all(self, incarnation: str, last: int) -> None:
        """Clear a gone gateway's rooms. Several gateways may do so at a time: each takes some at random."""
        entered = self._entered(incarnation)
        rooms = 0
        while channels := await self._bus.call("SRANDMEMBER", entered, _SWEPT, key=entered):
            await _all([self._sweep_one(channel.decode(), incarnation, last) for channel in channels])
            await self._bus.call("SREM", entered, *channels, key=entered)
            rooms += len(channels)
        await self._bus.call("ZREM", self._keys[2], incarnation, key=self._keys[2])
        if rooms:
            _log.warning("cleared a gateway that is gone", incarnation=incarnation, rooms=rooms)

    async def _sweep_one(self, channel: str, incarnation: str, last: int) -> None:
        await self.schedule(channel, await self._sweep(channel, incarnation, last))


async def _all(coroutines: Sequence[Awaitable[Any]]) -> None:
    """Run these together; raises the first failure when all have ended."""
    for outcome in await asyncio.gather(*coroutines, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _report(task: asyncio.Task[None]) -> None:
    """What a task failed with, unless it is that Redis is not there: the next beat begins it again."""
    if not task.cancelled() and (exc := task.exception()) is not None and not isinstance(exc, Refused):
        _log.error("presence cannot be cleared", exc_info=exc)
