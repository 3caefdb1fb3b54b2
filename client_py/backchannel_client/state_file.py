"""How far a bot has come, on disk: one position per channel, so that a restarted bot goes on there.

SQLite, because what is needed here is what it is known for: a commit is whole or not there at all, and synced when it
returns; a lock that ends with its process, however that ends, on every system; and no dependency, since Python brings
it. An append-only file would need all of that written, and tested, once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from backchannel_protocol.frames import Position

from .errors import StateError

__all__ = ["StateFile", "server_of"]

T = TypeVar("T")

# What the header of the file says of it (sqlite.org/fileformat2.html, 1.3): "bkch", and the version of its tables.
_APPLICATION: Final = 0x626B6368
_VERSION: Final = 1

_PORTS: Final = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class StateFile:
    """The positions of one bot, which is one user of one server.

    Changes that come together are committed together, in a thread of their own. While the file is open nobody else can
    open it. Use it on one event loop.
    """

    def __init__(self, path: str | os.PathLike[str], *, server: str | None = None) -> None:
        """`server` is what the server is called in the file; by default its address.

        Give it where the address may change. Nothing is opened yet.
        """
        self.path = Path(path)
        self._server = server
        self._thread: ThreadPoolExecutor | None = None
        self._database: _Database | None = None
        self._positions: dict[str, Position] = {}
        self._changes: dict[str, Position | None] = {}
        self._committed: asyncio.Future[None] | None = None
        """Done when `_changes` are on disk."""
        self._writer: asyncio.Task[None] | None = None
        self._failure: StateError | None = None

    async def open(self) -> None:
        """Open the file, made if it is not there, and lock it. Cancelling closes it.

        Raises:
            StateError: another bot has it open, or it is no state file, or the disk refuses.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="bot-state")
        opening = asyncio.get_running_loop().run_in_executor(thread, _Database.open, self.path)
        try:
            self._database, self._positions = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_again)
            thread.shutdown(wait=False)
            raise
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread

    async def claim(self, user: str, url: str) -> None:
        """Make sure that the file belongs to this user of this server; a fresh one does from now on.

        Raises:
            StateError: it belongs to another one.
        """
        server = self._server or server_of(url)
        owner = await self._call(lambda: self._opened.claim(user, server))
        if owner != (user, server):
            raise StateError(
                f"{self.path} belongs to {owner[0]!r} on {owner[1]}, and this bot is {user!r} on {server}: name "
                f"another state file. If only the server's address has changed, give "
                f"state=StateFile({str(self.path)!r}, server={owner[1]!r}); a guest is somebody else at every start "
                f"and needs a token."
            )

    @property
    def positions(self) -> Mapping[str, Position]:
        """The position of every channel, as noted last."""
        return self._positions

    def note(self, channel: str, position: Position | None) -> None:
        """Have a position written soon, or the channel forgotten.

        Raises:
            StateError: an earlier one could not be written.
        """
        if self._failure is not None:
            raise self._failure
        if position is None:
            self._positions.pop(channel, None)
        else:
            self._positions[channel] = position
        self._changes[channel] = position
        if self._committed is None:
            self._committed = asyncio.get_running_loop().create_future()
            # Nobody may be waiting for it; the failure is told to whoever notes the next one.
            self._committed.add_done_callback(lambda future: future.exception())
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def save(self, channel: str, position: Position) -> None:
        """Write a position, and return when it is on disk. Cancelling only stops the waiting.

        Raises:
            StateError: it could not be written.
        """
        self.note(channel, position)
        assert self._committed is not None
        await asyncio.shield(self._committed)

    async def close(self) -> None:
        """Write what is noted and let go of the file; safe to call twice.

        Raises:
            StateError: something noted could not be written.
        """
        while self._writer is not None:
            await asyncio.wait([self._writer])
        database, self._database = self._database, None
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if database is not None:
            thread.submit(database.close)
        # Not on the loop's default threads, which a busy bot may have filled.
        await asyncio.to_thread(thread.shutdown)
        if self._failure is not None:
            raise self._failure

    @property
    def _opened(self) -> _Database:
        assert self._database is not None
        return self._database

    async def _call(self, work: Callable[[], T]) -> T:
        def run() -> T:
            with _told(self.path):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def _write(self) -> None:
        try:
            while self._changes:
                changes, committed = self._changes, self._committed
                self._changes, self._committed = {}, None
                assert committed is not None
                try:
                    await self._call(lambda changes=changes: self._opened.write(changes))  # type: ignore[misc]
                except StateError as exc:
                    committed.set_exception(exc)
                    self._fail(exc)
                    return
                committed.set_result(None)
        finally:
            self._writer = None

    def _fail(self, failure: StateError) -> None:
        """Nothing is written any more, what was noted meanwhile neither."""
        self._failure = failure
        if self._committed is not None:
            self._committed.set_exception(failure)


