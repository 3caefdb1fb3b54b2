"""A workload of one's own: the runner puts any app under load, and tells what its handlers do wrong."""

from __future__ import annotations

import asyncio

import pytest

from backchannel.testing.chaos import ChaosOptions, run_chaos
from backchannel.testing.chaos.schedule import FaultKind
from examples.shop_chaos import workload

pytestmark = pytest.mark.timeout(120)


async def test_the_shop_of_the_documentation_keeps_its_promises() -> None:
    """Orders while a worker is killed and sockets are cut: each acknowledged one is there, once, in row and event."""
    async with asyncio.timeout(110):
        kinds: frozenset[FaultKind] = frozenset({"kill_worker", "cut_clients"})
        report = await run_chaos(ChaosOptions(seconds=6.0, seed=5, kinds=kinds, typescript_clients=0), workload)
    report.verify()
    assert report.acknowledged > 50
    assert report.faults
    assert not report.typescript
