"""Polls: votes that change, and tallies that equal the votes, whoever votes at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.chat import MessageCreated, PollChanged, PollVoted
from backchannel.chat.personal.tables import poll_votes
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
Make = Callable[..., Awaitable[Any]]


def counts(poll: Any) -> list[int]:
    """The votes of each option."""
    options = poll["options"] if isinstance(poll, dict) else [{"votes": option.votes} for option in poll.options]
    return [option["votes"] for option in options]


@pytest.fixture
def ask(box: Sandbox) -> Make:
    """Makes a poll of alice's, in a channel that she has made."""

    async def make(channel: str, **fields: Any) -> Any:
        alice = await box.client("alice")
        request = {"channel": channel, "question": "Tea?", "options": ["Green", "Black", "None"], **fields}
        return await alice.call("poll.create", request)

    return make


async def test_a_poll_is_a_message(box: Sandbox, people: People, new_channel: Make, ask: Make) -> None:
    """Its text is the question, its data what can be voted for, wherever messages are shown."""
    channel = await new_channel("alice", "bob")
    poll = await ask(channel)
    (event,) = box.events(channel, MessageCreated)
    assert (event.type, event.text, event.seq) == ("poll", "Tea?", poll["seq"])
    (bob,) = await people("bob")
    await bob.call("poll.vote", {"channel": channel, "seq": poll["seq"], "options": [2]})
    (message,) = (await bob.call("message.list", {"channel": channel}))["messages"]
    assert counts(message["data"]) == [0, 1, 0]


async def test_votes_change_and_are_told_as_they_are(
    box: Sandbox, people: People, new_channel: Make, ask: Make
) -> None:
    """A vote takes the place of the one before, none takes it back; all are told the numbers, on each change."""
    channel = await new_channel("alice", "bob")
    poll = await ask(channel)
    (bob,) = await people("bob")

    async def vote(*options: int) -> Any:
        return await bob.call("poll.vote", {"channel": channel, "seq": poll["seq"], "options": list(options)})

    for options, numbers, voters in (([1], [1, 0, 0], 1), ([3], [0, 0, 1], 1), ([3], [0, 0, 1], 1), ([], [0, 0, 0], 0)):
        answer = await vote(*options)
        assert counts(answer) == numbers
        assert (answer.get("voters", 0), answer.get("own", [])) == (voters, options)
    # The repeat told nobody anything.
    assert [counts(event) for event in box.events(channel, PollChanged)] == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert [event.own for event in box.events("user:bob", PollVoted)] == [[1], [3], []]
    (got,) = (await bob.call("poll.get", {"channel": channel, "seqs": [poll["seq"], 99]}))["polls"]
    assert counts(got) == [0, 0, 0]


async def test_several_choices(people: People, new_channel: Make, ask: Make, refused: Make) -> None:
    """As many options as the poll says, each once, and none that it has not."""
    channel = await new_channel("alice")
    poll = await ask(channel, choices=2)
    (alice,) = await people("alice")
    where = {"channel": channel, "seq": poll["seq"]}
    answer = await alice.call("poll.vote", {**where, "options": [3, 1, 3]})
    assert (counts(answer), answer["own"], answer["voters"]) == ([1, 0, 1], [1, 3], 1)
    await refused(alice.call("poll.vote", {**where, "options": [1, 2, 3]}), "invalid", reason="choices", most=2)
    await refused(alice.call("poll.vote", {**where, "options": [4]}), "invalid", reason="option")


async def test_nobody_is_told_of_an_anonymous_vote(
    box: Sandbox, people: People, new_channel: Make, ask: Make, refused: Make, operate: Make
) -> None:
    """Neither a list of voters nor the author of an event tells who voted; of other polls the list does."""
    channel = await new_channel("alice", "bob")
    secret, plain = await ask(channel, anonymous=True), await ask(channel)
    (bob,) = await people("bob")
    for poll in (secret, plain):
        await bob.call("poll.vote", {"channel": channel, "seq": poll["seq"], "options": [1]})
    changes = [event for event in box.events(channel) if event.name == "poll.changed"]
    assert [event.user for event in changes if event.user] == []
    assert "bob" not in str([event.data for event in changes])
    which = {"channel": channel, "option": 1}
    await refused(bob.call("poll.voters", {**which, "seq": secret["seq"]}), "forbidden", reason="anonymous")
    with pytest.raises(Exception, match="anonymous"):
        await operate("poll.voters", {**which, "seq": secret["seq"]})
    listed = await bob.call("poll.voters", {**which, "seq": plain["seq"], "total": True})
    assert ([voter["user"] for voter in listed["voters"]], listed["total"]) == (["bob"], 1)


