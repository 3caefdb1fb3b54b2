"""Reads durable logs for a gateway, on its loop, while a worker writes on another."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from ..broker.broker import Envelope, LogHead
from .errors import StoreError
from .head_questions import HeadQuestions
from .setwise import envelope_of
from .sqlite_connection import connect_reader
from .sqlite_errors import sqlite_border
from .sqlite_reads import decode_heads
from .sqlite_statements import CHANGED_HEADS, HEADS, LOG

__all__ = ["SqliteLogReader"]

T = TypeVar("T")

_THREADS: Final = 2
_Row = tuple[int, str, str, str | None, str | None, str | None, int, str | None]
_HEAD: Final = msgspec.json.Decoder(tuple[str, int, int])
_EVENTS: Final = msgspec.json.Decoder(list[_Row])


class SqliteLogReader:
    """`LogReader`: reads run in two threads of its own, each with a read-only connection.

    Cancelling a method forgets its answer; the read itself ends by itself.
    """

    def __init__(self, path: Path, app: str, epoch: str, *, executor: Executor | None = None) -> None:
        """`executor` runs the reads instead of threads of its own; it is the caller's to shut down, after `close`."""
        self._path = path
        self._app = app
        self._unused = LogHead(epoch, 0, 1)
        self._threads = executor or ThreadPoolExecutor(_THREADS, thread_name_prefix="backchannel-log")
        self._own = executor is None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._questions = HeadQuestions(self._answers)
        self._closed = False

    async def head(self, channel: str) -> LogHead:
        """Where a durable channel's log stands; calls of one loop tick are answered by one statement.

        Raises:
            Refused: `unavailable`.
        """
        return (await self._questions.ask((channel,)))[channel]

    async def heads(self, channels: Sequence[str]) -> dict[str, LogHead]:
        """As `head` of each of these channels, by name.

        Raises:
            Refused: `unavailable`.
        """
        return await self._questions.ask(channels)

    async def _answers(self, channels: Sequence[str]) -> tuple[dict[str, LogHead], LogHead]:
        return await self._run(self._heads, channels), self._unused

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events of a durable log after an offset, in order, at most `limit`, and the head of the same moment.

        Raises:
            Refused: `unavailable`.
        """
        return await self._run(self._read, channel, after, limit)

    async def changed(self, since: int) -> dict[str, LogHead]:
        """Heads that changed at or after this instant (Unix milliseconds).

        Raises:
            Refused: `unavailable`.
        """
        return await self._run(self._changed, since)

    async def close(self) -> None:
        """Wait for the reads that run, then close the connections."""
        self._closed = True
        if self._own:
            await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _run(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        if self._closed:
            failed: asyncio.Future[T] = loop.create_future()
            failed.set_exception(StoreError("This log reader is closed."))
            return failed
        return loop.run_in_executor(self._threads, function, *arguments)

    # In a thread

    def _one(self, text: str, values: tuple[Any, ...] | dict[str, Any]) -> tuple[Any, ...]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect_reader(self._path)
            self._connections.append(connection)
        with sqlite_border():
            row: tuple[Any, ...] = connection.execute(text, values).fetchone()
            return row

    def _heads(self, channels: Sequence[str]) -> dict[str, LogHead]:
        return decode_heads(self._one(HEADS, (self._app, msgspec.json.encode(channels).decode()))[0])

    def _changed(self, since: int) -> dict[str, LogHead]:
        return decode_heads(self._one(CHANGED_HEADS, (self._app, since))[0])

    def _read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        values = {"app": self._app, "channel": channel, "after": after, "limit": limit}
        head_text, events_text = self._one(LOG, values)
        if head_text is None:
            return self._unused, []
        epoch, offset, first = _HEAD.decode(head_text)
        envelopes = [envelope_of(channel, epoch, *row) for row in _EVENTS.decode(events_text)]
        return LogHead(epoch, offset, first), envelopes
