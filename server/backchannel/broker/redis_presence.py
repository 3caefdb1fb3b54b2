"""Who is present, in shared state: what this gateway's connections do, told in batches, and told again when it is lost.

A room's state changes in presence.lua alone. This side keeps what it wants to be true (its own connections) and what it
has not told yet; whatever goes wrong, it tells again. One step per room is under way at a time, and takes everything
that came meanwhile.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from itertools import count, islice
from typing import Any, Final

from backchannel_protocol import BackchannelError, Refused
from backchannel_protocol.frames import Member

from ..bus import Bus, Script
from ..bus.connection import Word
from ..telemetry.logs import get_logger
from .broker import PresenceChange, PresenceState
from .notes import Tell
from .redis_lease import KEEP, MOST, Lease
from .redis_notes import RedisNotes

__all__ = ["RedisPresence"]

_log = get_logger(__name__)

# Connections told in one step: at some 10 µs each, Redis serves others again after a few milliseconds.
_CHUNK: Final = 250
# How long `close` waits for what is under way, in seconds.
_CLOSING: Final = 1.0


class _Room:
    """One channel with connections of this gateway."""

    __slots__ = ("channel", "connections", "epoch", "look", "registered", "revision", "step", "untold")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.connections: dict[str, str] = {}
        """Who is to be present: connection to user."""
        self.untold: dict[str, str] = {}
        """What shared state does not know yet: connection to user, empty for one that left."""
        self.epoch = ""
        self.revision = 0
        """The highest that was seen."""
        self.registered = ""
        """The incarnation whose list of rooms has this one."""
        self.look = False
        """Whether shared state still has what it was told is to be found out."""
        self.step: asyncio.Task[None] | None = None
        """What is under way."""

    def enter_anew(self) -> None:
        """Shared state has nothing of this gateway's."""
        for connection, user in self.connections.items():
            self.untold.setdefault(connection, user)


