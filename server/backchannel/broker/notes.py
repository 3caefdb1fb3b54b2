"""Notes of presence: who came to a channel and who is gone from it, for those who have to be told of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

__all__ = ["NEWLY", "NoteBook", "PresenceNote", "Tell"]

NEWLY: Final = 1.0
"""How soon notes that could not be told are told again, in seconds."""


class PresenceNote(Struct, frozen=True):
    """The newest change of one user on one channel."""

    channel: str
    user: str
    here: bool
    """Whether the user came, or is gone."""
    id: str
    """Another one for each change, and the same one where a change is told again."""


Tell = Callable[[Sequence[PresenceNote]], Awaitable[Sequence[PresenceNote]]]
"""Tells notes of one channel, at most one for each user; returns those that are to be told again."""


class NoteBook:
    """The notes of one process: one telling per channel at a time, and what comes meanwhile takes the place of what was
    not told yet. Use it on one loop.

    Args:
        tell: tells the notes.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self._untold: dict[str, dict[str, PresenceNote]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, notes: Iterable[PresenceNote]) -> None:
        """Have these told, soon."""
        for note in notes:
            channel = note.channel
            self._untold.setdefault(channel, {})[note.user] = note
            if channel not in self._tasks:
                self._tasks[channel] = asyncio.get_running_loop().create_task(self._telling(channel))

    async def _telling(self, channel: str) -> None:
        try:
            while notes := self._untold.pop(channel, None):
                left = await self.tell(list(notes.values()))
                if left:
                    # What is newer than these has come meanwhile, or comes.
                    newer = self._untold.get(channel, {})
                    self._untold[channel] = {**{note.user: note for note in left}, **newer}
                    await asyncio.sleep(NEWLY)
        finally:
            del self._tasks[channel]

    async def close(self) -> None:
        """Tell nothing any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._untold.clear()
