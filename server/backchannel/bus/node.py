"""One Redis server: the connection for commands and the one that hears."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .connection import Connection, Word
from .errors import NOT_WRITTEN
from .hearing import HearingConnection
from .link import Link
from .opening import Opener
from .subscriptions import Subscriptions
from .target import Address

__all__ = ["Node"]


class Node:
    """Two links to one server.

    Args:
        server: what the log calls it.
        resolve: where it is; asked before every attempt. Raises `Unreachable` or `ConfigurationError`.
        opener: how connections are opened.
        subscriptions: what is to be heard.
        sharded: whether with sharded pub/sub.
        changed: called when either link came up or went down, or the server ended a subscription.
    """

    def __init__(
        self,
        server: str,
        resolve: Callable[[], Awaitable[Address]],
        opener: Opener,
        subscriptions: Subscriptions,
        changed: Callable[[], None],
        *,
        sharded: bool,
    ) -> None:
        self._resolve = resolve
        self._opener = opener
        self._subscriptions = subscriptions
        self._changed = changed
        self._sharded = sharded
        self.commands: Link[Connection] = Link(server, "commands", self._open_commands, self._up, self._down)
        self.hearing: Link[HearingConnection] = Link(
            server, "subscriptions", self._open_hearing, self._hearing_up, self._hearing_down
        )

    async def _open_commands(self, lost: Callable[[str], None]) -> Connection:
        return await self._opener.open(Connection(await self._resolve(), "commands", lost))

    async def _open_hearing(self, lost: Callable[[str], None]) -> HearingConnection:
        subscriptions = self._subscriptions
        connection = HearingConnection(
            await self._resolve(),
            "subscriptions",
            lost,
            subscriptions.receivers,
            self._ended,
            sharded=self._sharded,
        )
        return await self._opener.open(connection)

    def _up(self, _connection: Connection) -> None:
        self._changed()

    def _down(self, _connection: Connection) -> None:
        self._changed()

    def _hearing_up(self, _connection: HearingConnection) -> None:
        self._subscriptions.settle()
        self._changed()

    def _hearing_down(self, connection: HearingConnection) -> None:
        self._subscriptions.disconnected(connection)
        self._changed()

    def _ended(self, connection: HearingConnection, topic: bytes) -> None:
        self._subscriptions.ended(connection, topic)
        self._changed()

    async def ask(self, words: tuple[Word, ...], *, asking: bool = False) -> Any:
        """Send a command and wait for what comes: a reply, a `RedisReplyError` or an `Undelivered`.

        Cancelling gives up waiting; the command may take effect all the same.

        Args:
            words: the command.
            asking: it goes to where its slot is moving to (ASK).
        """
        connection = self.commands.connection
        if connection is None:
            return NOT_WRITTEN
        if asking and not connection.send(("ASKING",)):
            return NOT_WRITTEN
        return await connection.ask(words)

    async def tried(self) -> None:
        """Return when the link for commands has tried to connect at least once."""
        await asyncio.wait([self.commands.tried])

    def drop(self, reason: str) -> None:
        """Give both connections up: they are made anew, perhaps to another server."""
        self.commands.drop(reason)
        self.hearing.drop(reason)

    def drop_unless_at(self, address: Address, reason: str) -> None:
        """Give up the connections that are to another server than this."""
        for link in (self.commands, self.hearing):
            connection = link.connection
            if connection is not None and connection.address != address:
                link.drop(reason)

    async def close(self, timeout: float) -> None:
        """End both links; commands that were sent may still be answered within `timeout` seconds."""
        await asyncio.gather(self.commands.close(timeout), self.hearing.close(0.0))
