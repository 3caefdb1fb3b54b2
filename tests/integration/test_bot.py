"""Bots against the real server, in processes that get killed; and the programs of the READMEs, as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backchannel_client import Client, Presence

if TYPE_CHECKING:
    from tests.integration.conftest import Process

PATIENCE = 30.0
LOBBY = "chat:lobby"
ROOT = Path(__file__).parents[2]

ECHO = """
import os
from backchannel_client import Bot

bot = Bot(os.environ["URL"], token=os.environ["BACKCHANNEL_TOKEN"], join=["chat:lobby"], state="echo.state")

@bot.command("echo")
async def echo(event, *, text: str):
    await event.reply(f"echo {text}")

@bot.on_gap
async def missed(gap):
    await bot.client.call("message.send", {"channel": gap.channel, "text": f"missed {gap.from_ + 1} to {gap.to}"})

bot.run()
"""


class Program:
    """A Python program in a process of its own, which talks to a server as one user."""

    def __init__(self, server: Process, user: str, *words: str) -> None:
        self._words = words
        self._folder = server.folder
        self._env = {**os.environ, "URL": server.url, "BACKCHANNEL_TOKEN": server.token(user)}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            *self._words,
            cwd=self._folder,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def end(self, number: int) -> tuple[int, str]:
        """Send it a signal; its exit code and what it has written."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            output, _ = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, output.decode()


@asynccontextmanager
async def run(program: Program) -> AsyncIterator[None]:
    """Let it run meanwhile; it must end well, without a word."""
    await program.start()
    try:
        yield
    except BaseException:
        _, output = await program.end(signal.SIGKILL)
        print(output)
        raise
    code, output = await program.end(signal.SIGTERM)
    assert code == 0, output
    assert "Traceback" not in output


