"""The server as a process: killed and started again, drained, and its command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backchannel.auth.tokens import issue_token
from backchannel.chat import MessageCreated, SendMessage
from backchannel_client import Client
from backchannel_protocol import Refused

SECRET = "process-test-secret-process-test-secret"
PATIENCE = 30.0


class Process:
    """A `backchannel serve` of one's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        self.output: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    async def start(self, *flags: str) -> None:
        """Start, on the same port as before, and return once it is ready."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backchannel.cli", "serve", "--port", str(self.port), *flags,
            cwd=self.folder,
            env={**environ, "BACKCHANNEL_SECRET": SECRET, "BACKCHANNEL_DATA": str(self.folder), "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        serving = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(serving))
        self.port = await asyncio.wait_for(serving, PATIENCE)

    async def _read(self, serving: asyncio.Future[int]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode()
            self.output.append(text)
            _, found, after = text.partition("http://127.0.0.1:")
            if found and not serving.done():
                serving.set_result(int(after[: len(after) - len(after.lstrip("0123456789"))]))
        if not serving.done():
            serving.set_exception(AssertionError("it did not start:\n" + "".join(self.output)))

    async def end(self, number: int) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self._process is not None
        assert self._reading is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        status = await asyncio.wait_for(self._process.wait(), PATIENCE)
        await self._reading
        return status

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    def token(self, user: str) -> str:
        """A token that it accepts."""
        return issue_token(SECRET.encode(), user, lifetime=3600)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    """A server process, killed at the end if it is still there."""
    made = Process(tmp_path)
    await made.start()
    yield made
    await made.end(signal.SIGKILL)


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


async def test_a_second_server_on_the_same_data_is_refused(process: Process) -> None:
    """SQLite means one process: the second says who holds the database and exits with 2 or 1, the first goes on."""
    second = Process(process.folder)
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
