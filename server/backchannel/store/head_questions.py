"""Questions for the heads of logs: those that come while others are being answered are asked together behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..broker.broker import LogHead

__all__ = ["HeadQuestions"]


class HeadQuestions:
    """For one loop.

    One statement is under way at a time. A storm of new users asks for as many channels' heads: with a statement per
    loop tick, the ways to its thread and back were a third of what such a connection cost.

    Args:
        answer: the heads of those of these channels that have one, and the head of all others.
    """

    def __init__(self, answer: Callable[[Sequence[str]], Awaitable[tuple[dict[str, LogHead], LogHead]]]) -> None:
        self._answer = answer
        self._asked: dict[str, list[asyncio.Future[LogHead]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, channel: str) -> LogHead:
        """A channel's head. Cancelling forgets the answer.

        Raises:
            Exception: what `answer` raised.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[LogHead] = loop.create_future()
        if not self._asked and not self._tasks:
            loop.call_soon(self._begin)
        self._asked.setdefault(channel, []).append(waiting)
        return await waiting

    def _begin(self) -> None:
        asked, self._asked = self._asked, {}
        task = asyncio.get_running_loop().create_task(self._tell(asked), name="log heads")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._asked:
            self._begin()

    async def _tell(self, asked: dict[str, list[asyncio.Future[LogHead]]]) -> None:
        try:
            heads, other = await self._answer(list(asked))
        except BaseException as exc:
            for answer in _open(asked):
                answer.cancel() if isinstance(exc, asyncio.CancelledError) else answer.set_exception(exc)
            if not isinstance(exc, Exception):
                raise
        else:
            for channel, waiting in asked.items():
                for answer in waiting:
                    if not answer.done():
                        answer.set_result(heads.get(channel, other))


def _open(asked: dict[str, list[asyncio.Future[LogHead]]]) -> list[asyncio.Future[LogHead]]:
    return [answer for waiting in asked.values() for answer in waiting if not answer.done()]
