"""Changes since: what a client missed in many channels at once, as it is now, or that it cannot be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
NewChannel = Callable[..., Awaitable[str]]
Send = Callable[..., Awaitable[dict[str, Any]]]


async def changes(client: Any, positions: dict[str, Any], **more: Any) -> dict[str, dict[str, Any]]:
    """The answers by channel, in the order of the question."""
    answers = (await client.call("changes.list", {"positions": positions, **more}))["channels"]
    assert [one["channel"] for one in answers] == list(positions)
    return {one["channel"]: one for one in answers}


def seqs(answer: dict[str, Any]) -> list[int]:
    """The messages of an answer."""
    return [one["seq"] for one in answer.get("messages", [])]


async def begin(client: Any, *channels: str) -> dict[str, Any]:
    """Where each channel is now."""
    return {name: one["position"] for name, one in (await changes(client, dict.fromkeys(channels))).items()}


async def test_without_a_position(people: People, new_channel: NewChannel, send: Send) -> None:
    """A channel that is not known yet answers with itself, its counts, and where to go on."""
    (bob,) = await people("bob")
    channel = await new_channel("alice", "bob")
    await send("alice", channel)
    one = (await changes(bob, {channel: None}))[channel]
    assert (one["verdict"], one["unread"]["unread"], one["info"]["name"]) == ("gap", 1, "Tea")
    again = (await changes(bob, {channel: one["position"]}))[channel]
    assert again == {"channel": channel, "verdict": "complete", "position": one["position"], "unread": one["unread"]}


async def test_everything_as_it_is_now(people: People, new_channel: NewChannel, send: Send) -> None:
    """Messages come once, however often they changed, with what hangs on them; deleted ones say nothing; members who
    came, left, read or changed; the channel, if it changed; counts always."""
    alice, bob, carol = await people("alice", "bob", "carol")
    channel, quiet = await new_channel("alice", "bob"), await new_channel("alice", "bob")
    for text in ("one", "two", "three"):
        await send("alice", channel, text)
    since = await begin(bob, channel, quiet)
    for n in range(3):
        await alice.call("message.edit", {"channel": channel, "seq": 1, "text": f"edited {n}"})
    await alice.call("message.delete", {"channel": channel, "seq": 2})
    await carol.call("channel.join", {"channel": channel})
    await carol.call("reaction.add", {"channel": channel, "seq": 3, "emoji": "+1"})
    await carol.call("receipt.mark", {"channel": channel, "read": 3})
    await send("alice", channel, "four")
    await alice.call("channel.update", {"channel": channel, "topic": "news"})
    found = await changes(bob, since)
    one = found[channel]
    assert one["verdict"] == "complete"
    assert seqs(one) == [1, 2, 3, 4]
    assert [(m["text"], m.get("deleted") is not None) for m in one["messages"]] == [
        ("edited 2", False), ("", True), ("three", False), ("four", False),
    ]  # fmt: skip
    assert one["messages"][2]["reactions"] == [{"emoji": "+1", "count": 1}]
    (member,) = one["members"]
    assert (member["user"], member["role"], member["read"]) == ("carol", "member", 3)
    assert (one["info"]["topic"], one["info"]["members"]) == ("news", 3)
    assert one["unread"]["unread"] == 3
    assert found[quiet] == {
        "channel": quiet,
        "verdict": "complete",
        "position": since[quiet],
        "unread": {"channel": quiet},
    }
    await carol.call("channel.leave", {"channel": channel})
    left = (await changes(bob, {channel: one["position"]}))[channel]
    assert left["members"] == [{"user": "carol"}]


async def test_more_than_fits(people: People, new_channel: NewChannel, send: Send) -> None:
    """With more than the limit a channel answers with a part and where to go on; asked so, everything comes once."""
    (bob,) = await people("bob")
    channel, other = await new_channel("alice", "bob"), await new_channel("alice", "bob")
    since = await begin(bob, channel, other)
    for _ in range(7):
        await send("alice", channel)
    told: list[int] = []
    verdicts: list[str] = []
    while not verdicts or verdicts[-1] == "more":
        one = (await changes(bob, since, limit=6))[channel]
        told += seqs(one)
        verdicts.append(one["verdict"])
        since[channel] = one["position"]
    assert told == [1, 2, 3, 4, 5, 6, 7]
    assert verdicts == ["more", "more", "complete"]


async def test_gaps_are_of_one_channel(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """What the log does not hold any more, or another epoch's position, is a gap of that channel alone."""
    (bob,) = await people("bob")
    trimmed, renewed, ahead, fine = [await new_channel("alice", "bob") for _ in range(4)]
    since = await begin(bob, trimmed, renewed, ahead, fine)
    for channel in since:
        for _ in range(3):
            await send("alice", channel)
    last = since[trimmed]["offset"] + 1
    box.store.writer.execute("DELETE FROM events WHERE channel = ? AND offset <= ?", (trimmed, last))
    box.store.writer.execute("UPDATE heads SET first = ? WHERE channel = ?", (last + 1, trimmed))
    since[renewed] = {**since[renewed], "epoch": "another"}
    since[ahead] = {**since[ahead], "offset": 99}
    found = await changes(bob, since)
    assert {name: one["verdict"] for name, one in found.items()} == {
        trimmed: "gap", renewed: "gap", ahead: "gap", fine: "complete",
    }  # fmt: skip
    assert seqs(found[fine]) == [1, 2, 3]
    assert all(found[name]["unread"]["unread"] == 3 for name in since)
    after = await changes(bob, {name: one["position"] for name, one in found.items()})
    assert {one["verdict"] for one in after.values()} == {"complete"}