class RedisPresence:
    """Presence, as one process sees it. Args as in `RedisBroker`."""

    def __init__(self, bus: Bus, *, grace: float, gateway: str, publish_word: str) -> None:
        self._bus = bus
        self._grace = int(grace * 1000)
        self._gateway = gateway
        self._publish_word = publish_word
        self._change = Script.load("broker", "presence.lua")
        self._members = Script.load("broker", "members.lua")
        self._incarnations = count(1)
        self._rooms: dict[str, _Room] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._notes = RedisNotes(bus, look=self._settle_again, spawn=self._spawn)
        self._lease = Lease(
            bus,
            grace=self._grace,
            gateway=self._next_incarnation() if gateway else "",
            held=self._tell_all,
            late=self._renew,
            settle=self._settle,
            sweep=self._sweep,
        )

    def _next_incarnation(self) -> str:
        return f"{self._gateway}.{next(self._incarnations)}"

    def note(self, wanted: Callable[[str], bool], tell: Tell) -> None:
        """Have it noted who comes and who is gone, on channels that are wanted."""
        self._notes.want(wanted, tell)

    async def start(self) -> None:
        """Take a lease and keep it; Redis need not be there."""
        await self._lease.start()

    async def close(self) -> None:
        """Give the lease up, after what is being told. Waits for Redis two seconds at most."""
        self._closed = True
        await self._lease.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSING)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._lease.give_up()
        self._rooms.clear()

    # What connections do

    async def enter(self, channel: str, user: str, connection: str) -> None:
        """A connection of this user listens to the channel."""
        room = self._rooms.get(channel)
        if room is None:
            room = self._rooms[channel] = _Room(channel)
        room.connections[connection] = user
        room.untold[connection] = user
        await self._told(room)

    async def leave(self, channel: str, user: str, connection: str) -> None:
        """That connection of this user listens no more."""
        room = self._rooms.get(channel)
        if room is None or room.connections.get(connection) != user:
            return
        del room.connections[connection]
        room.untold[connection] = ""
        await self._told(room)

    async def state(self, channel: str) -> PresenceState:
        """Who is there now. Raises `Refused` (`unavailable`)."""
        room = self._rooms.get(channel)
        known = room.revision if room is not None else 0
        keys = [self._bus.key("room", channel), self._bus.key("users", channel)]
        reply = await self._bus.run(self._members, keys, [known, self._lease.settled, self._grace])
        epoch, revision, settling, *pairs = reply
        if room is not None and room.epoch and epoch.decode() != room.epoch:
            self._look(room)
        users = zip(pairs[::2], pairs[1::2], strict=True)
        members = [Member(user.decode(), int(entry.partition(b" ")[2])) for user, entry in users]
        return PresenceState(revision, members, settling / 1000)

    def heard(self, change: PresenceChange) -> None:
        """A change of presence arrived."""
        room = self._rooms.get(change.channel)
        if room is not None and change.revision > room.revision:
            room.revision = change.revision

    async def back(self) -> None:
        """Redis is heard again: find out whether it is the same, and whether it knows what it was told.

        Returns when `state` can tell lists that are not whole from those that are. Raises `BackchannelError` where
        Redis cannot be asked.
        """
        for room in self._rooms.values():
            room.look = True
        await self._lease.look()

    async def keep(self) -> None:
        """Keep the keys of every room from expiring, by looking at it. Raises `Refused` (`unavailable`)."""
        for room in self._rooms.values():
            self._look(room)
        await self._lease.keep()

    # Telling

    async def _told(self, room: _Room) -> None:
        """Return when what is to be told was tried to be told."""
        task = self._tell_soon(room)
        if task is not None:
            await asyncio.wait([task])

    def _look(self, room: _Room) -> None:
        room.look = True
        self._tell_soon(room)

    def _tell_all(self) -> None:
        """The lease is held: whatever was left untold can be told."""
        for room in list(self._rooms.values()):
            if room.untold or room.look or not room.connections:
                self._tell_soon(room)

    def _tell_soon(self, room: _Room) -> asyncio.Task[None] | None:
        """Tell in a task of its own, which begins when this tick is over and takes all that this tick brings.

        None while the lease is not held: `_tell_all` follows when it is.
        """
        if room.step is None and not self._closed and self._lease.held():
            room.step = self._spawn(self._tell(room))
        return room.step

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self, room: _Room) -> None:
        try:
            while self._lease.held():
                if room.untold or room.look:
                    await self._step(room)
                elif room.connections or await self._forget(room):
                    break
        except Refused:
            pass  # told at a later beat
        except BackchannelError as exc:
            _log.error("presence cannot be told", channel=room.channel, reason=str(exc))
        finally:
            room.step = None

    async def _step(self, room: _Room) -> None:
        incarnation = self._lease.incarnation
        if room.registered != incarnation:
            await self._lease.register(room.channel, incarnation)
            room.registered = incarnation
        chunk = dict(islice(room.untold.items(), _CHUNK))
        for connection in chunk:
            del room.untold[connection]
        room.look = False
        try:
            epoch, due = await self._run(room.channel, incarnation, room.revision, chunk)
            await self._lease.schedule(room.channel, due)
        except BaseException:
            # Telling again what was told does no harm; looking tells again what is due.
            if incarnation == self._lease.incarnation:
                for connection, user in chunk.items():
                    room.untold.setdefault(connection, user)
            room.look = True
            raise
        if epoch != room.epoch and room.epoch:
            room.enter_anew()
        room.epoch = epoch

    async def _forget(self, room: _Room) -> bool:
        """Nobody of this gateway is there any more, and shared state knows. Returns whether that is still so."""
        if room.registered == self._lease.incarnation:
            await self._lease.unregister(room.channel, room.registered)
        room.registered = ""
        if room.untold or room.look or room.connections:
            return False
        del self._rooms[room.channel]
        return True

    async def _run(
        self, channel: str, incarnation: str, known: int, connections: dict[str, str], gone: int = 0
    ) -> tuple[str, int]:
        """One run of presence.lua: the room's epoch, and when something is due there."""
        key = self._bus.key
        keys = [key(kind, channel) for kind in ("room", "users", "leaving", "holders", "rows", "events", "notes")]
        keys[4] += b":" + incarnation.encode()
        fixed = (self._publish_word, channel, incarnation, self._grace, gone, KEEP, secrets.token_hex(8), known)
        named = [word for pair in connections.items() for word in pair]
        while True:
            args: list[Word] = [*fixed, self._lease.settled, MOST, self._notes.claim(channel), *named]
            epoch, revision, due, rows, noting, notes = await self._bus.run(self._change, keys, args)
            room = self._rooms.get(channel)
            if room is not None and revision > room.revision:
                room.revision = revision
            self._notes.found(channel, epoch.decode(), noting, notes)
            if not rows:
                # Should this gateway die, its rooms are looked at; of what others leave behind, somebody is to know.
                own = incarnation and not gone
                return epoch.decode(), due if own or not noting else min(due or noting, noting)

    # What the lease finds

    async def _renew(self) -> None:
        """This gateway came too late and is counted as gone: enter everything as another one."""
        old = self._lease.incarnation
        self._lease.take(self._next_incarnation())
        channels = []
        under_way = []
        for room in self._rooms.values():
            if room.registered == old:
                channels.append(room.channel)
            if room.step is not None:
                under_way.append(room.step)
            room.untold = dict(room.connections)
            room.registered = room.epoch = ""
            room.look = False
        if under_way:
            # What they still write as the old one is cleared below.
            await asyncio.wait(under_way)
        await self._lease.bury(old, channels)

    async def _settle(self, channel: str) -> int:
        """Look at a room where something is due; returns when the next thing is."""
        room = self._rooms.get(channel)
        epoch, due = await self._run(channel, "", room.revision if room is not None else 0, {})
        if room is not None and room.epoch and epoch != room.epoch:
            self._look(room)
        return due

    async def _settle_again(self, channel: str) -> None:
        await self._lease.schedule(channel, await self._settle(channel))

    async def _sweep(self, channel: str, incarnation: str, last: int) -> int:
        """The connections of a gateway that is gone leave a room; returns when something is due there."""
        _, due = await self._run(channel, incarnation, 0, {}, last)
        return due
