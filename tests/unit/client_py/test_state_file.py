"""A bot's state on disk: whole, synced, locked, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backchannel_client import Position, StateError, StateFile
from backchannel_client.state_file import server_of

URL = "ws://127.0.0.1:8000/ws"


async def opened(path: Path, user: str = "bot", url: str = URL, **options: Any) -> StateFile:
    state = StateFile(path, **options)
    await state.open()
    try:
        await state.claim(user, url)
    except StateError:
        await state.close()
        raise
    return state


async def test_positions_are_there_the_next_time(tmp_path: Path) -> None:
    """What was saved or noted, the newest per channel, without what was forgotten."""
    state = await opened(tmp_path / "bot.state")
    assert state.positions == {}
    await state.save("chat:a", Position("e1", 1))
    state.note("chat:a", Position("e2", 7))
    state.note("chat:b", Position("e1", 2**53 - 1))
    state.note("chat:c", Position("e1", 3))
    state.note("chat:c", None)
    await state.close()
    await state.close()
    state = await opened(tmp_path / "bot.state")
    assert state.positions == {"chat:a": Position("e2", 7), "chat:b": Position("e1", 2**53 - 1)}
    await state.close()
    assert os.listdir(tmp_path) == ["bot.state"]


KILLED = """
import asyncio, sys
from backchannel_client import Position, StateFile

async def main():
    state = StateFile(sys.argv[1])
    await state.open()
    await state.claim("bot", "ws://127.0.0.1:8000/ws")
    offset = 0
    while True:
        offset += 1
        await asyncio.gather(*(state.save(f"chat:{n}", Position("e1", offset)) for n in range(5)))
        print(offset, flush=True)

asyncio.run(main())
"""


def test_what_was_saved_survives_sigkill(tmp_path: Path) -> None:
    """At any moment: the file is whole, has all that `save` returned for, and can be opened at once."""
    path = tmp_path / "bot.state"
    for most in (1, 7, 23):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            saved = 0
            while saved < most:
                saved = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            saved = max([saved, *map(int, process.stdout.read().split())])

        async def check(saved: int = saved) -> None:
            state = await opened(path)
            assert len(state.positions) == 5
            assert all(saved <= position.offset <= saved + 1 for position in state.positions.values())
            await state.close()

        asyncio.run(check())


async def test_two_bots_on_one_file_are_refused(tmp_path: Path) -> None:
    """The second is told so at once, in this process or another one; when the first is gone it may."""
    first = await opened(tmp_path / "bot.state")
    with pytest.raises(StateError, match=r"Another bot has .*bot\.state open: stop it"):
        await StateFile(tmp_path / "bot.state").open()
    program = (
        "import asyncio, sys; from backchannel_client import StateFile; asyncio.run(StateFile(sys.argv[1]).open())"
    )
    other = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", program, str(tmp_path / "bot.state")], capture_output=True, text=True, check=False
    )
    assert "Another bot has" in other.stderr
    await first.save("chat:a", Position("e1", 1))
    await first.close()
    second = await opened(tmp_path / "bot.state")
    assert second.positions == {"chat:a": Position("e1", 1)}
    await second.close()


async def test_of_bots_that_start_together_one_gets_the_file(tmp_path: Path) -> None:
    """Also while the file is being made: never both, and never neither."""
    states = [StateFile(tmp_path / "bot.state") for _ in range(8)]
    results = await asyncio.gather(*(state.open() for state in states), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert all(result is None or isinstance(result, StateError) for result in results)
    for state in states:
        await state.close()


@pytest.mark.parametrize(("user", "url"), [("other", URL), ("bot", "ws://127.0.0.1:8001/ws")])
async def test_the_state_of_another_bot_is_refused(tmp_path: Path, user: str, url: str) -> None:
    """Offsets mean nothing elsewhere. The message names both and tells the cure."""
    await (await opened(tmp_path / "bot.state")).close()
    with pytest.raises(StateError, match=rf"belongs to 'bot' on 127\.0\.0\.1:8000/ws, and this bot is '{user}' on"):
        await opened(tmp_path / "bot.state", user, url)


async def test_a_server_may_move(tmp_path: Path) -> None:
    """Under a name of its own, or under the name that the file has."""
    await (await opened(tmp_path / "bot.state")).close()
    await (await opened(tmp_path / "bot.state", url="wss://elsewhere/ws", server=server_of(URL))).close()
    await (await opened(tmp_path / "named.state", server="production")).close()
    await (await opened(tmp_path / "named.state", url="wss://elsewhere/ws", server="production")).close()


def test_what_a_server_is_called() -> None:
    """Host, port and path: neither user info, nor query, nor capitals make another server."""
    assert server_of("WSS://u:p@Example.org/ws?x=1") == "example.org:443/ws"
    assert server_of("ws://[::1]:9000/ws") == "[::1]:9000/ws"


def other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    asyncio.run(made(path))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


async def made(path: Path) -> None:
    await (await opened(path)).close()


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda path: path.write_text("not a database, but a text of some length " * 9), "is no bot's state"),
        (other_database, "not of a bot's state"),
        (newer, "newer backchannel_client"),
        (lambda path: path.mkdir(), "cannot be used"),
    ],
)
def test_another_file_is_refused_and_left_alone(tmp_path: Path, prepare: Callable[[Path], Any], told: str) -> None:
    """A typing error in a path must not cost somebody's database."""
    path = tmp_path / "bot.state"
    prepare(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StateError, match=told):
        asyncio.run(StateFile(path).open())
    assert (path.read_bytes() if path.is_file() else b"") == before


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is not made unasked."""
    with pytest.raises(StateError, match="There is no folder"):
        await StateFile(tmp_path / "none" / "bot.state").open()


async def test_a_full_disk_is_told_to_whoever_waits(tmp_path: Path) -> None:
    """And to all who come later: a position that is not on disk must not be taken for one that is."""
    state = await opened(tmp_path / "bot.state")
    await state.save("chat:a", Position("e1", 1))
    assert state._database is not None
    connection = state._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="full"):
        await asyncio.gather(*(state.save(f"chat:{n}", Position("e" * 64, n)) for n in range(1000)))
    with pytest.raises(StateError, match="full"):
        state.note("chat:b", Position("e1", 1))
    with pytest.raises(StateError, match="full"):
        await state.close()
    again = await opened(tmp_path / "bot.state")
    assert again.positions == {"chat:a": Position("e1", 1)}
    await again.close()


async def test_cancelled_waiting_writes_all_the_same(tmp_path: Path) -> None:
    """A cancelled `save` is still on its way to the disk, and disturbs nobody else's."""
    state = await opened(tmp_path / "bot.state")
    tasks = [asyncio.create_task(state.save(f"chat:{n}", Position("e1", n))) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
    await state.close()
    again = await opened(tmp_path / "bot.state")
    assert len(again.positions) == 3
    await again.close()


async def test_a_cancelled_open_lets_go_of_the_file(tmp_path: Path) -> None:
    """What the thread opens in the end is closed behind it."""
    state = StateFile(tmp_path / "bot.state")
    opening = asyncio.create_task(state.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(5):
        while True:
            again = StateFile(tmp_path / "bot.state")
            try:
                await again.open()
            except StateError:
                await again.close()
                continue
            await again.close()
            return