async def test_what_is_not_ones_own(
    box: Sandbox, people: People, new_channel: NewChannel, send: Send, operate: Any
) -> None:
    """Channels that are not there, private, left or banned from all look the same; what is hidden, shadowed or older
    than the membership is not told."""
    bob, eve = await people("bob", "eve")
    channel, private = await new_channel("alice", "bob"), await new_channel("alice", public=False)
    since = await begin(bob, channel)
    for _ in range(2):
        await send("alice", channel)
    await bob.call("message.hide", {"channel": channel, "seqs": [1]})
    assert seqs((await changes(bob, since))[channel]) == [2]
    position = since[channel]
    nothing = {"verdict": "none"}
    found = await changes(eve, {channel: position, private: position, "chat:nowhere": position})
    assert found == {name: {"channel": name, **nothing} for name in found}
    await bob.call("channel.leave", {"channel": channel})
    assert (await changes(bob, since))[channel] == {"channel": channel, **nothing}
    assert seqs((await operate("changes.list", {"positions": since}))["channels"][0]) == [1, 2]


async def test_history_before_joining_is_not_told(
    people: People, new_channel: NewChannel, send: Send, operate: Any
) -> None:
    """Where who joins sees nothing older, a position from before is a gap, and the log's older part stays unread."""
    (bob,) = await people("bob")
    channel = await new_channel("alice")
    await operate("permission.change", {"channel": channel, "features": {"history": "joined"}})
    before = (await operate("changes.list", {"positions": {channel: None}}))["channels"][0]["position"]
    await send("alice", channel)
    await bob.call("channel.join", {"channel": channel})
    one = (await changes(bob, {channel: before}))[channel]
    assert (one["verdict"], seqs(one)) == ("gap", [])
    await send("alice", channel)
    assert seqs((await changes(bob, {channel: one["position"]}))[channel]) == [2]


async def test_statements_do_not_grow_with_channels(
    statements: list[str], people: People, new_channel: NewChannel, send: Send
) -> None:
    """One channel or sixty, with as much to tell in each: the same number of statements."""
    (bob,) = await people("bob")
    made = [await new_channel("alice", "bob") for _ in range(60)]
    since = await begin(bob, *made)
    for channel in made:
        await send("alice", channel)
    counted: list[int] = []
    for few in (1, 60):
        statements.clear()
        found = await changes(bob, {name: since[name] for name in made[:few]})
        assert [seqs(one) for one in found.values()] == [[1]] * few
        counted.append(len(statements))
    assert counted[0] == counted[1] <= 12, statements
