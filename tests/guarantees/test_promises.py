"""P1 to P7 on real processes: two gateways, two workers, Redis and PostgreSQL, with clients of both libraries.

`backchannel chaos` makes the same runs by hand, longer and with other seeds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from backchannel.testing.chaos import PROCESS_FAULTS, ChaosReport
from backchannel.testing.chaos.points import POINTS

RunChaos = Callable[..., Awaitable[ChaosReport]]


@pytest.mark.timeout(280)
async def test_the_promises_hold_while_everything_fails(run: RunChaos) -> None:
    """For a minute: processes killed and stopped, Redis emptied and paused, PostgreSQL restarted and crashed, sockets
    cut, readers slow, rights revoked, everything rolled. Nothing acknowledged is lost, nothing happens twice, everybody
    hears everything in order and without a gap, no right outlives its bound, nothing is left unanswered."""
    report = await run(bound=270, seconds=60.0, seed=1, kinds=frozenset(PROCESS_FAULTS))
    report.verify()
    assert report.faults.keys() == set(PROCESS_FAULTS)
    assert report.acknowledged > 500
    assert report.delivered > 5 * report.acknowledged
    assert report.delivered_live
    assert report.unverified == 0
    assert report.deaths == ()
    assert report.typescript


@pytest.mark.timeout(280)
async def test_the_promises_hold_behind_every_step_of_a_batch_with_random_routing(run: RunChaos) -> None:
    """A crash, a stop and a lost answer of the database, behind each of the five steps. Nothing is correct because of
    routing, so commands go to any worker."""
    report = await run(bound=270, seconds=20.0, seed=2, routing="random", kinds=frozenset({"cut_clients"}), steps=True)
    report.verify()
    assert report.points.keys() == {str(point) for point in POINTS}
    assert report.acknowledged > 200
    assert report.unverified == 0
    assert report.deaths == ()
