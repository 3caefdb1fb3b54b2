"""A member of the relay: one process that hears its topics, says that it lives, and learns who else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import structlog
from msgspec import Struct

from backchannel_protocol import BackchannelError, Refused

from ..bus import Bus, Script
from .registry import BEAT

__all__ = ["Kind", "Living", "Member"]

log = structlog.get_logger(__name__)

Kind = Literal["gateways", "workers"]

_SCRIPT: Final = Script.load("relay", "beat.lua")

# Seconds that `start` waits for Redis, and that pass before topics are asked for again.
_PATIENCE: Final = 3.0
_PAUSE: Final = 0.25


class Living(Struct):
    """A process of the other kind that lives, as the registry in Redis has it."""

    incarnation: bytes
    left: float
    """Seconds until it counts as dead, if nothing more is heard of it."""
    told: bytes


class Member:
    """Beats twice a second, by the clock of Redis alone, into a registry that forgets who falls silent.

    Args:
        bus: the way to Redis, started.
        kind: what this process is.
        incarnation: its name, from its start to its end.
        topics: what it hears, and who receives it.
        span: seconds of silence after which it counts as dead.
        told: what others are to know of it, asked at each beat.
        heard: is called after each beat that Redis answered, with who lives of the other kind.
        lost: is called when its topics are heard no longer.
        back: is called when they are heard again, and the first time, too.
    """

    def __init__(
        self,
        bus: Bus,
        kind: Kind,
        incarnation: str,
        *,
        topics: Mapping[bytes, Callable[[list[bytes]], None]],
        span: float,
        told: Callable[[], bytes],
        heard: Callable[[list[Living]], None],
        lost: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        others: Kind = "workers" if kind == "gateways" else "gateways"
        # One name, so that both registries lie in one slot of a cluster.
        self._keys: Final = [bus.key(kind, "living"), bus.key(others, "living")]
        self._bus = bus
        self._incarnation: Final = incarnation
        self._topics: Final = dict(topics)
        self._span: Final = round(span * 1000)
        self._told = told
        self._heard = heard
        self._lost = lost
        self._back = back
        self._starting = False
        self._confirmed = False
        self._unheard = False
        self._early = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] | None = None

    @property
    def hears(self) -> bool:
        """Whether everything that is sent to its topics arrives."""
        return self._confirmed and self._bus.hearing

    async def start(self) -> None:
        """Hear the topics and beat once; goes on in the background where Redis is absent. Cancelling stops it.

        Raises:
            BackchannelError: what no retry cures, such as a missing right to a topic.
        """
        self._unwatch = self._bus.watch(self._on_lost, self._on_back)
        joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self._run(joined), name=f"relay: {self._incarnation}")
        self._starting = True
        try:
            await asyncio.wait([joined, self._task], timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                self._task.result()
        except BaseException:
            await self.stop()
            raise
        finally:
            self._starting = False

    def soon(self) -> None:
        """Beat now, not only when it is time."""
        self._early.set()

    async def stop(self) -> None:
        """Hear nothing more, and leave the registry."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        self._confirmed = False
        for topic in self._topics:
            self._bus.unsubscribe(topic)
        try:
            await self._bus.run(_SCRIPT, self._keys, [self._incarnation, b"", 0])
        except BackchannelError as exc:
            log.debug("the registry could not be left; it will forget by itself", error=str(exc))

    async def _run(self, joined: asyncio.Future[None]) -> None:
        for topic, receive in self._topics.items():
            while True:
                try:
                    await self._bus.subscribe(topic, receive)
                    break
                except BackchannelError as exc:
                    if self._starting and not isinstance(exc, Refused):
                        raise
                    log.warning("the relay's topic cannot be heard; trying again", error=str(exc))
                    await asyncio.sleep(_PAUSE)
        self._confirmed = True
        if self._bus.hearing:
            self._back()
        while True:
            self._early.clear()
            await self._beat()
            if not joined.done():
                joined.set_result(None)
            try:
                async with asyncio.timeout(BEAT):
                    await self._early.wait()
            except TimeoutError:
                pass

    async def _beat(self) -> None:
        try:
            found: list[Any] = await self._bus.run(_SCRIPT, self._keys, [self._incarnation, self._told(), self._span])
        except BackchannelError as exc:
            # One of many: Redis is away for a while, or refuses each.
            if not self._unheard:
                self._unheard = True
                log.warning("the relay's heartbeat is not heard", error=str(exc))
            return
        self._unheard = False
        try:
            self._heard(
                [
                    Living(incarnation, left / 1000, told)
                    for incarnation, left, told in zip(found[::3], found[1::3], found[2::3], strict=True)
                ]
            )
        except Exception:
            # A defect, which must not stop the heart: others would take this process for dead.
            log.exception("a heartbeat's answer could not be used")

    def _on_lost(self) -> None:
        if self._confirmed:
            self._lost()

    def _on_back(self) -> None:
        if self._confirmed:
            self.soon()
            self._back()
