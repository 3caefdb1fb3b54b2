"""StoreWatch: whether a worker's database answers, also while nobody asks the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from ..store.store import Store
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics

__all__ = ["StoreWatch"]

_log = get_logger(__name__)

# How often it is asked, and how long an answer may take, in seconds: a worker is unready within the sum of both.
_EVERY: Final = 2.0
_TIMEOUT: Final = 3.0


class StoreWatch:
    """Asks a database for nothing, again and again. Use it on the store's loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None
        self.reason = ""
        """Why the store cannot be used now; empty: it answers."""
        self._unregister: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to watch; the store was just opened, so it counts as there."""
        self._task = asyncio.create_task(self._watch(), name="store watch")
        self._unregister = metrics.gauge("store_answers", "Whether the database answers.", lambda: not self.reason)

    async def close(self) -> None:
        """Stop watching, before the store closes."""
        if self._unregister is not None:
            self._unregister()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                async with asyncio.timeout(_TIMEOUT):
                    await self._look()
            except Exception as exc:
                reason = str(exc) or f"no answer within {_TIMEOUT:g} s"
                if not self.reason:
                    _log.error("the database does not answer; commands and queries are refused", reason=reason)
                self.reason = reason
            else:
                if self.reason:
                    _log.info("the database answers again")
                self.reason = ""

    async def _look(self) -> None:
        reader = await self._store.snapshot()
        try:
            await reader.rows(sa.select(sa.literal(1)))
        finally:
            await reader.close()
