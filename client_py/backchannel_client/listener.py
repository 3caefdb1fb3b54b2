"""One channel of a bot: takes its events and gaps, has them handled in order, and keeps count of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from backchannel_protocol import Refused
from backchannel_protocol.frames import Gap, Position

from .client import Client
from .errors import ConnectionClosed, Overflow
from .received import Received
from .state_file import StateFile
from .subscription import Subscription

__all__ = ["Listener"]

log = logging.getLogger("backchannel_client.bot")


class Listener:
    """One channel's task.

    `handle` returns whether anything was done for an event, so that its position must be on disk before the next one;
    `missed` is told gaps. `state` keeps the positions; None keeps them nowhere. `after` is the task of the listener
    before this one, whose event may still be at work.
    """

    def __init__(
        self,
        client: Client,
        channel: str,
        *,
        queue: int,
        handle: Callable[[Received], Awaitable[bool]],
        missed: Callable[[Gap], Awaitable[None]],
        state: StateFile | None,
        after: asyncio.Task[None] | None,
    ) -> None:
        self.stopped = False
        self._client = client
        self._channel = channel
        self._queue = queue
        self._handle = handle
        self._missed = missed
        self._state = state
        self._kept = state.positions.get(channel) if state else None
        self._sub = self._subscribe(self._kept)
        self.task = asyncio.create_task(self._run(after))

    def stop(self, *, forget: bool = False) -> None:
        """Take no other event; the one at work is finished. `forget` drops the channel's position."""
        self.stopped = True
        self._sub.close()
        if forget and self._state is not None:
            self._state.note(self._channel, None)
            self._state = None

    def _subscribe(self, since: Position | None) -> Subscription:
        async def missed(gap: Gap) -> None:
            await self._missed(gap)
            sub.dismiss_gap(gap)
            await self._keep(wait=True)

        sub = self._client.subscribe(self._channel, since=since, queue=self._queue, on_gap=missed)
        return sub

    async def _run(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            # The bot left and came back while an event was being handled.
            await asyncio.wait([after])
        while not self.stopped:
            try:
                with contextlib.suppress(Overflow):  # what is queued comes before that
                    await self._sub.ready()
                # Whatever comes from here on is the bot's, also if it is killed before the first event.
                await self._keep(wait=True)
                async for received in self._sub:
                    await self._keep(wait=await self._handle(received))
            except Overflow:
                # Handlers are slower than events for a while: the log keeps what the queue cannot.
                with contextlib.suppress(ConnectionClosed):
                    self._sub = self._subscribe(self._sub.position)
                    continue
            except Refused as exc:
                log.warning("Not listening to %s: %s", self._channel, exc)
            except ConnectionClosed as exc:
                log.info("Listening to %s ends: %s", self._channel, exc)
            self.stopped = True

    async def _keep(self, *, wait: bool) -> None:
        position = self._sub.position
        if self._state is None or position is None or position == self._kept:
            return
        self._kept = position
        if wait:
            await self._state.save(self._channel, position)
        else:
            self._state.note(self._channel, position)
