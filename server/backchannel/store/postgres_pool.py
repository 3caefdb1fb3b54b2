"""Connections to PostgreSQL that are used again and again, and replaced when they are lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from backchannel_protocol import Refused

from .errors import StoreError
from .postgres_errors import postgres_border
from .postgres_target import Connection, PostgresTarget

__all__ = ["PostgresPool"]

T = TypeVar("T")

# Seconds. How long it is waited for a connection that others use; after how long unused one may have been cut off
# without a word; how long one that lost its way may take to come to its senses.
_PATIENCE: Final = 5.0
_STALE: Final = 60.0
_RESET: Final = 2.0
# The pause after a connection that could not be made, doubled each time.
_BACKOFF: Final = 0.05
_BACKOFF_LIMIT: Final = 2.0


class PostgresPool:
    """At most `size` connections, made when they are needed. For the loop on which it is first used.

    While the server is away `begin` refuses at once, and tries it again after a pause that grows to 2 seconds.
    """

    def __init__(self, target: PostgresTarget, size: int) -> None:
        self._target = target
        self._size = size
        self._turn = asyncio.Semaphore(size)
        self._idle: list[tuple[Connection, float]] = []
        self._used: set[Connection] = set()
        self._pause = 0.0
        self._away_until = 0.0
        self._closed = False

    @property
    def size(self) -> int:
        """How many may be used at once."""
        return self._size

    async def begin(self, text: str, *, seconds: float) -> Connection:
        """A connection on which this text was run: `BEGIN` and what belongs to it, in one round trip.

        Cancelling gives up the place in the queue.

        Args:
            text: one or more statements without parameters.
            seconds: how long they may take, locks included.

        Raises:
            Refused: `unavailable`: the server is not there, is slow, or all connections stay in use.
            StoreError: the pool is closed, or the server refuses for good.
        """
        connection, _ = await self._first(lambda connection: connection.execute(text, timeout=seconds))
        return connection

    async def fetch(self, text: str, *values: Any, begin: str, seconds: float) -> list[asyncpg.Record]:
        """What one statement that only reads returns; cancelling ends it on the server.

        Args:
            text: the statement.
            values: of its parameters.
            begin: begins its transaction, where a pooler would part it from its own preparation.
            seconds: how long it may take.

        Raises:
            Refused: as `begin`.
            StoreError: as `begin`.
        """
        if not await self._target.pooled():
            connection, records = await self._first(lambda connection: connection.fetch(text, *values, timeout=seconds))
            self.give_back(connection)
            return records
        connection = await self.begin(begin, seconds=seconds)
        try:
            with postgres_border():
                return await connection.fetch(text, *values, timeout=seconds)
        finally:
            await self.end(connection)

    async def _first(self, run: Callable[[Connection], Awaitable[T]]) -> tuple[Connection, T]:
        """A connection, and what came of the first thing that was run on it.

        Where a connection turns out to be lost, the next one is taken: nothing had happened on it yet.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._turn.acquire()
        except TimeoutError:
            raise Refused(
                "unavailable", "All connections to the database are in use.", outcome="none", retry_after=1.0
            ) from None
        connection: Connection | None = None
        try:
            while True:
                reused = self._reusable()
                connection = reused or await self._connect()
                self._used.add(connection)
                try:
                    with postgres_border():
                        return connection, await run(connection)
                except Refused:
                    if reused is None or not connection.is_closed():
                        raise
                    self._used.discard(connection)
        except Exception:
            if connection is not None and not connection.is_closed():
                await self.end(connection)
            else:
                self._drop(connection)
            raise
        except BaseException:
            self._drop(connection)
            raise

    def _reusable(self) -> Connection | None:
        if self._closed:
            raise StoreError("The store is closed.")
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, since = self._idle.pop()
            if not connection.is_closed() and now - since < _STALE:
                return connection
            connection.terminate()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        left = self._away_until - loop.time()
        if left > 0:
            raise Refused(
                "unavailable", "The database is not there.", outcome="none", retry_after=max(round(left, 1), 0.1)
            )
        try:
            connection = await self._target.connect()
        except Refused:
            self._pause = min(max(2 * self._pause, _BACKOFF), _BACKOFF_LIMIT)
            self._away_until = loop.time() + self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            raise
        self._pause = 0.0
        return connection

    def _drop(self, connection: Connection | None) -> None:
        if connection is not None:
            self._used.discard(connection)
            connection.terminate()
        self._turn.release()

    async def end(self, connection: Connection) -> None:
        """Roll back what is open on a connection, and take it back; one that does not answer in time is cut off.

        Cancelling cuts it off.
        """
        try:
            if not connection.is_closed() and connection.is_in_transaction():
                await connection.execute("ROLLBACK", timeout=_RESET)
        except BaseException as exc:
            self._drop(connection)
            if not isinstance(exc, Exception):
                raise
        else:
            self.give_back(connection)

    def give_back(self, connection: Connection) -> None:
        """Take back a connection; one in an unknown state is cut off, which rolls back what is open on it."""
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self._drop(connection)
            return
        self._used.discard(connection)
        self._idle.append((connection, asyncio.get_running_loop().time()))
        self._turn.release()

    def cut(self, connection: Connection) -> None:
        """Take back a connection that must not be used again."""
        self._drop(connection)

    async def close(self, *, wait: float = 0.0) -> None:
        """Close all connections, those in use once they are given back or so many seconds are over.

        Safe to call twice; cancelling ends the wait.
        """
        self._closed = True
        taken = 0
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    while taken < self._size:
                        await self._turn.acquire()
                        taken += 1
        finally:
            for _ in range(taken):
                self._turn.release()
            idle, self._idle = [connection for connection, _ in self._idle], []
            for connection in self._used:
                connection.terminate()
            await asyncio.gather(*[_part(connection) for connection in idle])


async def _part(connection: Connection) -> None:
    """Close a connection, with a word to the server if it listens."""
    try:
        await connection.close(timeout=_RESET)
    except Exception:
        connection.terminate()
