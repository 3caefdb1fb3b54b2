"""`backchannel serve --gateways N --workers M`: children are started, watched, replaced and ended in order."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from backchannel.chat import MessageCreated, SendMessage
from backchannel.testing.services import free_port
from backchannel_client import Client

if TYPE_CHECKING:
    from tests.integration.processes.conftest import Installation, Part

pytestmark = pytest.mark.timeout(240)

MakeClient = Callable[..., Client]
Eventually = Callable[..., Awaitable[Any]]

PATIENCE = 60.0
LOBBY = "chat:lobby"
SILENCE = 3.0
"""Seconds for which a deploy may keep a user waiting."""


def supervisor(installation: Installation, gateways: int, workers: int, *words: str) -> Part:
    """Gateways and workers under one supervisor."""
    return installation.part(
        "serve", "--gateways", str(gateways), "--workers", str(workers), "--port", "0", "--log-format", "json", *words
    )


def children(part: Part) -> dict[str, int]:
    """The process ids that it has started last, by name."""
    events = [json.loads(line) for line in part.output.splitlines() if line.startswith("{")]
    return {event["child"]: event["pid"] for event in events if event.get("event") == "started"}


async def started(part: Part) -> None:
    """Return once all children are ready."""
    await asyncio.to_thread(part.until, "Backchannel is running")


async def test_it_starts_and_ends_all(installation: Installation, client: MakeClient) -> None:
    """One address for all gateways; each line of output tells whose it is; SIGTERM ends everybody, with 0."""
    part = supervisor(installation, 2, 1)
    await started(part)
    running = children(part)
    assert set(running) == {"gateway-1", "gateway-2", "worker-1"}
    async with client("alice", part.url) as alice:
        await alice.call(SendMessage(channel=LOBBY, text="hello"), timeout=PATIENCE)
    told = {json.loads(line).get("process") for line in part.output.splitlines() if line.startswith("{")}
    assert told >= {*running, None}
    assert await part.end(patience=PATIENCE) == 0
    assert not [pid for pid in running.values() if psutil.pid_exists(pid)]
    assert "Traceback" not in part.output


async def test_a_killed_child_is_followed_by_another(
    installation: Installation, client: MakeClient, eventually: Eventually
) -> None:
    """Gateway or worker: whoever watches the supervisor need not act, and nothing that was acknowledged is lost."""
    part = supervisor(installation, 1, 1)
    await started(part)
    before = children(part)
    async with client("alice", part.url) as alice:
        first = await alice.call(SendMessage(channel=LOBBY, text="1"), timeout=PATIENCE)
        for name in ("gateway-1", "worker-1"):
            psutil.Process(before[name]).kill()
            second = await alice.call(SendMessage(channel=LOBBY, text=name), timeout=PATIENCE)
        assert second.seq == first.seq + 2

    async def look() -> bool | None:
        now = children(part)
        return True if all(now[name] != pid for name, pid in before.items()) else None

    await eventually(look)
    assert '"signal": "SIGKILL"' in part.output
    assert await part.end(patience=PATIENCE) == 0


async def test_a_rolling_restart_loses_nothing(installation: Installation, client: MakeClient) -> None:
    """P7: SIGHUP replaces every process one after another, under load. Every message is acknowledged and heard once, in
    order, and nobody waits for more than 3 s: not for an answer, nor for an event."""
    part = supervisor(installation, 2, 2)
    await started(part)
    before = children(part)
    loop = asyncio.get_running_loop()
    heard: list[tuple[float, MessageCreated]] = []
    answered: list[float] = []
    async with client("alice", part.url) as alice, client("bob", part.url) as bob:
        subscription = bob.subscribe(LOBBY)
        await subscription.ready()

        async def listen() -> None:
            async for event in subscription:
                if event.name == "message.created":
                    heard.append((loop.time(), event.decode(MessageCreated)))  # noqa: PERF401  # it is read meanwhile

        listening = asyncio.create_task(listen())
        part.send(signal.SIGHUP)
        rolled = asyncio.create_task(asyncio.to_thread(part.until, "rolling restart is done"))
        sent = 0
        while not rolled.done():
            began = loop.time()
            await alice.call(SendMessage(channel=LOBBY, text=f"{sent}"), timeout=PATIENCE)
            answered.append(loop.time() - began)
            sent += 1
            await asyncio.wait([rolled], timeout=0.03)
        await rolled
        async with asyncio.timeout(PATIENCE):
            while len(heard) < sent:
                await asyncio.wait([listening], timeout=0.02)
        listening.cancel()
    after = children(part)
    assert not {pid for pid in before.values() if psutil.pid_exists(pid)}
    assert after.keys() == before.keys()
    assert [message.text for _, message in heard] == [f"{number}" for number in range(sent)]
    assert max(answered) < SILENCE
    assert max(later - earlier for (earlier, _), (later, _) in pairwise(heard)) < SILENCE
    assert await part.end(patience=PATIENCE) == 0


async def test_children_end_with_their_supervisor(installation: Installation, eventually: Eventually) -> None:
    """One that is killed leaves nobody behind who holds the port."""
    part = supervisor(installation, 1, 1)
    await started(part)
    running = children(part)
    part.send(signal.SIGKILL)

    async def look() -> bool | None:
        return True if not [pid for pid in running.values() if psutil.pid_exists(pid)] else None

    await eventually(look)


BROKEN = """
from backchannel import App