class Room:
    """Somebody in the lobby, who knows who comes and hears what is said."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sub = client.subscribe(LOBBY, queue=10_000, on_presence=self._changed)
        self.heard: list[tuple[str, str]] = []
        self._present: set[str] = set()
        self._news = asyncio.Event()

    def _changed(self, presence: Presence) -> None:
        self._present |= {member.user for member in presence.joined or presence.members or ()}
        self._present -= set(presence.left or ())
        self._news.set()

    async def comes(self, user: str) -> None:
        """Wait until a user listens to the lobby."""
        async with asyncio.timeout(PATIENCE):
            while user not in self._present:
                self._news.clear()
                await self._news.wait()

    async def say(self, text: str) -> None:
        """Say something."""
        await self.client.call("message.send", {"channel": LOBBY, "text": text}, timeout=PATIENCE)

    async def hear(self, user: str) -> str:
        """What a user says next."""
        async with asyncio.timeout(PATIENCE):
            while True:
                event = await anext(self.sub)
                if event.name == "message.created":
                    self.heard.append((event.data["user"], event.data["text"]))
                    if event.data["user"] == user:
                        return str(event.data["text"])


@pytest.fixture
async def process(make_process: Callable[[], Process]) -> Process:
    """A server process that serves the demo and lets people talk fast."""
    process = make_process()
    await process.start("--dev", "--calls", "100000", "--burst", "100000")
    return process


@pytest.fixture
async def room(process: Process) -> AsyncIterator[Room]:
    """Alice, in the lobby."""
    async with Client(process.url, token=process.token("alice")) as client:
        room = Room(client)
        async with room.sub:
            yield room


async def begins(room: Room, bot: Program) -> None:
    """Start a bot for the first time and wait until it has answered, so that its place in the lobby is on disk."""
    await bot.start()
    await room.comes("echo")
    await room.say("/echo ready")
    assert await room.hear("echo") == "echo ready"


async def test_a_killed_bot_answers_every_message_exactly_once(process: Process, room: Room) -> None:
    """SIGKILL in the middle of a burst, again and again: what was missed is answered after the start, what was answered
    is not answered again."""
    bot = Program(process, "echo", "-c", ECHO)
    await begins(room, bot)
    count = 150
    wanted = [f"echo {n}" for n in range(count)]
    burst = asyncio.gather(*(room.say(f"/echo {n}") for n in range(count)))
    answered: list[str] = []
    for stop in (3, 20, 21, 60, 100):
        while len(answered) < stop:
            answered.append(await room.hear("echo"))
        await bot.end(signal.SIGKILL)
        await bot.start()
    await burst
    while set(answered) != set(wanted):
        answered.append(await room.hear("echo"))
    await room.say("/echo the end")
    while answered[-1] != "echo the end":
        answered.append(await room.hear("echo"))
    assert (await bot.end(signal.SIGTERM))[0] == 0
    assert Counter(answered) == Counter([*wanted, "echo the end"])
    asked = [text for user, text in room.heard if user == "alice" and text != "/echo the end"]
    assert [f"/{answer}" for answer in answered[:-1]] == asked[-count:], "not in the order of the channel"


async def test_a_bot_answers_what_it_missed_while_away(process: Process, room: Room) -> None:
    """Stopped with SIGTERM, and the server restarted meanwhile: it goes on where it was."""
    bot = Program(process, "echo", "-c", ECHO)
    await begins(room, bot)
    code, output = await bot.end(signal.SIGTERM)
    assert (code, output) == (0, "")
    for n in range(5):
        await room.say(f"/echo {n}")
    await process.end(signal.SIGKILL)
    await process.start("--dev")
    async with run(bot):
        assert [await room.hear("echo") for _ in range(5)] == [f"echo {n}" for n in range(5)]


async def test_a_bot_is_told_what_is_lost(process: Process, room: Room) -> None:
    """More was missed than the server gives back: the gap is told, once, and the bot goes on behind it."""
    bot = Program(process, "echo", "-c", ECHO)
    await begins(room, bot)
    await bot.end(signal.SIGTERM)
    await process.end(signal.SIGKILL)
    await process.start("--dev", "--recovery", "3")
    for n in range(6):
        await room.say(f"/echo lost {n}")
    async with run(bot):
        told = await room.hear("echo")
        assert re.fullmatch(r"missed \d+ to \d+", told)
        await room.say("/echo found")
        assert await room.hear("echo") == "echo found"
    async with run(bot):
        await room.say("/echo again")
        assert await room.hear("echo") == "echo again"


async def test_a_second_bot_and_another_users_bot_are_refused(process: Process, room: Room) -> None:
    """On one state file; each says why, and the first goes on."""
    bot = Program(process, "echo", "-c", ECHO)
    await begins(room, bot)
    second = Program(process, "echo", "-c", ECHO)
    await second.start()
    code, output = await second.end(0)
    assert code == 1
    assert "Another bot has echo.state open" in output
    await room.say("/echo still here")
    assert await room.hear("echo") == "echo still here"
    await bot.end(signal.SIGTERM)
    other = Program(process, "bob", "-c", ECHO)
    await other.start()
    code, output = await other.end(0)
    assert code == 1
    assert "echo.state belongs to 'echo'" in output


def program_of(readme: str, word: str, url: str) -> str:
    """The first Python block of a README that has this word, with another address and nothing else changed."""
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```", (ROOT / readme).read_text(), flags=re.MULTILINE | re.DOTALL)
    block = next(textwrap.dedent(text) for _, text in blocks if word in text)
    program = block.replace("ws://127.0.0.1:8000/ws", url)
    assert program != block
    return program


async def test_the_clients_readme_works_when_pasted(process: Process) -> None:
    """Its first program, as Alice."""
    program = Program(process, "alice", "-c", program_of("client_py/README.md", "Client(", process.url))
    await program.start()
    assert await program.end(0) == (0, "alice: Hello from Python\n")


@pytest.mark.parametrize("readme", ["README.md", "client_py/README.md"])
async def test_the_readmes_bots_work_when_pasted(readme: str, process: Process, room: Room) -> None:
    """They have ten lines, answer, say what to write, and help."""
    text = program_of(readme, "Bot(", process.url)
    assert len([line for line in text.splitlines() if line]) <= 10
    (process.folder / ".data").mkdir()
    async with run(Program(process, "adder", "-c", text)):
        await room.comes("adder")
        await room.say("/add 2 3")
        assert await room.hear("adder") == "5"
        await room.say("/add two")
        assert await room.hear("adder") == "first: write a whole number, not “two”. Usage: /add <first> [second]"
        await room.say("/help")
        assert "/add <first> [second] - Add two numbers." in await room.hear("adder")


async def test_the_example_bot_works(process: Process, room: Room) -> None:
    """As its docstring tells, with a state file."""
    bot = Program(process, "dicebot", str(ROOT / "examples" / "bot.py"), "--url", process.url, "--state", "dice.state")
    async with run(bot):
        await room.comes("dicebot")
        await room.say("/roll 3d1000")
        assert re.fullmatch(r"🎲 3d1000: (\d+ \+ ){2}\d+ = \d+", await room.hear("dicebot"))
        await room.say("/roll 3d9999")
        assert await room.hear("dicebot") == "My dice have 2 to 1000 sides."
        await room.say('/choose "hot chocolate" "hot chocolate"')
        assert await room.hear("dicebot") == "I would take hot chocolate."
        await room.say("/load now")
        assert (await room.hear("dicebot")).endswith("Usage: /load")
        await room.say("/load")
        assert await room.hear("dicebot")
