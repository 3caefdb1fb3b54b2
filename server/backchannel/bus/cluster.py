"""Redis Cluster: which node serves which slot, kept up to date."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final, TypeAlias

from ..settings import ConfigurationError
from ..telemetry.logs import get_logger
from .connection import Connection
from .errors import RedisReplyError, Undelivered, Unreachable
from .node import Node
from .opening import OPEN_TIMEOUT, Opener
from .slots import SLOTS, key_slot
from .target import Address
from .topology import tried

__all__ = ["Cluster"]

log = get_logger(__name__)

# How often the slots are asked for when nothing tells that they changed, and the least time between two looks, in
# seconds. Failures of the cluster are seen by its nodes, not by whoever is idle.
_LOOK_EVERY: Final = 5.0
_LOOK_AGAIN: Final = 0.2
_LOOK_TIMEOUT: Final = 1.0

# While no node answers, the waits between two looks grow with every failure up to this many times `_LOOK_AGAIN`.
_MOST_FAILURES: Final = 10

# How long a node is kept that serves no slot and yet was named by MOVED or ASK, in seconds: slots are on their way.
_SENT_ON: Final = 30.0

_View: TypeAlias = tuple[bool, int, list[tuple[int, int, Address]]]
"""What one node thinks: whether the cluster is up, the current epoch, and ranges of slots with their masters."""


class Cluster:
    """The masters of one cluster.

    Args:
        opener: how connections are opened.
        make_node: makes a node, given what the log calls it and where it is.
        moved: called after slots went to other nodes.
    """

    def __init__(
        self,
        opener: Opener,
        make_node: Callable[[str, Callable[[], Awaitable[Address]]], Node],
        moved: Callable[[], None],
    ) -> None:
        self._opener = opener
        self._make_node = make_node
        self._moved = moved
        self._nodes: dict[Address, Node] = {}
        self._serving: set[Address] = set()
        self._sent_on: dict[Address, float] = {}
        self._slots: list[Node | None] = [None] * SLOTS
        self._wanted = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await self._look()
        except (Unreachable, TimeoutError) as exc:
            log.warning("redis cluster is absent", reason=str(exc) or "no answer in time")
        self._task = asyncio.create_task(self._keep_looking(), name="bus cluster slots")
        await tried(self._nodes.values())

    async def close(self, timeout: float) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        nodes = list(self._nodes.values())
        self._nodes.clear()
        self._serving.clear()
        self._slots = [None] * SLOTS
        await asyncio.gather(*(node.close(timeout) for node in nodes), *self._leaving)

    def node(self, key: bytes) -> Node | None:
        return self._slots[key_slot(key)]

    def nodes(self) -> Collection[Node]:
        return self._nodes.values()

    def hears(self) -> bool:
        return bool(self._serving) and all(
            self._nodes[address].hearing.connection is not None for address in self._serving
        )

    def redirected(self, error: RedisReplyError) -> tuple[Node, bool] | None:
        code = error.code
        if code in ("MOVED", "ASK"):
            self.look_again()
            found = _told(str(error))
            if found is None:
                return None
            slot, address = found
            self._sent_on[address] = time.monotonic()
            node = self._node_at(address)
            if code == "MOVED":
                self._slots[slot] = node
            return node, code == "ASK"
        if code == "CLUSTERDOWN" or error.elsewhere:
            self.look_again()
        return None

    def look_again(self) -> None:
        """Ask for the slots soon: something tells that they changed."""
        self._wanted.set()

    def _node_at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:

            async def resolve() -> Address:
                return address

            node = self._nodes[address] = self._make_node(str(address), resolve)
        return node

    # Looking

    async def _keep_looking(self) -> None:
        failures = 0
        while True:
            try:
                # Jitter, so that the processes of an installation do not ask in one moment.
                absent = random.uniform(0.0, failures * _LOOK_AGAIN)  # noqa: S311
                async with asyncio.timeout(_LOOK_EVERY if self._nodes else absent):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self._look()
                failures = 0
            except Unreachable:  # the links of the nodes tell in the log that they are absent
                failures = min(failures + 1, _MOST_FAILURES)
            except ConfigurationError as exc:
                log.error("redis cluster cannot be used", reason=str(exc))
            await asyncio.sleep(_LOOK_AGAIN)

    async def _look(self) -> None:
        """Take over the newest view that any node has.

        Raises:
            Unreachable: no node answers.
            ConfigurationError: none does, and no retry cures it.
        """
        connected = [node.commands.connection for node in self._nodes.values()]
        views = await asyncio.gather(*(_view(connection) for connection in connected if connection is not None))
        known = [view for view in views if view is not None] or [await self._first_view()]
        # A node that is cut off from the others keeps an old view for as long: the epoch tells, and the node knows that
        # its cluster is down.
        _, _, ranges = max(known, key=lambda view: view[:2])
        slots: list[Node | None] = [None] * SLOTS
        for start, end, address in ranges:
            slots[start : end + 1] = [self._node_at(address)] * (end + 1 - start)
        changed = slots != self._slots
        self._slots = slots
        self._serving = {address for _, _, address in ranges}
        recently = time.monotonic() - _SENT_ON
        self._sent_on = {address: at for address, at in self._sent_on.items() if at > recently}
        for address in [address for address in self._nodes if address not in self._serving | self._sent_on.keys()]:
            self._leave(self._nodes.pop(address))
        if changed:
            self._moved()

    def _leave(self, node: Node) -> None:
        """Let go of a node that serves nothing any more, when the topics on it had time to move."""
        task = asyncio.get_running_loop().create_task(node.close(1.0))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _first_view(self) -> _View:
        """What any known address tells over a connection of its own."""
        failure: Unreachable | ConfigurationError = Unreachable("no node answers")
        for address in dict.fromkeys((*self._opener.target.addresses, *self._nodes)):
            connection = Connection(address, "slots", _ignore)
            try:
                await self._opener.open(connection)
                view = await _view(connection)
            except (Unreachable, ConfigurationError) as exc:
                failure = exc
                continue
            finally:
                connection.abort("is no longer needed")
            if view is not None:
                return view
        raise failure


async def _view(connection: Connection) -> _View | None:
    """What the node at the other end thinks of its cluster; None: it does not say."""
    asked = [connection.ask(("CLUSTER", "INFO")), connection.ask(("CLUSTER", "SLOTS"))]
    _, pending = await asyncio.wait(asked, timeout=_LOOK_TIMEOUT)
    if pending:
        return None
    info, slots = (answer.result() for answer in asked)
    for answer in (info, slots):
        if isinstance(answer, Undelivered):
            return None
        if isinstance(answer, RedisReplyError):
            if answer.code == "NOPERM":
                raise ConfigurationError(
                    f"Redis refuses this process ({answer}): its user needs +cluster|slots and +cluster|info."
                )
            return None
    told = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
    epoch = int(told.get(b"cluster_current_epoch", b"0"))
    return (
        told.get(b"cluster_state") == b"ok",
        epoch,
        list(filter(None, map(partial(_range, connection.address), slots))),
    )


def _range(asked: Address, entry: list[Any]) -> tuple[int, int, Address] | None:
    """One entry of CLUSTER SLOTS: first and last slot, master, replicas. A node that does not know how it is reached
    names itself by an empty host."""
    start, end, (host, port, *_), *_ = entry
    name = (host or b"").decode()
    if name == "?":
        return None
    return start, end, Address(name or asked.host, port)


def _told(text: str) -> tuple[int, Address] | None:
    """Slot and node of `MOVED slot host:port`; None where the host is left to the reader."""
    _, slot, where = text.split(" ")[:3]
    host, _, port = where.rpartition(":")
    return (int(slot), Address(host.strip("[]"), int(port))) if host else None


def _ignore(_reason: str) -> None:
    pass
