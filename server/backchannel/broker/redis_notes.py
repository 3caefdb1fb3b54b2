"""Notes of presence in shared state: presence.lua writes them down with the change itself, and gives those of a room to
one process at a time; noted.lua strikes out what was told. What a process leaves behind goes to the next that looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from backchannel_protocol import BackchannelError, Refused

from ..bus import Bus, Script
from ..bus.connection import Word
from ..telemetry.logs import get_logger
from .notes import NEWLY, PresenceNote, Tell

__all__ = ["CLAIM", "RedisNotes"]

_log = get_logger(__name__)

CLAIM: Final = 15_000
"""For how many milliseconds the notes of a room are their teller's alone: longer than telling may take."""


class RedisNotes:
    """What one process does about notes.

    Args:
        bus: the way to Redis.
        look: looks at a room again, which brings what was noted meanwhile.
        spawn: runs a coroutine for as long as presence lives.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        look: Callable[[str], Awaitable[Any]],
        spawn: Callable[[Any], object],
    ) -> None:
        self._bus = bus
        self._look = look
        self._spawn = spawn
        self._script = Script.load("broker", "noted.lua")
        self._tell: Tell | None = None
        self._wanted: Callable[[str], bool] = lambda channel: False

    def want(self, wanted: Callable[[str], bool], tell: Tell) -> None:
        """Have notes of these channels told."""
        self._wanted, self._tell = wanted, tell

    def claim(self, channel: str) -> int:
        """What presence.lua is told: for how long notes are to be this process's; 0: there are to be none."""
        return CLAIM if self._wanted(channel) else 0

    def found(self, channel: str, epoch: str, claim: int, words: Sequence[bytes]) -> None:
        """Tell what presence.lua gave, in a task of its own."""
        if words:
            self._spawn(self._telling(channel, epoch, claim, dict(zip(words[::2], words[1::2], strict=True))))

    async def _telling(self, channel: str, epoch: str, claim: int, entries: dict[bytes, bytes]) -> None:
        assert self._tell is not None
        notes = []
        for user, entry in entries.items():
            here, _, revision = entry.decode().partition(" ")
            notes.append(PresenceNote(channel, user.decode(), here == "1", f"{epoch}.{revision}"))
        left: Sequence[PresenceNote] = notes
        try:
            left = await self._tell(notes)
        finally:
            again = {note.user for note in left}
            told = [word for pair in entries.items() if pair[0].decode() not in again for word in pair]
            more = await self._strike_out(channel, claim, told)
        if left:
            await asyncio.sleep(NEWLY)
        if more:
            try:
                await self._look(channel)
            except Refused:
                pass  # the room is due, or looked at when Redis is back
            except BackchannelError as exc:
                _log.error("presence cannot be told", channel=channel, reason=str(exc))

    async def _strike_out(self, channel: str, claim: int, told: Sequence[Word]) -> bool:
        """These were told, and the room's notes are anybody's again; returns whether there are more."""
        keys = [self._bus.key("room", channel), self._bus.key("notes", channel)]
        try:
            return bool(await self._bus.run(self._script, keys, [claim, *told]))
        except Refused:
            return True  # what was told is told again when the claim is over, with no further effect
