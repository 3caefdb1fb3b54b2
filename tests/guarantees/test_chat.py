"""The chat that comes with Backchannel on real processes that fail: its messages, their numbers, who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from backchannel.testing.chaos import Asked, ChaosOptions, Execute, LoggedEvent, Workload, chosen, run_chaos


class Chat(Workload):
    """Messages on two channels of which all are members."""

    app = "backchannel.chat:app"
    channels = ("chat:alpha", "chat:beta")
    exact = True
    presence = True

    def prepare(self, users: Sequence[str]) -> Iterable[tuple[str, Asked]]:
        """Make the channels, with everybody in them."""
        for channel in self.channels:
            name = channel.removeprefix("chat:")
            yield self.operator, Asked("channel.create", {"id": name, "name": name, "members": list(users)})

    def ask(self, user: str, channel: str, effect: str, size: int) -> Asked:
        """A message."""
        return Asked("message.send", {"channel": channel, "text": effect})

    def effect(self, name: str, data: Any) -> Hashable:
        """Its text."""
        return str(data["text"]) if name == "message.created" else None

    def disagreements(self, execute: Execute, log: Mapping[str, Sequence[LoggedEvent]]) -> Iterable[str]:
        """The messages are those of the log, in its order, numbered without a hole."""
        rows = execute("SELECT channel, seq, text FROM chat_messages ORDER BY channel, seq")
        for channel, events in log.items():
            told = [(e.data["seq"], e.data["text"]) for e in events if e.name == "message.created"]
            kept = [(seq, text) for name, seq, text in rows if name == channel]
            if told != kept:
                yield f"{channel} has {len(kept)} messages and {len(told)} events, or they differ."
            if [seq for seq, _ in kept] != list(range(1, len(kept) + 1)):
                yield f"The messages of {channel} are not numbered from 1 without a hole."


@pytest.mark.timeout(150)
async def test_chat_keeps_the_promises_while_its_processes_fail() -> None:
    """No message is lost, doubled or out of order, none has another's number, and everybody sees who is there."""
    kinds, _ = chosen(["processes", "redis", "postgres", "cut_clients"])
    options = ChaosOptions(seconds=20.0, seed=6, routing="random", kinds=frozenset(kinds), rate=40.0)
    async with asyncio.timeout(140):
        report = await run_chaos(options, Chat())
    report.verify()
    assert report.faults.keys() == kinds
    assert report.acknowledged > 100