app = App("broken")

@app.on_start
async def fail(publisher):
    raise RuntimeError("the shelf is empty")
"""


async def test_a_child_that_never_comes_up_ends_it(installation: Installation, tmp_path: Path) -> None:
    """After some attempts it ends with that child's code and words, and ends the others."""
    (tmp_path / "broken.py").write_text(BROKEN)
    part = supervisor(installation, 1, 1, "broken:app")
    assert await asyncio.to_thread(part.ended) == 1
    assert "worker-1 has ended 3 times before it was ready" in part.output
    assert part.output.rstrip().endswith("the shelf is empty")
    assert not [pid for pid in children(part).values() if psutil.pid_exists(pid)]


async def test_a_rolling_restart_to_what_does_not_start_is_given_up(
    installation: Installation, client: MakeClient, tmp_path: Path
) -> None:
    """The old processes go on with the old code."""
    module = tmp_path / "mine.py"
    module.write_text("from backchannel import chat\nfrom backchannel.demo import app\n")
    part = supervisor(installation, 1, 1, "mine:app")
    await started(part)
    before = children(part)
    module.write_text("raise RuntimeError('half written')\n")
    part.send(signal.SIGHUP)
    await asyncio.to_thread(part.until, "the rolling restart is given up")
    async with client("alice", part.url) as alice:
        await alice.call(SendMessage(channel=LOBBY, text="still there"), timeout=PATIENCE)
    assert psutil.pid_exists(before["gateway-1"])
    assert psutil.pid_exists(before["worker-1"])
    assert await part.end(patience=PATIENCE) == 0


async def test_each_child_has_a_health_port(installation: Installation, request_http: Any) -> None:
    """`--health-port`: gateways first, then workers; each tells of itself alone."""
    first = free_port()
    part = supervisor(installation, 1, 1, "--health-port", str(first))
    await started(part)
    found = []
    for port in (first, first + 1):
        assert await request_http("GET", port, "/readyz") == (200, {"status": "ready"})
        status, text = await request_http("GET", port, "/metrics")
        assert status == 200
        found.append(re.findall(r"^backchannel_(channels|worker_open) ", text, flags=re.MULTILINE))
    assert found == [["channels"], ["worker_open"]]
    assert await part.end(patience=PATIENCE) == 0


async def test_a_second_signal_ends_at_once(installation: Installation, client: MakeClient) -> None:
    """Who cannot wait for the drain need not kill."""
    part = supervisor(installation, 1, 1, "--drain", "3600")
    await started(part)
    async with client("alice", part.url):
        part.send(signal.SIGTERM)
        await asyncio.to_thread(part.until, "draining")
        assert await part.end(patience=20) == 0
