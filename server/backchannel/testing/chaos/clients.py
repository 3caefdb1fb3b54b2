"""LoadClient: one user's client in a chaos run; here the Python one."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from backchannel_client import Client, ConnectionClosed, Received, Subscription
from backchannel_protocol import JSON, MSGPACK, BackchannelError, Refused
from backchannel_protocol.frames import Gap

from ..listener import Listener
from ..report import Finding
from .front import Front
from .wire import WireWatch
from .workload import Asked

__all__ = ["Answered", "Effect", "LoadClient", "PythonClient"]

Effect = Callable[[str, Any], Hashable]
"""What an event stands for, by its name and data."""

# Whoever watches must not lose anything by its own fault.
_QUEUE = 10_000_000


class Answered:
    """What a command or query was answered with."""

    __slots__ = ("data", "positions")

    def __init__(self, data: Any, positions: dict[str, int]) -> None:
        self.data = data
        self.positions = positions


class LoadClient(Protocol):
    """A client under a run's control. Use it on the run's loop."""

    name: str
    user: str
    front: Front
    ends: dict[str, BackchannelError]
    """By channel: why listening to it ended, where the server ended it."""

    @property
    def connected(self) -> bool:
        """Whether it believes that it is."""

    async def open(self) -> None:
        """Connect; it stays so until `close`."""

    async def ask(self, asked: Asked, key: str | None, timeout: float) -> Answered:
        """Call. Raises `Refused` or `ConnectionClosed`."""

    async def publish(self, channel: str, asked: Asked, key: str, timeout: float) -> None:
        """Publish an event. Raises the same."""

    async def listen(self, listener: Listener, effect: Effect, *, live: bool) -> None:
        """Listen to the listener's channel and tell it, from now until the end; returns once it listens.

        Raises:
            Refused: the user may not.
        """

    def findings(self) -> list[Finding]:
        """What its own watch found so far."""

    def unanswered(self) -> list[Finding]:
        """What it is still owed."""

    async def close(self) -> None:
        """The end."""


class PythonClient:
    """`LoadClient` by `backchannel.Client`; every frame is watched."""

    def __init__(
        self,
        name: str,
        user: str,
        front: Front,
        token: Callable[[], str],
        *,
        binary: bool = False,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.user = user
        self.front = front
        self.ends: dict[str, BackchannelError] = {}
        self._wire = WireWatch(name)
        self._client = Client(
            front.url,
            token=token,
            codec=MSGPACK if binary else JSON,
            name=name,
            open_timeout=60.0,
            connector=self._wire.connector,
            random=random.Random(f"client {name} {seed}"),  # noqa: S311
        )
        self._following: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether it believes that it is."""
        return self._client.state == "connected"

    @property
    def connections(self) -> int:
        """How many it opened."""
        return self._wire.connections

    @property
    def client(self) -> Client:
        """The client itself."""
        return self._client

    async def open(self) -> None:
        """Connect. Raises `ConnectionClosed`."""
        await self._client.connect()

    async def ask(self, asked: Asked, key: str | None, timeout: float) -> Answered:
        """Call; a query has no key."""
        answer = await self._client.request(asked.name, dict(asked.data), key=key, timeout=timeout)
        return Answered(answer.data, answer.positions)

    async def publish(self, channel: str, asked: Asked, key: str, timeout: float) -> None:
        """Publish."""
        await self._client.publish(channel, asked.name, dict(asked.data), key=key, timeout=timeout)

    async def listen(self, listener: Listener, effect: Effect, *, live: bool) -> None:
        """Listen. Gaps of live channels are dismissed at once, as by an app that loads a snapshot."""

        def missed(gap: Gap) -> None:
            listener.gap(gap.epoch, gap.from_, gap.to, gap.reason)
            if live:
                subscription.dismiss_gap(gap)

        subscription = self._client.subscribe(listener.channel, queue=_QUEUE, on_gap=missed)
        try:
            await subscription.ready()
        except BaseException:
            subscription.close()
            raise
        position = subscription.position
        assert position is not None
        listener.subscribed(position.epoch, position.offset)
        self.ends.pop(listener.channel, None)
        task = asyncio.create_task(self._follow(subscription, listener, effect, live), name=f"{self.name} follows")
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, subscription: Subscription, listener: Listener, effect: Effect, live: bool) -> None:
        try:
            async for event in subscription:
                listener.event(event.offset, _effect_of(event, effect, live), event.epoch)
        except (Refused, ConnectionClosed) as exc:
            self.ends[listener.channel] = exc
        finally:
            listener.ended()

    def findings(self) -> list[Finding]:
        """What its wires told."""
        return self._wire.findings()

    def unanswered(self) -> list[Finding]:
        """What its wires still owe."""
        return self._wire.unanswered()

    async def close(self) -> None:
        """Close the client."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._client.close()
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)


def _effect_of(event: Received, effect: Effect, live: bool) -> Hashable:
    found = effect(event.name, event.data)
    # A live log that is lost may have its events again in the next one.
    return (event.epoch, found) if live and found is not None else found
