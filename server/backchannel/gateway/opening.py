"""Opening: a channel gets ready. It is heard first; then it is found out where its log stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from backchannel_protocol import Refused

from ..broker.broker import Broker, LogHead, Settled
from ..store.store import LogReader
from ..telemetry.logs import get_logger
from .channel import HubChannel

__all__ = ["Opening"]

_log = get_logger(__name__)


class Opening:
    """Gets the hub's channels ready, on its loop."""

    def __init__(
        self,
        broker: Broker,
        log_reader: LogReader,
        loop: asyncio.AbstractEventLoop,
        *,
        head: Callable[[HubChannel], Awaitable[LogHead]],
        stale: Callable[[HubChannel], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """
        Args:
            broker: who brings events.
            log_reader: who reads durable logs.
            loop: the hub's.
            head: where the log of a channel of any kind stands.
            stale: called with a channel that is ready, and whose log is to be read.
            spawn: runs a coroutine until the hub closes.
        """
        self._broker = broker
        self._reader = log_reader
        self._loop = loop
        self._head = head
        self._stale = stale
        self._spawn = spawn
        # Durable channels that are heard, and whose heads will be asked for together; `_begun` is theirs.
        self._heard: list[HubChannel] = []
        self._begun: asyncio.Future[None] = loop.create_future()

    def begin(self, channel: HubChannel) -> None:
        """Get a channel ready; its `listening` is done when that has succeeded or failed, and `ready` tells which."""
        heard = self._broker.listen(channel.name)
        if isinstance(heard, Settled) and channel.namespace.kind == "durable":
            self._ask_soon(channel)
        else:
            channel.listening = self._loop.create_future()
            self._spawn(self._listen(channel, heard, channel.listening))

    def _ask_soon(self, channel: HubChannel) -> None:
        """Ask for the head of a channel that is heard, with those of the same tick.

        A storm of new users opens as many channels: a task and three futures for each are 15 µs.
        """
        if not self._heard:
            self._begun = self._loop.create_future()
            self._spawn(self._ask(self._begun))
        self._heard.append(channel)
        channel.listening = self._begun

    async def _ask(self, begun: asyncio.Future[None]) -> None:
        channels, self._heard = self._heard, []
        try:
            heads = await self._reader.heads([channel.name for channel in channels])
            for channel in channels:
                self._ready(channel, heads[channel.name])
        except Exception as exc:
            for channel in channels:
                _cannot_listen(channel, exc)
        finally:
            for channel in channels:
                channel.listening = None
            begun.set_result(None)

    async def _listen(self, channel: HubChannel, heard: Awaitable[None], listening: asyncio.Future[None]) -> None:
        try:
            await heard
            self._ready(channel, await self._head(channel) if channel.logged else channel.head())
        except Exception as exc:
            _cannot_listen(channel, exc)
        finally:
            channel.listening = None
            listening.set_result(None)

    def _ready(self, channel: HubChannel, head: LogHead) -> None:
        """A channel is heard, and where its log stood after that is known."""
        channel.epoch, channel.offset, channel.first = head.epoch, head.offset, head.first
        channel.ready = True
        if channel.stale:
            # Something came while the head was asked for, and nobody knows on which side of it it lies.
            self._stale(channel)


def _cannot_listen(channel: HubChannel, exc: Exception) -> None:
    _log.error(
        "cannot listen", channel=channel.name, reason=str(exc), exc_info=None if isinstance(exc, Refused) else exc
    )
