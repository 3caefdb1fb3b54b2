"""Keeping one connection: open it, tell when it is up and when it is gone, and open the next one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from ..settings import ConfigurationError
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .connection import Connection
from .errors import Unreachable

__all__ = ["Link"]

log = get_logger(__name__)

_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 2.0

# A connection that lasted less does not start the delays anew: a server that lets in and throws out at once must not be
# asked twenty times a second.
_LASTED: Final = 5.0

C = TypeVar("C", bound=Connection)


class Link(Generic[C]):
    """One connection that is made again whenever it is lost.

    Args:
        server, part: what the log calls it.
        open: opens a connection, given what it has to call when it is lost; raises `Unreachable` or
            `ConfigurationError`.
        up: called in the tick in which the connection can be used.
        down: called at once when it is lost.
    """

    def __init__(
        self,
        server: str,
        part: str,
        open: Callable[[Callable[[str], None]], Awaitable[C]],  # noqa: A002 - what it does
        up: Callable[[C], None],
        down: Callable[[C], None],
    ) -> None:
        self._names = {"server": server, "connection": part}
        self.connection: C | None = None
        self.tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done after the first attempt: with `ConfigurationError` where that failed for good, else without a result."""
        self._open = open
        self._up = up
        self._down = down
        self._ended: asyncio.Future[str] | None = None
        self._absent_since: float | None = None
        self._told = ""
        self._task = asyncio.create_task(self._run(), name=f"bus {server} {part}")

    def drop(self, reason: str) -> None:
        """Give the present connection up, as if it had been lost."""
        if self.connection is not None:
            self.connection.abort(reason)

    async def close(self, timeout: float) -> None:
        """End it for good; what was sent may still be answered within `timeout` seconds. Cancelling closes at once."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self.tried.done():
            self.tried.cancel()
        elif not self.tried.cancelled():
            self.tried.exception()  # so that asyncio does not complain that nobody asked
        if self.connection is not None:
            connection, self.connection = self.connection, None
            await connection.close(timeout)

    async def _run(self) -> None:
        attempt = 0
        while True:
            failure = await self._attempt()
            if failure is None:
                began = time.monotonic()
                assert self._ended is not None
                await self._ended
                if time.monotonic() - began >= _LASTED:
                    attempt = 0
            else:
                self._tell(failure)
            if not self.tried.done():
                if isinstance(failure, ConfigurationError):
                    self.tried.set_exception(failure)
                else:
                    self.tried.set_result(None)
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0**attempt)
            attempt = min(attempt + 1, 16)
            # Jitter, so that the processes of an installation do not come back in one moment.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311

    def _tell(self, failure: Exception) -> None:
        """One line per absence, and one for each thing that no retry cures: the operator must act."""
        text = str(failure)
        if isinstance(failure, ConfigurationError) and not self.tried.done():
            self._absent_since = time.monotonic()  # whoever starts the bus gets it
        elif self._absent_since is None:
            self._absent_since = time.monotonic()
            log.warning("redis is absent", **self._names, reason=text)
        elif isinstance(failure, ConfigurationError) and text != self._told:
            log.error("redis cannot be used", **self._names, reason=text)
        self._told = text

    async def _attempt(self) -> Exception | None:
        """Open a connection; None: it is up."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ended = ended
        try:
            connection = await self._open(self._lost)
        except (Unreachable, ConfigurationError) as exc:
            return exc
        except Exception as exc:
            # A server that answers nonsense must not end the attempts.
            log.exception("opening a connection to redis failed", **self._names)
            return Unreachable(repr(exc))
        if connection.closed:
            return Unreachable("the connection was closed right after the greeting")
        self.connection = connection
        connection.live()
        if self._absent_since is not None:
            metrics.bus_reconnects += 1
            absent = time.monotonic() - self._absent_since
            log.info("redis is back", **self._names, absent=round(absent, 3))
            self._absent_since = None
        self._told = ""
        if not self.tried.done():
            self.tried.set_result(None)
        self._up(connection)
        return None

    def _lost(self, reason: str) -> None:
        connection, self.connection = self.connection, None
        self._absent_since = time.monotonic()
        log.warning("redis is lost", **self._names, reason=reason)
        if connection is not None:
            self._down(connection)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)
