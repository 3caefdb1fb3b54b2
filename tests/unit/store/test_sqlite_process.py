"""A SQLite database and real processes: one at a time, and what a kill leaves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import sqlalchemy as sa

from backchannel.store.errors import StoreError, StoreLocked
from backchannel.store.sqlite import migrate_sqlite, new_sqlite_epoch, open_sqlite, sqlite_api_keys
from backchannel.store.tables import counters

HOLDER = """
import asyncio, sys
from backchannel.broker.broker import Envelope
from backchannel.store.sqlite import open_sqlite

async def main():
    store = open_sqlite(sys.argv[1])
    transaction = await store.begin([])
    await transaction.set_counters({"committed": 1})
    await transaction.append([Envelope(channel="c:a", name="x.y", data=b"1")])
    await transaction.commit()
    transaction = await store.begin([])
    await transaction.set_counters({"committed": 2, "open": 1})
    await transaction.append([Envelope(channel="c:a", name="x.y", data=b"2")])
    print("ready", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""

MAKE_KEY = """
import asyncio
import sys
from backchannel.store.sqlite import sqlite_api_keys

print(asyncio.run(sqlite_api_keys(sys.argv[1]).create("bot"))[1])
"""

Start = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def start() -> Generator[Start]:
    """Starts a process that has a database open, with one transaction committed and one open."""
    started: list[subprocess.Popen[str]] = []

    def run(path: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


async def test_what_was_committed_survives_a_kill(tmp_path: Path, start: Start) -> None:
    """P1: after SIGKILL a committed transaction is there whole, an open one left nothing, and the lock is free."""
    path = tmp_path / "store.db"
    process = start(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = open_sqlite(path)
    snapshot = await store.snapshot()
    rows = await snapshot.rows(sa.select(counters.c.name, counters.c.value))
    await snapshot.close()
    reader = store.log_reader()
    head, events = await reader.read("c:a", 0, 10)
    await reader.close()
    await store.close()
    assert [tuple(row) for row in rows] == [("committed", 1)]
    assert (head.offset, [event.data for event in events]) == (1, [b"1"])


async def test_a_second_process_is_refused(tmp_path: Path, start: Start) -> None:
    """While a process has the database open, all others are refused and told which process it is and what to do."""
    path = tmp_path / "store.db"
    process = start(path)
    for use in (open_sqlite, new_sqlite_epoch, lambda path: migrate_sqlite(path, ())):
        with pytest.raises(StoreLocked, match=rf"process {process.pid} already.*Stop it"):
            use(path)


async def test_keys_are_made_beside_a_server(tmp_path: Path, start: Start) -> None:
    """API keys can be listed while a server has the database open, made and revoked between its transactions."""
    path = tmp_path / "store.db"
    store = open_sqlite(path)
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAKE_KEY, str(path), stdout=asyncio.subprocess.PIPE
    )
    shown = (await made.communicate())[0].decode().strip()
    keys = sqlite_api_keys(path)
    found = await keys.find(shown)
    await keys.close()
    await store.close()
    assert found is not None
    assert found.name == "bot"
    start(path)
    keys = sqlite_api_keys(path)
    assert [key.name for key in await keys.list()] == ["bot"]
    await keys.close()


async def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    """Opening a database twice in one process is refused, also by another name; after `close` it is free."""
    path = tmp_path / "store.db"
    store = open_sqlite(path)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in (path, tmp_path / "link" / "store.db", tmp_path / "link" / ".." / tmp_path.name / "store.db"):
        with pytest.raises(StoreLocked, match="this process"):
            open_sqlite(name)
    await store.close()
    await open_sqlite(path).close()


def test_errors_at_opening_tell_the_cure(tmp_path: Path) -> None:
    """A missing folder, a file that is no database, and `:memory:` are each refused with a reason; no lock is left."""
    with pytest.raises(StoreError, match="Use a folder that is there"):
        open_sqlite(tmp_path / "nowhere" / "store.db")
    with pytest.raises(StoreError, match="needs a file"):
        open_sqlite(":memory:")
    text = tmp_path / "text.db"
    text.write_text("This is no database. " * 100)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"Cannot open .*text\.db"):
            open_sqlite(text)


async def test_a_name_with_odd_characters(tmp_path: Path) -> None:
    """The path is a path, whatever a URI would make of its characters."""
    path = tmp_path / "a ?mode=ro#%41 ü.db"
    await open_sqlite(path).close()
    assert path.exists()
