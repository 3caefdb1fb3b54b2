"""Supervisor: gateways and workers as processes of one machine, around one Redis and one PostgreSQL.

It listens and never accepts: the gateways inherit its socket, so that a connection that comes while one of them starts
anew waits for another, or for the new one, and is not refused.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

from ..telemetry.logs import get_logger
from .listening import listen, url_of
from .place import Place, Plan, Role, SupervisorFailed

__all__ = ["Plan", "Supervisor", "SupervisorFailed"]

_log = get_logger(__name__)


class Supervisor:
    """Use it on one event loop: `run`."""

    def __init__(self, plan: Plan) -> None:
        """
        Raises:
            ConfigurationError: an address cannot be had.
        """
        self.port = 0
        """Where clients connect; 0 without gateways."""
        self._plan = plan
        self._stack = ExitStack()
        self._told = asyncio.Event()
        self._roll_wanted = asyncio.Event()
        settings = plan.settings
        try:
            front = []
            if plan.gateways:
                front.append(self._listen(settings.host, settings.port, "--port"))
                self.port = front[0].getsockname()[1]
            self._gateways = self._places("gateway", plan.gateways, settings.health_port, front)
            self._workers = self._places("worker", plan.workers, settings.health_port + plan.gateways, [])
        except BaseException:
            self._stack.close()
            raise

    def _places(self, role: Role, count: int, first_port: int, front: list[socket.socket]) -> list[Place]:
        places = []
        for index in range(count):
            health = []
            if self._plan.settings.health_port:
                health.append(self._listen(self._plan.settings.host, first_port + index, "--health-port"))
            places.append(Place(role, index + 1, self._plan, {"--fd": front, "--health-fd": health}))
        return places

    def _listen(self, host: str, port: int, option: str) -> socket.socket:
        listening = listen(host, port, option=option)
        self._stack.callback(listening.close)
        return listening

    @property
    def url(self) -> str:
        """Where the pages are."""
        return url_of(self._plan.settings.host, self.port)

    @property
    def _all(self) -> list[Place]:
        # Workers first: a new gateway may route what only a new worker serves.
        return [*self._workers, *self._gateways]

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Keep all children until SIGTERM or SIGINT, then end them: gateways first, which move their clients.

        SIGHUP starts them anew one after another. A second SIGTERM ends them at once. `ready` is called once all are.

        Raises:
            SupervisorFailed: a child does not come up; the others were ended.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told.set)
        loop.add_signal_handler(signal.SIGHUP, self._roll_wanted.set)
        keeping = [asyncio.create_task(place.keep(), name=place.name) for place in self._all]
        told = asyncio.create_task(self._told.wait())
        beside = [asyncio.create_task(self._roll_when_told()), asyncio.create_task(self._tell_ready(ready))]
        try:
            await asyncio.wait([told, *keeping, beside[0]], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (told, *beside):
                task.cancel()
            await asyncio.gather(told, *beside, return_exceptions=True)
            await self._end()
            outcomes = await asyncio.gather(*keeping, return_exceptions=True)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        _log.info("stopped")

    async def _tell_ready(self, ready: Callable[[], None] | None) -> None:
        for place in self._all:
            await place.ready.wait()
        _log.info("all are ready", gateways=len(self._gateways), workers=len(self._workers))
        if ready is not None:
            ready()

    async def _roll_when_told(self) -> None:
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted.clear()
            await self._roll()

    async def _roll(self) -> None:
        _log.info("rolling restart")
        for place in self._all:
            if not await place.replace():
                _log.error("the rolling restart is given up: the new child does not come up", child=place.name)
                return
        _log.info("rolling restart is done")

    async def _end(self) -> None:
        """End all children in order; a second signal hurries them."""
        # Nobody is to wait in the queue of a socket that nobody accepts from any more.
        self._stack.close()
        self._told.clear()
        again = asyncio.create_task(self._told.wait())
        ending = asyncio.create_task(self._end_in_order())
        try:
            await asyncio.wait([again, ending], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                for place in self._all:
                    place.hurry()
            await ending
        finally:
            again.cancel()

    async def _end_in_order(self) -> None:
        for places in (self._gateways, self._workers):
            await asyncio.gather(*(place.end() for place in places))
