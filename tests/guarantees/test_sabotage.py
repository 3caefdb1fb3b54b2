"""The checker can fail: a promise that is broken on purpose is seen, and called by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from backchannel.testing.chaos import ChaosReport

RunChaos = Callable[..., Awaitable[ChaosReport]]

pytestmark = pytest.mark.timeout(120)


async def sabotaged(run: RunChaos, sabotage: str) -> ChaosReport:
    """A few seconds of load without any other fault."""
    report = await run(
        bound=110, seconds=6.0, seed=3, settling=5.0, sabotage=sabotage, kinds=frozenset({"cut_clients"})
    )
    with pytest.raises(AssertionError):
        report.verify()
    return report


async def test_a_reply_whose_transaction_was_rolled_back_is_seen(run: RunChaos) -> None:
    """P1: acknowledged, and not there."""
    assert (await sabotaged(run, "replies")).lost


async def test_a_key_that_is_not_looked_up_is_seen(run: RunChaos) -> None:
    """P2: one key, two effects."""
    assert (await sabotaged(run, "keys")).doubled


async def test_an_offset_that_is_ignored_is_seen(run: RunChaos) -> None:
    """P3: events lost, events twice, events in the wrong order."""
    report = await sabotaged(run, "offsets")
    assert report.lost
    assert report.doubled
    assert report.out_of_order


async def test_without_sabotage_the_same_run_passes(run: RunChaos) -> None:
    """So it is the sabotage that is seen."""
    report = await run(bound=110, seconds=6.0, seed=3, kinds=frozenset({"cut_clients"}))
    report.verify()
    assert report.acknowledged
