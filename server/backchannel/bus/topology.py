"""Which server to talk to: one of them, however it is found. `cluster` has the other way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

from .errors import RedisReplyError, Unreachable
from .node import Node
from .opening import OPEN_TIMEOUT
from .sentinel import Sentinels
from .target import Address

__all__ = ["OneServer", "Topology"]


class Topology(Protocol):
    """The servers of an installation and who serves which key."""

    async def start(self) -> None:
        """Try to connect once.

        Raises:
            ConfigurationError: it fails for what no retry cures.
        """

    async def close(self, timeout: float) -> None:
        """End all connections; commands that were sent may still be answered within `timeout` seconds."""

    def node(self, key: bytes) -> Node | None:
        """The server for a key or topic; None while that is not known."""

    def nodes(self) -> Collection[Node]:
        """All servers that are in use."""

    def hears(self) -> bool:
        """Whether every server is being heard."""

    def redirected(self, error: RedisReplyError) -> tuple[Node, bool] | None:
        """Where an error reply sends its command, and whether behind ASKING; None: it sends it nowhere.

        Whatever else the error says of the servers is noted.
        """


# How often Sentinels are asked whether the master is still the same, in seconds. A master that was cut off from its
# replicas and Sentinels still answers its clients, so that they alone would never know.
_MASTER_CHECK: Final = 2.0


class OneServer:
    """One server for everything: at a fixed address, or the master that Sentinels name."""

    def __init__(
        self,
        address: Address,
        sentinels: Sentinels | None,
        make_node: Callable[[str, Callable[[], Awaitable[Address]]], Node],
    ) -> None:
        self._address = address
        self._sentinels = sentinels
        self._node = make_node(sentinels.service if sentinels is not None else str(address), self._resolve)
        self._nodes = (self._node,)
        self._task: asyncio.Task[None] | None = None

    async def _resolve(self) -> Address:
        return self._address if self._sentinels is None else await self._sentinels.master()

    async def start(self) -> None:
        if self._sentinels is not None:
            self._task = asyncio.create_task(self._follow_master(self._sentinels), name="bus master check")
        await tried(self._nodes)

    async def close(self, timeout: float) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._node.close(timeout)
        if self._sentinels is not None:
            await self._sentinels.close()

    def node(self, key: bytes) -> Node | None:
        return self._node

    def nodes(self) -> Collection[Node]:
        return self._nodes

    def hears(self) -> bool:
        return self._node.hearing.connection is not None

    def redirected(self, error: RedisReplyError) -> tuple[Node, bool] | None:
        if error.elsewhere:
            self._node.drop(f"answered {error.code}")
        return None

    async def _follow_master(self, sentinels: Sentinels) -> None:
        while True:
            await asyncio.sleep(_MASTER_CHECK)
            try:
                address = await sentinels.master()
            except Unreachable:
                continue  # what there is may still serve
            self._node.drop_unless_at(address, f"is no longer the master, which is at {address}")


async def tried(nodes: Collection[Node]) -> None:
    """Return when every link of these nodes has tried once, or when trying takes too long.

    Raises:
        ConfigurationError: one failed for what no retry cures.
    """
    attempts = [link.tried for node in nodes for link in (node.commands, node.hearing)]
    if attempts:
        done, _ = await asyncio.wait(attempts, timeout=OPEN_TIMEOUT + 0.2)
        for attempt in done:
            attempt.result()
