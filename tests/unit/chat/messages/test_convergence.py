"""A client that folds events into what it read once has what it would read now, whatever several users do at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchannel.chat import app
from backchannel.testing import Sandbox, VirtualLoop
from backchannel_protocol import Refused

USERS = ("alice", "bob", "carol")
EMOJI = ("👍", "🎉")


class Copy:
    """What a client of alice's knows of a channel. What comes back after it was deleted is `asked` for anew: events do
    not tell whose reactions it has."""

    def __init__(self, snapshot: list[dict[str, Any]]) -> None:
        self.messages = {message["seq"]: message for message in snapshot}
        self.asked: set[int] = set()

    def take(self, name: str, data: dict[str, Any]) -> None:
        """Fold in one event."""
        if name == "message.created":
            self.messages[data["seq"]] = data
        elif name == "message.updated":
            before = self.messages.get(data["seq"], {})
            if "deleted" in before:
                self.asked.add(data["seq"])
            own = {one["emoji"] for one in before.get("reactions", []) if one.get("own")}
            for one in data.get("reactions", []):
                if one["emoji"] in own:
                    one["own"] = True
            self.messages[data["seq"]] = data
        elif name == "message.deleted":
            before = self.messages[data["seq"]]
            kept = ("id", "channel", "seq", "user", "time", "type", "parent", "shown", "silent", "thread")
            self.messages[data["seq"]] = {
                **{key: before[key] for key in kept if key in before},
                "text": "",
                "deleted": data["deleted"],
                "deleted_by": data["deleted_by"],
            }
        elif name == "reaction.changed":
            self._react(data)
        elif name == "thread.updated":
            thread = {key: data[key] for key in data if key not in ("channel", "seq")}
            self.messages[data["seq"]].pop("thread", None)
            if thread["replies"]:
                self.messages[data["seq"]]["thread"] = thread
        elif name == "message.pinned":
            self.messages[data["seq"]]["pinned"] = True
        elif name == "message.unpinned":
            self.messages[data["seq"]].pop("pinned", None)

    def _react(self, data: dict[str, Any]) -> None:
        message = self.messages[data["seq"]]
        known = {one["emoji"]: one for one in message.get("reactions", [])}
        own = known.get(data["emoji"], {}).get("own", False)
        if data["user"] == "alice":
            own = data["reacted"]
        known.pop(data["emoji"], None) if not data["count"] else known.setdefault(data["emoji"], {})
        if data["count"]:
            known[data["emoji"]] = {"emoji": data["emoji"], "count": data["count"], **({"own": True} if own else {})}
        message["reactions"] = list(known.values())
        if not known:
            del message["reactions"]

    def told(self) -> dict[int, dict[str, Any]]:
        """All of it, in a form that does not depend on the order of reactions."""
        return {seq: plain(message) for seq, message in sorted(self.messages.items())}


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message as it is compared."""
    kept = dict(message)
    if "reactions" in kept:
        kept["reactions"] = sorted(kept["reactions"], key=lambda one: str(one["emoji"]))
    return kept


async def snapshot(client: Any, channel: str) -> list[dict[str, Any]]:
    """All messages: of the channel, and of its threads."""
    page: list[dict[str, Any]] = (await client.call("message.list", {"channel": channel, "limit": 200}))["messages"]
    answers = [
        one
        for message in page
        if "parent" not in message
        for one in (await client.call("message.list", {"channel": channel, "parent": message["seq"], "limit": 200}))[
            "messages"
        ]
    ]
    return list({one["seq"]: one for one in [*page, *answers]}.values())


def command(chance: random.Random, channel: str, last: int) -> tuple[str, dict[str, Any]]:
    """Something that a user may try."""
    where = {"channel": channel, "seq": chance.randint(1, last)}
    choices: list[Callable[[], tuple[str, dict[str, Any]]]] = [
        lambda: ("message.send", {"channel": channel, "text": f"text {chance.random()}"}),
        lambda: (
            "message.send",
            {
                "channel": channel,
                "text": f"answer {chance.random()}",
                "parent": where["seq"],
                "shown": chance.random() < 0.5,
            },
        ),
        lambda: ("message.edit", {**where, "text": f"edited {chance.random()}"}),
        lambda: ("message.delete", where),
        lambda: ("message.restore", where),
        lambda: ("reaction.add", {**where, "emoji": chance.choice(EMOJI)}),
        lambda: ("reaction.remove", {**where, "emoji": chance.choice(EMOJI)}),
        lambda: ("message.pin", where),
        lambda: ("message.unpin", where),
    ]
    return chance.choice(choices)()


async def tried(asked: Awaitable[Any]) -> None:
    """Whether it is refused or not."""
    try:
        await asked
    except Refused as error:
        if error.code not in ("forbidden", "not_found", "invalid", "conflict"):
            raise


async def converges(seed: int) -> None:
    """One run."""
    chance = random.Random(seed)
    async with Sandbox(app, burst=100_000, calls=100_000, open_requests=10_000) as box:
        clients = [await box.client(user) for user in USERS]
        channel = (await clients[0].call("channel.create", {"name": "Tea", "members": list(USERS[1:])}))["channel"]
        await clients[0].call("message.send", {"channel": channel, "text": "first"})

        async def storm(rounds: int) -> None:
            for n in range(rounds):
                await asyncio.gather(
                    *(
                        tried(chance.choice(clients).call(*command(chance, channel, 1 + n // 2)))
                        for _ in range(chance.randint(1, 12))
                    )
                )

        await storm(8)
        copy = Copy(await snapshot(clients[0], channel))
        seen = len(box.events(channel))
        await storm(8)
        for event in box.events(channel)[seen:]:
            copy.take(event.name, event.data)
        for seq in copy.asked:
            copy.messages[seq] = await clients[0].call("message.get", {"channel": channel, "seq": seq})
        fresh = {one["seq"]: plain(one) for one in await snapshot(clients[0], channel)}
        assert copy.told() == fresh


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_snapshot_and_events_are_a_fresh_snapshot(seed: int) -> None:
    """Messages, reactions with their own state, threads and pins; also of what was deleted and brought back."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(converges(seed))
    finally:
        loop.close()
