"""What users keep, and polls, on both kinds of database: many at once, and over a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def door() -> str:
    """What is kept does not depend on the way to the server."""
    return "takeover"


@pytest.fixture(params=["sqlite", "postgres"])
def start(request: pytest.FixtureRequest, start_server: Callable[..., Any], door: str) -> Callable[[], Any]:
    """Starts a server, again and again on the same data, on each kind of database."""
    store = {} if request.param == "sqlite" else {"postgres": request.getfixturevalue("database_url")}
    return lambda: start_server(**store)


async def test_what_became_due_while_the_server_was_down(start: Callable[[], Any]) -> None:
    """It is done as soon as the server is back, once: the message sent, the reminder told, the poll closed."""
    async with start() as server:
        alice = await server.wire("alice")
        channel = (await alice.call("channel.create", {"name": "Tea"}))["channel"]
        due = int(time.time() * 1000) + 1_000
        message = {"channel": channel, "text": "later"}
        await alice.call("message.schedule", {"channel": channel, "message": message, "due": due})
        await alice.call("reminder.add", {"text": "Feed the cat", "due": due})
        poll = {"channel": channel, "question": "Tea?", "options": ["Yes", "No"], "closes": due}
        await alice.call("poll.create", poll)
        assert (await alice.call("scheduled.list", {"total": True}))["total"] == 1
        epoch = (await alice.ask("subscribe", channel=channel))["epoch"]
    await asyncio.sleep(max(0.0, due / 1000 - time.time()) + 0.01)  # the server's clock is the machine's
    everything = {"epoch": epoch, "offset": 0}
    for _ in range(2):
        async with start() as server:
            alice = await server.wire("alice", resume={"user:alice": everything, channel: everything})
            assert (await alice.event("reminder.due"))["data"]["text"] == "Feed the cat"
            await alice.until(lambda f: f.get("name") == "message.created" and f["data"]["text"] == "later")
            await alice.until(lambda f: f.get("name") == "poll.changed" and "closed" in f["data"])
            sent = (await alice.call("message.list", {"channel": channel}))["messages"]
            assert [one["text"] for one in sent] == ["Tea?", "later"]
            assert len((await alice.call("reminder.list", {"told": True}))["reminders"]) == 1
            assert (await alice.call("scheduled.list", {}))["scheduled"] == []
            assert [frame["name"] for frame in alice.kept() if frame.get("name") == "reminder.due"] == []


async def test_votes_at_once(start: Callable[[], Any]) -> None:
    """Whoever votes, changes and takes back at the same time: the tally is what the votes are."""
    async with start() as server:
        users = [f"user{number}" for number in range(6)]
        wires = [await server.wire(user) for user in users]
        made = {"name": "Tea", "members": users[1:]}
        channel = (await wires[0].call("channel.create", made))["channel"]
        seq = (await wires[0].call("poll.create", {"channel": channel, "question": "?", "options": ["a", "b"]}))["seq"]

        async def busy(number: int, wire: Any) -> None:
            for turn in range(6):
                options = [[1], [2], []][(number + turn) % 3]
                await wire.call("poll.vote", {"channel": channel, "seq": seq, "options": options})

        await asyncio.gather(*(busy(number, wire) for number, wire in enumerate(wires)))
        (poll,) = (await wires[0].call("poll.get", {"channel": channel, "seqs": [seq]}))["polls"]
        voters = [
            (await wires[0].call("poll.voters", {"channel": channel, "seq": seq, "option": option, "total": True}))
            for option in (1, 2)
        ]
        assert [option["votes"] for option in poll["options"]] == [page["total"] for page in voters]
        assert poll["voters"] == sum(page["total"] for page in voters)


async def test_drafts_and_saved_messages(start: Callable[[], Any]) -> None:
    """Lists page both ways, with totals and folders."""
    async with start() as server:
        alice = await server.wire("alice")
        channel = (await alice.call("channel.create", {"name": "Tea"}))["channel"]
        for number in range(1, 5):
            await alice.call("message.send", {"channel": channel, "text": f"{number}"})
            await alice.call(
                "saved.add", {"channel": channel, "seq": number, "folder": "even" if number % 2 == 0 else ""}
            )
            await alice.call("draft.save", {"channel": channel, "parent": number, "text": "Dear"})
        for name, what in (("draft.list", "drafts"), ("saved.list", "saved")):
            first = await alice.call(name, {"limit": 3, "total": True})
            rest = await alice.call(name, {"limit": 3, "cursor": first["next"]})
            back = await alice.call(name, {"limit": 3, "cursor": rest["previous"]})
            assert (first["total"], len(rest[what]), back[what]) == (4, 1, first[what])
        page = await alice.call("saved.list", {"folder": "even"})
        assert [one["message"]["text"] for one in page["saved"]] == ["4", "2"]
        assert page["folders"] == [{"folder": "", "count": 2}, {"folder": "even", "count": 2}]
