"""A worker that leaves: nothing new comes, and what it took is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from backchannel import App, Context, Query

if TYPE_CHECKING:
    from tests.unit.worker.conftest import StartWorker


app = App("waiting")


@app.query("thing.wait")
class Wait(Query[int]):
    """Answered when the test lets it."""


class Gate:
    """Where the query of a test waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()


gates = [Gate()]


@app.handle(Wait)
async def wait(ctx: Context, request: Wait) -> int:
    """Wait at the test's gate."""
    gates[0].reached.set()
    await gates[0].opened.wait()
    return 7


@pytest.fixture
def gate() -> Gate:
    """A gate of the test's own."""
    gates[0] = Gate()
    return gates[0]


async def test_what_was_taken_is_answered_and_nothing_new_comes(start_worker: StartWorker, gate: Gate) -> None:
    """Whoever asks meanwhile is told at once that no worker is there, so that another has it."""
    bench = await start_worker(app)
    asking = asyncio.create_task(bench.ask(bench.request("thing.wait")))
    await gate.reached.wait()
    leaving = asyncio.create_task(bench.worker.leave(30.0))
    refused = await bench.refusal("thing.wait")
    assert (refused.code, refused.outcome) == ("unavailable", "none")
    assert bench.worker.open == 1
    assert not leaving.done()
    gate.opened.set()
    await leaving
    assert bench.worker.open == 0
    assert msgspec.json.decode((await asking).data) == 7


async def test_it_waits_for_so_long_and_no_longer(start_worker: StartWorker, gate: Gate) -> None:
    """What does not end in time is left to `stop`."""
    bench = await start_worker(app)
    asking: asyncio.Task[Any] = asyncio.create_task(bench.ask(bench.request("thing.wait")))
    await gate.reached.wait()
    await bench.worker.leave(0.01)
    assert bench.worker.open == 1
    asking.cancel()


async def test_an_idle_worker_leaves_at_once(start_worker: StartWorker, gate: Gate) -> None:
    """There is nothing to wait for; and leaving twice does no harm."""
    bench = await start_worker(app)
    await bench.worker.leave(30.0)
    await bench.worker.leave(30.0)
    assert not bench.relay.ready()
