"""The sandbox's gateway: the real one, which can be stopped, restarted and drained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

from ..gateway.gateway import Gateway

__all__ = ["Made", "SandboxGateway"]


class Made(NamedTuple):
    """A gateway, and what ends with it."""

    gateway: Gateway
    parts: AsyncExitStack


class SandboxGateway:
    """`box.gateway`: starts and ends gateways; clients connect to the one that was started last.

    Args:
        make: makes a gateway, not yet started, with ends of relay, broker and log of its own.
    """

    def __init__(self, make: Callable[[], Awaitable[Made]]) -> None:
        self._make = make
        self._made: Made | None = None

    @property
    def current(self) -> Gateway | None:
        """The one that takes connections."""
        return self._made.gateway if self._made is not None else None

    async def start(self) -> None:
        """Start one, unless one runs."""
        if self._made is None:
            made = await self._make()
            made.gateway.start()
            self._made = made

    async def stop(self) -> None:
        """End it as SIGKILL does: every connection breaks off, and nobody is there until `start`."""
        made, self._made = self._made, None
        if made is not None:
            await _end(made)

    async def restart(self) -> None:
        """End it, and start another at once."""
        await self.stop()
        await self.start()

    async def drain(self, seconds: float | None = None) -> None:
        """Start another and let the present one move its clients over, as a rolling restart does (SIGTERM).

        Args:
            seconds: how long that may take; the setting `drain` by default.
        """
        old, self._made = self._made, None
        await self.start()
        if old is not None:
            await old.gateway.drain(seconds)
            await _end(old)


async def _end(made: Made) -> None:
    await made.gateway.close()
    await made.parts.aclose()
