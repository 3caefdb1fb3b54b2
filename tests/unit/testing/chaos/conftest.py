"""Clients that answer as they are told, for the load and for rights."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backchannel.testing import Finding, Listener
from backchannel.testing.chaos.clients import Answered
from backchannel.testing.chaos.workload import Asked
from backchannel_protocol import BackchannelError

Answer = Callable[[Asked, str | None], Answered | BackchannelError]


class FakeFront:
    """A line that is never held."""

    held = False

    def __init__(self) -> None:
        self.cuts = 0

    def cut(self) -> None:
        """Count it."""
        self.cuts += 1


class FakeClient:
    """A `LoadClient` whose server is a function."""

    def __init__(self, name: str, answer: Answer, user: str = "alice") -> None:
        self.name = name
        self.user = user
        self.front = FakeFront()
        self.ends: dict[str, BackchannelError] = {}
        self.connected = True
        self.asked: list[tuple[Asked, str | None]] = []
        self.listeners: list[Listener] = []
        self._answer = answer

    async def open(self) -> None:
        """Nothing to do."""

    async def ask(self, asked: Asked, key: str | None, timeout: float) -> Answered:
        """A tenth of a second later, what the function says."""
        self.asked.append((asked, key))
        await asyncio.sleep(0.1)
        answer = self._answer(asked, key)
        if isinstance(answer, BackchannelError):
            raise answer
        return answer

    async def publish(self, channel: str, asked: Asked, key: str, timeout: float) -> None:
        """As a call."""
        await self.ask(asked, key, timeout)

    async def listen(self, listener: Listener, effect: Any, *, live: bool) -> None:
        """Hear nothing."""
        listener.subscribed("e", 0)
        self.listeners.append(listener)
        self.ends.pop(listener.channel, None)

    def findings(self) -> list[Finding]:
        """None."""
        return []

    def unanswered(self) -> list[Finding]:
        """None."""
        return []

    async def close(self) -> None:
        """It is over."""
        self.connected = False


@pytest.fixture
def fake_client() -> type[FakeClient]:
    """Makes one: `fake_client(name, answer, user)`."""
    return FakeClient
