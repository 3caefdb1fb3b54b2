"""Questions for the heads of logs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from backchannel.broker.broker import LogHead
from backchannel.store.head_questions import HeadQuestions

KNOWN = LogHead("e", 7, 1)
OTHER = LogHead("other", 0, 1)


class Log:
    """Answers when a test says so."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.waiting: list[asyncio.Future[None]] = []

    async def answer(self, channels: Sequence[str]) -> tuple[dict[str, LogHead], LogHead]:
        self.asked.append(list(channels))
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]
        return {"a": KNOWN}, OTHER


async def quiet() -> None:
    """Let everything that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_during_an_answer_is_asked_together_behind_it() -> None:
    """One statement is under way at a time, and each is begun after the questions that it answers."""
    log = Log()
    questions = HeadQuestions(log.answer, pause=0)
    first = [asyncio.ensure_future(questions.ask(channels)) for channels in ("a", "ba", "")]
    await quiet()
    later = []
    for channels in ("c", "a"):
        later.append(asyncio.ensure_future(questions.ask(channels)))
        await quiet()
    assert log.asked == [["a", "b"]]
    log.waiting[0].set_result(None)
    await quiet()
    assert [answer.result() for answer in first] == [{"a": KNOWN}, {"b": OTHER, "a": KNOWN}, {}]
    assert log.asked == [["a", "b"], ["c", "a"]]
    log.waiting[1].set_result(None)
    assert await asyncio.gather(*later) == [{"c": OTHER}, {"a": KNOWN}]


async def test_a_failure_is_told_and_those_behind_it_are_asked() -> None:
    """One statement that fails takes no other question with it."""
    log = Log()
    questions = HeadQuestions(log.answer)
    first = asyncio.ensure_future(questions.ask("a"))
    await quiet()
    second = asyncio.ensure_future(questions.ask("b"))
    await quiet()
    log.waiting[0].set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await first
    await quiet()
    log.waiting[1].set_result(None)
    assert await second == {"b": OTHER}


async def test_questions_of_a_storm_pause_and_those_of_one_do_not() -> None:
    """After a statement for several channels the next waits, and takes all that comes meanwhile."""
    log = Log()
    questions = HeadQuestions(log.answer, pause=0.02)
    loop = asyncio.get_running_loop()

    async def ask(*channels: str) -> None:
        before = len(log.asked)
        asked = [asyncio.ensure_future(questions.ask(channel)) for channel in channels]
        async with asyncio.timeout(10):
            while len(log.asked) == before:  # noqa: ASYNC110
                await asyncio.sleep(0)
        log.waiting[-1].set_result(None)
        await asyncio.gather(*asked)

    await ask("a")
    began = loop.time()
    await ask("b", "c")
    await ask("d", "e")
    assert loop.time() - began >= 0.02
    assert log.asked == [["a"], ["b", "c"], ["d", "e"]]
