"""Feeding a checker from real clients: what they ask for, and what they hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from backchannel_client import Client, Received
from backchannel_protocol import BackchannelError, Refused, Request
from backchannel_protocol.frames import Gap

from .checker import Checker
from .listener import Listener

__all__ = ["Watch", "ask", "watch"]

R = TypeVar("R")

# Whoever watches must not lose anything by its own fault.
_QUEUE = 10_000_000


class Watch:
    """Listens to a channel with a client and tells a checker, until it is stopped. Made by `watch`."""

    def __init__(
        self, listener: Listener, client: Client, channel: str, effect: Callable[[Received], Hashable]
    ) -> None:
        self.listener = listener
        self.failure: BackchannelError | None = None
        """Why it ended, if the server or the client ended it."""
        self._effect = effect
        self._subscription = client.subscribe(channel, queue=_QUEUE, on_gap=self._gap)
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Return once it listens. Raises what `Subscription.ready` raises."""
        await self._subscription.ready()
        position = self._subscription.position
        assert position is not None
        self.listener.subscribed(position.epoch, position.offset)
        self._task = asyncio.get_running_loop().create_task(self._follow(), name=f"watch {self.listener.name}")

    async def stop(self) -> None:
        """Stop listening; nothing more is expected to come."""
        self._subscription.close()
        self.listener.ended()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _follow(self) -> None:
        try:
            async for event in self._subscription:
                self.listener.event(event.offset, self._effect(event), event.epoch)
        except BackchannelError as exc:
            self.failure = exc
            self.listener.ended()

    def _gap(self, gap: Gap) -> None:
        self.listener.gap(gap.epoch, gap.from_, gap.to, gap.reason)


async def watch(
    checker: Checker,
    client: Client,
    channel: str,
    effect: Callable[[Received], Hashable],
    *,
    name: str | None = None,
) -> Watch:
    """Listen to a channel and tell the checker what is heard; returns once it listens.

    Args:
        checker: who is told.
        client: whose connection it is.
        channel: what is listened to.
        effect: what an event stands for: the name that `Checker.acknowledged` gets.
        name: what findings call it; the client's user by default.

    Raises:
        Refused: the user may not listen.
        ConnectionClosed: the client is closed.
    """
    began = Watch(checker.listener(name or client.user, channel), client, channel, effect)
    await began.begin()
    return began


async def ask(
    checker: Checker,
    client: Client,
    request: Request[R],
    effect: Hashable,
    channel: str | None = None,
    **options: Any,
) -> R | None:
    """Call, and tell the checker how it went; returns the answer, or None for a refusal.

    Args:
        checker: who is told.
        client: who asks.
        request: what for.
        effect: what it does, by the name that its event is told apart by.
        channel: where its event appears.
        options: of `Client.call`: `key` and `timeout`.
    """
    checker.sent(effect, at=client.clock.time())
    try:
        answer = await client.request(request, **options)
    except Refused as exc:
        checker.refused(effect, exc.outcome)
        return None
    checker.acknowledged(effect, channel, at=client.clock.time())
    return answer.data
