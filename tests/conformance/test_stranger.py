"""A client that was written from PROTOCOL.md alone holds a chat with a real server process, whatever happens to it."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).with_name("stranger.py")
PATIENCE = 30.0
LOBBY = "chat:lobby"
# How many missed events a resume brings here, and how many are missed for a gap.
RECOVERY = 5
TOO_MANY = 12


class Process:
    """A `backchannel serve` of one's own, with the demo's chat."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._output: list[str] = []
        self.port = 0

    async def start(self) -> None:
        """Start, on the same port as before; return once it serves."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
        flags = {"--port": self.port, "--data": self._folder, "--recovery": RECOVERY, "--drain": 2}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backchannel.cli", "serve", "--dev",
            *(str(part) for flag in flags.items() for part in flag),
            cwd=self._folder,
            env={**environ, "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        serving: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(serving))
        self.port = await asyncio.wait_for(serving, PATIENCE)

    async def _read(self, serving: asyncio.Future[int]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode()
            self._output.append(text)
            _, found, after = text.partition("http://127.0.0.1:")
            if found and not serving.done():
                serving.set_result(int(after[: len(after) - len(after.lstrip("0123456789"))]))
        if not serving.done():
            serving.set_exception(AssertionError("it did not start:\n" + "".join(self._output)))

    def signal(self, number: int) -> None:
        """Send a signal, if it is still there."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end; returns the exit status."""
        assert self._process is not None
        assert self._reading is not None
        status = await asyncio.wait_for(self._process.wait(), PATIENCE)
        await self._reading
        return status

    async def token(self, user: str) -> str:
        """A token that it accepts, as the demo's page gets it."""

        def ask() -> str:
            body = json.dumps({"user": user}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}/demo/token", body, {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return str(json.load(answer)["token"])

        return await asyncio.to_thread(ask)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    """A server process, killed at the end if it is still there."""
    made = Process(tmp_path)
    await made.start()
    yield made
    made.signal(signal.SIGKILL)
    await made.ended()


@pytest.fixture
async def enter(process: Process, beside: Callable[[str], ModuleType]) -> AsyncIterator[Callable[[str], Any]]:
    """Lets strangers into the lobby."""
    inside: list[Any] = []

    async def come_in(user: str) -> Any:
        made = beside("stranger").Stranger(f"ws://127.0.0.1:{process.port}/ws", await process.token(user))
        inside.append(made)
        async with asyncio.timeout(PATIENCE):
            await made.start(LOBBY)
        return made

    yield come_in
    for one in inside:
        await one.close()


async def agree(expected: list[str], *people: Any) -> None:
    """Wait until everybody has exactly these messages, in this order, and heard no event twice."""
    for person in people:
        async with asyncio.timeout(PATIENCE):
            await person.until(lambda person=person: len(person.texts(LOBBY)) >= len(expected))
        assert person.texts(LOBBY) == expected
        heard = person.rooms[LOBBY].heard
        assert heard == sorted(set(heard))


def test_the_stranger_imports_nothing_of_ours() -> None:
    """It stands on the standard library and websockets, so that what it can do, PROTOCOL.md says."""
    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"websockets"}


async def test_a_chat_over_a_lost_connection(enter: Callable[[str], Any]) -> None:
    """Whoever was away for a moment gets what was missed, all of it and once, and so does what they said meanwhile."""
    alice, bob = await enter("alice"), await enter("bob")
    async with asyncio.timeout(PATIENCE):
        await alice.say(LOBBY, "Hello?")
        await bob.say(LOBBY, "Hi, Alice.")
        await agree(["Hello?", "Hi, Alice."], alice, bob)

        alice.pull_the_plug()
        await alice.until(lambda: not alice.connected)
        await bob.say(LOBBY, "Are you there?")
        unsent = asyncio.create_task(alice.say(LOBBY, "I was in a tunnel."))
        await bob.say(LOBBY, "Alice?")
        alice.network.set()
        await unsent
        await agree(["Hello?", "Hi, Alice.", "Are you there?", "Alice?", "I was in a tunnel."], alice, bob)
        assert alice.rooms[LOBBY].verdicts == ["new", "recovered"]


async def test_a_chat_over_a_gap(enter: Callable[[str], Any]) -> None:
    """Whoever missed more than a resume brings is told so, loads it, and then has the same chat as everybody."""
    alice, bob = await enter("alice"), await enter("bob")
    async with asyncio.timeout(PATIENCE):
        alice.pull_the_plug()
        await alice.until(lambda: not alice.connected)
        said = [f"Message {number}" for number in range(TOO_MANY)]
        for text in said:
            await bob.say(LOBBY, text)
        alice.network.set()
        await alice.until(lambda: alice.rooms[LOBBY].verdicts[1:] == ["gap"])
        await bob.say(LOBBY, "Read it all?")
        await agree([*said, "Read it all?"], alice, bob)
        await alice.say(LOBBY, "Yes.")
        await agree([*said, "Read it all?", "Yes."], alice, bob)


async def test_a_chat_over_a_move(process: Process, enter: Callable[[str], Any]) -> None:
    """A server that is replaced says so and serves on while it drains; what is said during all of it arrives, once."""
    alice, bob = await enter("alice"), await enter("bob")
    async with asyncio.timeout(PATIENCE):
        await alice.say(LOBBY, "Before")
        process.signal(signal.SIGTERM)
        await alice.until(lambda: alice.moves == 1)
        await alice.say(LOBBY, "While it drains")
        assert await process.ended() == 0
        await bob.until(lambda: not bob.connected)
        said = asyncio.create_task(bob.say(LOBBY, "While nobody is there"))
        await process.start()
        await said
        await alice.say(LOBBY, "Afterwards")
        everything = ["Before", "While it drains", "While nobody is there", "Afterwards"]
        await agree(everything, alice, bob)
        assert alice.rooms[LOBBY].verdicts == bob.rooms[LOBBY].verdicts == ["new", "recovered"]
        assert alice.moves == bob.moves == 1
