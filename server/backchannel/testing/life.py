"""Life: one run of the worker, as a process of its own would be: when it dies, nothing of it reaches anybody."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from backchannel_protocol import Refused

from ..broker.broker import Envelope, LogBounds, LogHead
from ..broker.memory import MemoryBroker
from ..relay.relay import Reply, Request
from ..store.store import LogReader, Reader, Store, Transaction
from .bus import BusEnd, SandboxBroker
from .loop import spawned_by
from .relay import SandboxRelay

__all__ = ["KillPoint", "Life", "LifeBroker", "LifeRelay", "LifeStore"]

KillPoint = Literal["begun", "handled", "committed", "published"]
"""Where a worker can be killed in its next transaction.

`begun`: no handler has run. `handled`: everything is written and nothing is committed. `committed`: no event and no
reply has left. `published`: the events have left, and no reply.
"""


class Life:
    """What is known of one run."""

    def __init__(self) -> None:
        self.alive = True
        self.kill_at: KillPoint | None = None
        """Where it ends, once."""
        self.commits_unanswered = 0
        """How many of the next commits succeed and say that they may not have."""
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._on_death: list[Callable[[], None]] = []
        self.context = spawned_by(self._spawned)
        """What the worker's code runs in, so that its tasks are known."""
        self.outside = contextvars.copy_context()
        """What it causes outside of itself runs in here, so that this does not end with it."""

    def _spawned(self, task: asyncio.Task[Any]) -> None:
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def on_death(self, callback: Callable[[], None]) -> None:
        """Call this when it dies."""
        self._on_death.append(callback)

    def die(self) -> None:
        """End at once: whatever its code still does reaches nobody."""
        if not self.alive:
            return
        self.alive = False
        for callback in self._on_death:
            callback()
        for task in list(self._tasks):
            task.cancel()

    def reach(self, point: KillPoint) -> None:
        """Come to a point where it may be told to die.

        Raises:
            CancelledError: it is dead. Its tasks are being cancelled anyway; this is for code that heeds no cancelling.
        """
        if self.kill_at == point:
            self.kill_at = None
            self.die()
        self.check()

    def check(self) -> None:
        """Raise `CancelledError` if it is dead."""
        if not self.alive:
            raise asyncio.CancelledError


class LifeRelay:
    """The worker's end of the relay."""

    def __init__(self, life: Life, relay: SandboxRelay) -> None:
        self._life = life
        self._relay = relay
        life.on_death(relay.detach)

    def attach(self, receive: Callable[[Sequence[Request]], None], cancel: Callable[[int], None]) -> None:
        """Take requests from now on; both callbacks run in the life's own context."""
        run = self._life.context.run
        self._relay.attach(lambda requests: run(receive, requests), lambda request_id: run(cancel, request_id))

    def reply(self, replies: Sequence[Reply]) -> None:
        """Send replies back."""
        if self._life.alive:
            self._life.outside.run(self._relay.reply, replies)

    def detach(self) -> None:
        """Take no further requests."""
        if self._life.alive:
            self._relay.detach()


class LifeBroker(BusEnd):
    """The worker's way to publish."""

    def __init__(self, life: Life, bus: SandboxBroker, inner: MemoryBroker) -> None:
        super().__init__(bus, inner)
        self._life = life

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Send events."""
        if not self._life.alive:
            return
        self._life.outside.run(super().publish, envelopes)
        if self._life.kill_at == "published":
            self._life.kill_at = None
            self._life.die()

    async def append(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> LogHead:
        """Append an event to its live log and publish it."""
        self._life.check()
        return await self._life.outside.run(super().append, envelope, bounds, publication)


class LifeStore:
    """The worker's way to the store."""

    def __init__(self, life: Life, store: Store) -> None:
        self._life = life
        self._store = store

    @property
    def writers(self) -> int:
        """How many write transactions may be open at once."""
        return self._store.writers

    async def begin(self, lanes: Sequence[str]) -> Transaction:
        """Begin a write transaction."""
        transaction = await self._store.begin(lanes)
        try:
            self._life.reach("begun")
        except BaseException:
            await transaction.rollback()
            raise
        return cast(Transaction, _LifeTransaction(self._life, transaction))

    async def snapshot(self) -> Reader:
        """Begin a read-only snapshot."""
        return await self._store.snapshot()

    def log_reader(self) -> LogReader:
        """A reader for a gateway."""
        return self._store.log_reader()

    async def housekeeping(self, bounds: Mapping[str, tuple[int, float]], now: int) -> None:
        """Trim logs, and let old replies go."""
        await self._store.housekeeping(bounds, now)

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take, keep or give back a lease: there is one worker at a time, and what it leases ends with it."""
        self._life.check()
        return True

    async def close(self) -> None:
        """The store is the sandbox's, and outlives the worker."""


class _LifeTransaction:
    """A transaction that ends with its life; everything but its end is the inner one's."""

    def __init__(self, life: Life, inner: Transaction) -> None:
        self._life = life
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self) -> None:
        """Make it durable."""
        try:
            self._life.reach("handled")
        except asyncio.CancelledError:
            await self._inner.rollback()
            raise
        await self._inner.commit()
        self._life.reach("committed")
        if self._life.commits_unanswered:
            self._life.commits_unanswered -= 1
            raise Refused("unavailable", "The answer to the commit was lost.", outcome="unknown")
