"""The server as a process: killed and started again, drained, and its command line."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from backchannel.chat import MessageCreated, SendMessage
from backchannel_client import Client
from backchannel_protocol import Refused

if TYPE_CHECKING:
    from tests.integration.conftest import Process

PATIENCE = 30.0


async def test_sigkill_loses_and_doubles_nothing(process: Process) -> None:
    """P1 to P3 over a kill in the middle of a stream of sends: every acknowledged message is there once, in order, on
    the listener's side too, and whatever was under way is settled by the same key."""
    async with (
        Client(process.url, token=process.token("alice")) as alice,
        Client(process.url, token=process.token("bob")) as bob,
    ):
        subscription = bob.subscribe("chat:lobby")
        await subscription.ready()
        acknowledged = []
        halfway = asyncio.Event()

        async def send() -> None:
            for n in range(60):
                acknowledged.append(
                    await alice.call(SendMessage(channel="chat:lobby", text=f"message {n}"), timeout=PATIENCE)
                )
                if n == 20:
                    halfway.set()

        sending = asyncio.create_task(send())
        await asyncio.wait_for(halfway.wait(), PATIENCE)
        await process.end(signal.SIGKILL)
        await process.start()
        await asyncio.wait_for(sending, PATIENCE)
        heard: list[MessageCreated] = []
        async with asyncio.timeout(PATIENCE):
            async for event in subscription:
                if event.name == "message.created":
                    heard.append(event.decode(MessageCreated))
                if len(heard) == len(acknowledged):
                    break
        assert [message.text for message in acknowledged] == [f"message {n}" for n in range(60)]
        assert [message.seq for message in acknowledged] == list(range(1, 61))
        assert [(message.id, message.seq) for message in heard] == [(m.id, m.seq) for m in acknowledged]


async def test_sigterm_moves_clients_and_exits(process: Process) -> None:
    """P7: a drain tells clients to move, finishes what was begun, and the process exits with 0 within its bound."""
    await process.end(signal.SIGKILL)
    await process.start("--drain", "1")
    async with Client(process.url, token=process.token("alice")) as alice:
        message = await alice.call(SendMessage(channel="chat:lobby", text="before"), timeout=PATIENCE)
        assert await process.end(signal.SIGTERM) == 0
        await process.start()
        after = await alice.call(SendMessage(channel="chat:lobby", text="after"), timeout=PATIENCE)
        assert after.seq == message.seq + 1


BREAKING = """
from backchannel import App, Command, Context

app = App("breaking")

@app.command("worker.break")
class Break(Command[int]):
    pass

@app.handle(Break)
async def break_it(ctx: Context, request: Break) -> int:
    raise KeyboardInterrupt
"""


async def test_a_server_whose_worker_broke_ends(make_process: Callable[[], Process]) -> None:
    """A server without a worker could only refuse, so its process fails and whoever watches it starts it anew."""
    process = make_process()
    (process.folder / "breaking.py").write_text(BREAKING)
    await process.start("breaking:app")
    async with Client(process.url, token=process.token("alice")) as alice:
        asking = asyncio.create_task(alice.call("worker.break", {}, key=None))
        assert await process.ended() not in (0, -signal.SIGKILL)
        asking.cancel()
    assert any("the worker has ended by itself" in line for line in process.output)


async def test_a_second_server_on_the_same_data_is_refused(process: Process) -> None:
    """SQLite means one process: the second says who holds the database and exits with 2 or 1, the first goes on."""
    second = type(process)(process.folder)
    with pytest.raises(AssertionError, match=r"(?i)another process|locked|already"):
        await second.start()
    async with Client(process.url, token=process.token("alice")) as alice:
        await alice.call(SendMessage(channel="chat:lobby", text="still serving"))


async def test_a_client_without_a_right_is_told_so(process: Process) -> None:
    """A refusal arrives as `Refused` with its code."""
    async with Client(process.url, token=process.token("eve")) as eve:
        with pytest.raises(Refused) as refused:
            await eve.call(SendMessage(channel="chat:lobby", text="let me in"))
        assert refused.value.code == "forbidden"
