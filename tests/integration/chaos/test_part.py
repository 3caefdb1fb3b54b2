"""A part is kept running whatever ends it, and tells what ended by itself."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backchannel.testing.chaos.part import Part

PATIENCE = 20.0

SERVER = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/end":
            os._exit(3)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.HTTPServer(("127.0.0.1", int(os.environ["BACKCHANNEL_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
async def part(tmp_path: Path) -> AsyncIterator[Part]:
    """A gateway's stand-in, which is ready as soon as it listens."""
    command = [sys.executable, "-c", SERVER]
    made = Part("gateway-1", "gateway", command, os.environ, tmp_path / "log", killed_itself=lambda _pid: False)
    await made.start()
    yield made
    await made.stop()


async def test_a_killed_part_comes_back_and_that_is_no_death(part: Part) -> None:
    """Who kills it knows."""
    first = part.pid
    part.kill(0.0)
    await part.until_begun(2, PATIENCE)
    await part.until_ready(PATIENCE)
    assert part.pid not in (None, first)
    assert part.deaths == []


async def test_a_part_that_ends_by_itself_comes_back_and_is_told(part: Part) -> None:
    """Nobody had ended it."""
    assert part.pid is not None
    os.kill(part.pid, signal.SIGABRT)
    await part.until_begun(2, PATIENCE)
    await part.until_ready(PATIENCE)
    assert [(death.name, death.code) for death in part.deaths] == [("gateway-1", -signal.SIGABRT)]


async def test_a_roll_waits_for_the_end_and_for_the_next_life(part: Part) -> None:
    """It tells how long the end took, and its status."""
    first = part.pid
    took, code = await part.roll(PATIENCE)
    assert (code, part.ready, part.deaths) == (0, True, [])
    assert part.pid not in (None, first)
    assert took < PATIENCE


async def test_a_frozen_part_is_not_ready_and_goes_on_when_thawed(part: Part) -> None:
    """The same process, as if nothing had been."""
    first = part.pid
    part.freeze()
    await part.until_unready(PATIENCE)
    assert part.stopped
    part.thaw()
    await part.until_ready(PATIENCE)
    assert (part.pid, part.stopped, part.starts) == (first, False, 1)


async def test_a_stopped_part_stays_away(part: Part) -> None:
    """Also where it was frozen."""
    part.freeze()
    await part.stop()
    assert part.pid is None
