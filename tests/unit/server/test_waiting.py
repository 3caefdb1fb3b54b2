"""A process waits for what is not there yet, says so, and gives up where no waiting helps."""

from __future__ import annotations

import asyncio

import pytest

from backchannel.server.waiting import Opening, Waiting, together
from backchannel.settings import ConfigurationError
from backchannel.testing import run
from backchannel_protocol import Refused

ABSENT = Refused("unavailable", "It is not there.", outcome="none")


def test_it_tries_until_it_is_there() -> None:
    """The part is among the reasons meanwhile, and afterwards no more."""
    reasons: list[dict[str, str]] = []

    async def main() -> None:
        waiting = Waiting()

        async def attempt() -> int:
            reasons.append(dict(waiting.reasons))
            if len(reasons) < 4:
                raise ABSENT
            return 7

        assert await waiting.until_there("redis", attempt) == 7
        assert waiting.reasons == {}
        await waiting.close()

    run(main)
    assert reasons == [{}, *[{"redis": "It is not there."}] * 3]


def test_a_connection_that_is_refused_is_waited_for_too() -> None:
    """Where nobody listens yet somebody will."""

    async def main() -> None:
        waiting, attempts = Waiting(), iter((ConnectionRefusedError("no"), None))

        async def attempt() -> None:
            if (failure := next(attempts)) is not None:
                raise failure

        await waiting.until_there("postgres", attempt)
        await waiting.close()

    run(main)


@pytest.mark.parametrize("failure", [ConfigurationError("wrong"), Refused("forbidden", "no")])
def test_what_no_retry_cures_is_raised(failure: Exception) -> None:
    """At the first attempt, and nothing is left among the reasons."""

    async def main() -> None:
        waiting, count = Waiting(), 0

        async def attempt() -> None:
            nonlocal count
            count += 1
            raise failure

        with pytest.raises(type(failure)):
            await waiting.until_there("redis", attempt)
        assert (count, waiting.reasons) == (1, {})

    run(main)


def test_one_line_for_all_that_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Every five seconds, however many parts there are and however often they are tried; then one that all is there."""

    async def main() -> None:
        waiting, there = Waiting(), asyncio.Event()

        async def attempt() -> None:
            if not there.is_set():
                raise ABSENT

        parts = [asyncio.create_task(waiting.until_there(part, attempt)) for part in ("redis", "postgres")]
        await asyncio.sleep(12)
        there.set()
        await asyncio.gather(*parts)
        await asyncio.sleep(6)

    run(main)
    lines = [line for line in capsys.readouterr().out.splitlines() if "waiting for" in line or "everything" in line]
    assert len(lines) == 4, lines
    assert all("redis" in line and "postgres" in line for line in lines[:3])


def test_what_waits_by_itself_is_told_after_a_moment() -> None:
    """And not at all where it comes at once."""

    async def main() -> None:
        waiting = Waiting()

        async def late() -> int:
            await asyncio.sleep(3)
            return 3

        task = asyncio.create_task(waiting.patiently("postgres", "it is not there", late()))
        await asyncio.sleep(0.5)
        assert waiting.reasons == {}
        await asyncio.sleep(1)
        assert waiting.reasons == {"postgres": "it is not there"}
        assert await task == 3
        assert waiting.reasons == {}
        await waiting.close()

    run(main)


def test_an_opening_settles_when_all_is_there_or_one_is_waited_for() -> None:
    """Whoever starts a process learns of what can never work, and does not wait for what may come."""

    async def main() -> None:
        waiting, there = Waiting(), asyncio.Event()

        async def attempt() -> None:
            if not there.is_set():
                raise ABSENT

        opening = Opening(waiting.until_there("redis", attempt), waiting)
        await opening.settled()
        assert waiting.reasons
        failing = asyncio.create_task(opening.failed())
        there.set()
        await asyncio.sleep(5)
        assert not failing.done()
        failing.cancel()
        await opening.close()

        async def broken() -> None:
            raise ConfigurationError("wrong")

        with pytest.raises(ConfigurationError):
            await Opening(broken(), Waiting()).settled()

    run(main)


def test_together_ends_all_with_the_first_failure() -> None:
    """It is raised as it is, and nothing goes on behind it."""

    async def main() -> None:
        ended = asyncio.Event()

        async def slow() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        async def broken() -> None:
            await asyncio.sleep(1)
            raise ConfigurationError("wrong")

        with pytest.raises(ConfigurationError):
            await together(slow(), broken())
        assert ended.is_set()

    run(main)
