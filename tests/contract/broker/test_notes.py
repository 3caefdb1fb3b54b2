"""Notes of presence: what hooks stand on, over every kind of broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from backchannel.broker import redis_notes
from backchannel.broker.broker import Broker
from backchannel.broker.notes import PresenceNote

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

PATIENCE = 20.0


class Teller:
    """What a broker tells, in its order; `open` lets it be told."""

    def __init__(self, broker: Broker, *, refuse: int = 0) -> None:
        self.notes: list[PresenceNote] = []
        self.begun: list[list[PresenceNote]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.refuse = refuse
        self._news = asyncio.Event()
        broker.note(lambda channel: channel.startswith("noted:"), self.tell)

    async def tell(self, notes: Sequence[PresenceNote]) -> Sequence[PresenceNote]:
        self.begun.append(list(notes))
        self._news.set()
        await self.open.wait()
        if self.refuse:
            self.refuse -= 1
            return notes
        self.notes += notes
        self._news.set()
        return []

    def said(self) -> list[tuple[str, bool]]:
        return [(note.user, note.here) for note in self.notes]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()


async def test_who_comes_and_who_is_gone_is_noted_once(end: Any) -> None:
    """The first connection and the end of the grace are told, each once; what lies between is not."""
    teller = Teller(end.broker)
    await end.broker.enter("noted:a", "alice", "1")
    await end.broker.enter("noted:a", "alice", "2")
    await teller.until(lambda: teller.said() == [("alice", True)])
    await end.broker.leave("noted:a", "alice", "1")
    await end.broker.leave("noted:a", "alice", "2")
    await teller.until(lambda: len(teller.notes) > 1)
    await end.broker.enter("noted:a", "alice", "3")
    await teller.until(lambda: len(teller.notes) > 2)
    assert teller.said() == [("alice", True), ("alice", False), ("alice", True)]
    assert len({note.id for note in teller.notes}) == 3


async def test_only_what_is_wanted_is_noted(end: Any) -> None:
    """A channel that nobody wants notes of has none."""
    teller = Teller(end.broker)
    await end.broker.enter("plain:a", "alice", "1")
    await end.broker.enter("noted:a", "alice", "1")
    await teller.until(lambda: bool(teller.notes))
    assert [note.channel for note in teller.notes] == ["noted:a"]


async def test_what_could_not_be_told_is_told_again(end: Any) -> None:
    """A note comes again, as the same one, until it was told."""
    teller = Teller(end.broker, refuse=1)
    await end.broker.enter("noted:a", "alice", "1")
    await teller.until(lambda: bool(teller.notes))
    assert teller.begun[0] == teller.begun[1] == teller.notes


async def test_what_is_over_before_it_is_told_is_left_out(end: Any) -> None:
    """While something is told nothing else of the channel is, and then only what is so."""
    teller = Teller(end.broker)
    teller.open.clear()
    await end.broker.enter("noted:a", "alice", "1")
    await teller.until(lambda: len(teller.begun) == 1)
    await end.broker.enter("noted:a", "bob", "2")
    await end.broker.leave("noted:a", "bob", "2")

    await end.present("noted:a", "alice")
    assert len(teller.begun) == 1
    teller.open.set()
    await teller.until(lambda: ("bob", False) in teller.said())
    assert teller.said() == [("alice", True), ("bob", False)]


async def test_many_who_come_at_once_are_all_noted(end: Any) -> None:
    """More than one step takes are told, each once."""
    teller = Teller(end.broker)
    users = [f"user{n}" for n in range(1200)]
    await asyncio.gather(*[end.broker.enter("noted:a", user, user) for user in users])
    await teller.until(lambda: len(teller.notes) >= len(users))
    assert sorted(teller.said()) == sorted((user, True) for user in users)


async def test_what_a_process_leaves_behind_another_tells(
    join: Any, redis_server: Any, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends while it tells something loses nothing: the next that looks tells it."""
    monkeypatch.setattr(redis_notes, "CLAIM", 300)
    first = await join(redis_server.url, redis_prefix, gateway="first")
    teller = Teller(first.broker)
    teller.open.clear()
    second = await join(redis_server.url, redis_prefix, gateway="second")
    other = Teller(second.broker)
    await first.broker.enter("noted:a", "alice", "1")
    await second.broker.enter("noted:a", "bob", "2")
    await teller.until(lambda: bool(teller.begun))

    async def dead(*_: object) -> bool:
        return False

    monkeypatch.setattr(first.broker._presence._notes, "_strike_out", dead)
    await first.broker.close()
    await other.until(lambda: {("alice", False), ("bob", True)} <= set(other.said()))
    assert len(other.notes) == len({note.id for note in other.notes})
