"""Questions for the heads of logs: those that come while others are being answered are asked together behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ..broker.broker import LogHead

__all__ = ["HeadQuestions"]

# Beside the ticks of a storm, of some milliseconds each, nobody notices it.
_PAUSE: Final = 0.005

_Question = tuple[Sequence[str], asyncio.Future[dict[str, LogHead]]]


class HeadQuestions:
    """For one loop.

    One statement is under way at a time, and after one for several channels the next waits until `pause` seconds after
    its beginning; whoever asks alone does not wait. A storm of new users asks for as many channels' heads: with a
    statement per loop tick, the ways to its thread and back were a third of what such a connection cost.

    Args:
        answer: the heads of those of these channels that have one, and the head of all others.
        pause: seconds.
    """

    def __init__(
        self, answer: Callable[[Sequence[str]], Awaitable[tuple[dict[str, LogHead], LogHead]]], pause: float = _PAUSE
    ) -> None:
        self._answer = answer
        self._asked: list[_Question] = []
        self._pause = pause
        self._not_before = 0.0
        self._next: asyncio.TimerHandle | asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, channels: Sequence[str]) -> dict[str, LogHead]:
        """The heads of these channels. Cancelling forgets the answer.

        Raises:
            Exception: what `answer` raised.
        """
        answer: asyncio.Future[dict[str, LogHead]] = asyncio.get_running_loop().create_future()
        self._asked.append((channels, answer))
        self._begin_soon()
        return await answer

    def _begin_soon(self) -> None:
        if self._asked and self._next is None and not self._tasks:
            loop = asyncio.get_running_loop()
            wait = self._not_before - loop.time()
            self._next = loop.call_later(wait, self._begin) if wait > 0 else loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._next = None
        asked, self._asked = self._asked, []
        channels = list({channel: None for channels, _ in asked for channel in channels})
        loop = asyncio.get_running_loop()
        self._not_before = loop.time() + self._pause if len(channels) > 1 else 0.0
        task = loop.create_task(self._tell(channels, asked), name="log heads")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._begin_soon()

    async def _tell(self, channels: Sequence[str], asked: list[_Question]) -> None:
        try:
            heads, other = await self._answer(channels)
        except BaseException as exc:
            for _, answer in asked:
                if not answer.done():
                    answer.cancel() if isinstance(exc, asyncio.CancelledError) else answer.set_exception(exc)
            if not isinstance(exc, Exception):
                raise
        else:
            for named, answer in asked:
                if not answer.done():
                    answer.set_result({channel: heads.get(channel, other) for channel in named})
