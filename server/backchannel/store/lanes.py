"""Lanes: what transactions are serialised by, in this process and in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from backchannel_protocol import Refused

__all__ = ["LaneTurns", "lane_numbers", "lock_number"]


def lock_number(kind: str, *words: str) -> int:
    """The number of an advisory lock: 64 bits, signed. Two that come out the same only wait for each other."""
    name = "\0".join(("backchannel", kind, *words)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)


def lane_numbers(app: str, lanes: Iterable[str]) -> list[int]:
    """The numbers of an app's lanes, in the one order in which all processes lock them."""
    return sorted({lock_number("lane", app, lane) for lane in lanes})


class LaneTurns:
    """Whose turn a lane is within this process, first come, first served.

    The database serialises lanes too, but in the order in which connections get there; and whoever waits there has a
    connection meanwhile.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` is how long a turn is waited for."""
        self._seconds: Final = seconds
        self._turns: dict[int, asyncio.Lock] = {}
        self._wanted: dict[int, int] = {}

    async def take(self, lanes: Sequence[int]) -> None:
        """Wait for all of these; cancelling gives up the place in the queue.

        Raises:
            Refused: `unavailable`: others had the turn for too long.
        """
        taken = 0
        try:
            for lane in lanes:
                turn = self._turns.setdefault(lane, asyncio.Lock())
                self._wanted[lane] = wanted = self._wanted.get(lane, 0) + 1
                taken += 1
                if wanted == 1:
                    await turn.acquire()
                else:
                    async with asyncio.timeout(self._seconds):
                        await turn.acquire()
        except BaseException as exc:
            self._forget(lanes[taken - 1])
            self.give_back(lanes[: taken - 1])
            if isinstance(exc, TimeoutError):
                raise Refused(
                    "unavailable", "Another transaction holds what this one needs.", outcome="none", retry_after=1.0
                ) from None
            raise

    def give_back(self, lanes: Sequence[int]) -> None:
        """Give the turn to who is next."""
        for lane in lanes:
            self._turns[lane].release()
            self._forget(lane)

    def _forget(self, lane: int) -> None:
        self._wanted[lane] -= 1
        if not self._wanted[lane]:
            del self._wanted[lane], self._turns[lane]