class _Database:
    """The file, as the thread that works on it sees it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> tuple[_Database, dict[str, Position]]:
        """Open or make it; returns what it says."""
        if not path.parent.is_dir():
            raise StateError(f"There is no folder {path.parent} for the bot's state: make it first.")
        with _told(path), contextlib.ExitStack() as undo:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            undo.callback(connection.close)
            # The lock is taken here and held until the connection is closed or its process ends.
            connection.execute("PRAGMA locking_mode = exclusive")
            connection.execute("BEGIN EXCLUSIVE")
            _prepare(connection, path)
            rows = connection.execute('SELECT channel, epoch, "offset" FROM position').fetchall()
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("PRAGMA synchronous = full")
            undo.pop_all()
        return cls(connection), {channel: Position(epoch, offset) for channel, epoch, offset in rows}

    def claim(self, user: str, server: str) -> tuple[str, str]:
        """Whose it is, after an attempt to make it this user's."""
        self._connection.execute("INSERT OR IGNORE INTO owner VALUES (1, ?, ?)", (user, server))
        owner: tuple[str, str] = self._connection.execute("SELECT user, server FROM owner").fetchone()
        return owner

    def write(self, changes: Mapping[str, Position | None]) -> None:
        """Commit new positions, and forget the channels without one."""
        kept = [(channel, at.epoch, at.offset) for channel, at in changes.items() if at is not None]
        gone = [(channel,) for channel, at in changes.items() if at is None]
        self._connection.execute("BEGIN")
        try:
            self._connection.executemany("REPLACE INTO position VALUES (?, ?, ?)", kept)
            self._connection.executemany("DELETE FROM position WHERE channel = ?", gone)
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables:
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("CREATE TABLE owner (one INTEGER PRIMARY KEY, user TEXT NOT NULL, server TEXT NOT NULL)")
        connection.execute(
            'CREATE TABLE position (channel TEXT PRIMARY KEY, epoch TEXT NOT NULL, "offset" INTEGER NOT NULL)'
            " WITHOUT ROWID"
        )
    elif application != _APPLICATION:
        raise StateError(f"{path} is a database, but not of a bot's state: name another state file.")
    elif version > _VERSION:
        raise StateError(f"{path} was written by a newer backchannel_client: install that one, or name another file.")


def _close_again(opening: asyncio.Future[tuple[_Database, dict[str, Position]]]) -> None:
    """Close what was opened when nobody wanted it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's errors, as sentences."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StateError(
                f"Another bot has {path} open: stop it, or give this one a state file of its own."
            ) from exc
        raise StateError(f"The state file {path} cannot be used: {exc}. Check its rights and the disk.") from exc
    except sqlite3.DatabaseError as exc:
        raise StateError(f"{path} is no bot's state, or is damaged ({exc}): name another state file.") from exc


def server_of(url: str) -> str:
    """What a server is called in a state file: host, port and path of its address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = parts.port or _PORTS.get(parts.scheme, 80)
    return f"{f'[{host}]' if ':' in host else host}:{port}{parts.path}"