async def test_options_may_be_added(people: People, new_channel: Make, ask: Make, refused: Make) -> None:
    """To an open poll by all who may vote, to another by who asked it; a second one with the same text is none."""
    channel = await new_channel("alice", "bob")
    opened, closed = await ask(channel, open=True), await ask(channel)
    alice, bob = await people("alice", "bob")
    for text in ("Mint", " mint "):
        answer = await bob.call("poll.add_option", {"channel": channel, "seq": opened["seq"], "text": text})
    assert [option["text"] for option in answer["options"]] == ["Green", "Black", "None", "Mint"]
    await bob.call("poll.vote", {"channel": channel, "seq": opened["seq"], "options": [4]})
    request = {"channel": channel, "seq": closed["seq"], "text": "Mint"}
    await refused(bob.call("poll.add_option", request), "forbidden", reason="role")
    await alice.call("poll.add_option", request)


async def test_a_poll_closes(box: Sandbox, people: People, new_channel: Make, ask: Make, refused: Make) -> None:
    """By who asked or a moderator, or by itself at its time; then nobody votes any more, and all are told."""
    channel = await new_channel("alice", "bob")
    by_hand, by_time = await ask(channel), await ask(channel, closes=box.now + 30_000)
    alice, bob = await people("alice", "bob")
    where = {"channel": channel, "seq": by_hand["seq"]}
    await refused(bob.call("poll.close", where), "forbidden", reason="role")
    for _ in range(2):
        assert (await alice.call("poll.close", where))["closed"]
    await refused(bob.call("poll.vote", {**where, "options": [1]}), "conflict", reason="closed")
    late = {"channel": channel, "seq": by_time["seq"], "options": [1]}
    await bob.call("poll.vote", late)
    await box.advance(30)
    await refused(bob.call("poll.vote", {**late, "options": [2]}), "conflict", reason="closed")
    await box.advance(11)
    told = [(event.seq, event.closed is not None) for event in box.events(channel, PollChanged)]
    assert told == [(by_hand["seq"], True), (by_time["seq"], False), (by_time["seq"], True)]


async def test_tallies_equal_the_votes_whoever_votes_at_once(
    box: Sandbox, people: People, new_channel: Make, ask: Make
) -> None:
    """Many people vote and change at the same time: numbers, rows, the last event and a fresh answer agree."""
    names = [f"user{number}" for number in range(12)]
    channel = await new_channel("alice", *names)
    poll = await ask(channel, choices=2)
    clients = await people(*names)

    async def busy(client: Any) -> None:
        for _ in range(6):
            options = box.random.sample([1, 2, 3], box.random.randrange(3))
            await client.call("poll.vote", {"channel": channel, "seq": poll["seq"], "options": options})

    await asyncio.gather(*(busy(client) for client in clients))
    rows = box.rows(sa.select(poll_votes))
    tally = Counter(row.option for row in rows)
    expected = [tally[option] for option in (1, 2, 3)]
    last = box.events(channel, PollChanged)[-1]
    (fresh,) = (await clients[0].call("poll.get", {"channel": channel, "seqs": [poll["seq"]]}))["polls"]
    assert counts(last) == counts(fresh) == expected
    assert last.voters == fresh.get("voters", 0) == len({row.user for row in rows})


async def test_what_is_refused(
    box: Sandbox, people: People, new_channel: Make, send: Make, ask: Make, refused: Make
) -> None:
    """A poll needs different options and a time to come; where one may not read, there is none."""
    channel = await new_channel("alice", "bob", public=False)
    alice, bob, eve = await people("alice", "bob", "eve")
    message = await send("alice", channel, "no poll")
    poll = await ask(channel)
    new = {"channel": channel, "question": "Tea?", "options": ["a", "b"]}
    await refused(alice.call("poll.create", {**new, "options": ["a", " A "]}), "invalid", reason="options")
    await refused(alice.call("poll.create", {**new, "closes": box.now}), "invalid", reason="closes")
    await refused(eve.call("poll.create", new), "not_found")
    await refused(eve.call("poll.vote", {"channel": channel, "seq": poll["seq"], "options": [1]}), "not_found")
    await refused(bob.call("poll.vote", {"channel": channel, "seq": message["seq"], "options": [1]}), "not_found")
    await refused(bob.call("message.send", {"channel": channel, "type": "poll", "text": "?"}), "invalid", reason="type")
    await alice.call("message.delete", {"channel": channel, "seq": poll["seq"]})
    await refused(bob.call("poll.vote", {"channel": channel, "seq": poll["seq"], "options": [1]}), "not_found")
    assert (await bob.call("poll.get", {"channel": channel, "seqs": [poll["seq"]]}))["polls"] == []
