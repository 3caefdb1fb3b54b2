"""Sending: what a message may be, who may send it, what of it is told to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import sqlalchemy as sa

from backchannel import Struct
from backchannel.chat import message_type
from backchannel.chat.tables import messages
from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
NewChannel = Callable[..., Awaitable[str]]
Send = Callable[..., Awaitable[dict[str, Any]]]
Expect = Callable[..., Awaitable[Any]]
Operate = Callable[..., Awaitable[Any]]


@message_type("test.order")
class Order(Struct):
    """A type of the app's own."""

    number: int
    note: str = ""


def created(box: Sandbox, channel: str) -> list[dict[str, Any]]:
    """The messages that were told on a channel."""
    return [event.data for event in box.events(channel) if event.name == "message.created"]


async def test_the_event_says_what_the_answer_says(box: Sandbox, new_channel: NewChannel, send: Send) -> None:
    """Whatever a message has, its answer, its event and a later reading of it are the same; a plain one is small."""
    channel = await new_channel("alice", "bob")
    plain = await send("alice", channel, "first")
    assert plain.keys() == {"id", "channel", "seq", "user", "text", "time"}
    rich = await send(
        "alice",
        channel,
        "second",
        data={"color": "red"},
        quote=1,
        mentions={"users": ["bob"]},
        silent=True,
        expires_in=60,
    )
    assert rich["quote"] == {"seq": 1, "user": "alice", "text": "first"}
    assert rich["expires"] == rich["time"] + 60_000
    assert created(box, channel) == [plain, rich]
    alice = await box.client("alice")
    assert (await alice.call("message.list", {"channel": channel}))["messages"] == [plain, rich]
    assert await alice.call("message.get", {"channel": channel, "seq": 2}) == rich


REFUSED: Final[list[tuple[dict[str, Any], str, str | None]]] = [
    ({"text": "  "}, "invalid", "text"),
    ({"text": "x" * 4001}, "invalid", "text"),
    ({"type": "file", "text": "no file"}, "invalid", "files"),
    ({"type": "poll", "text": "what?"}, "invalid", "type"),
    ({"type": "no.such", "text": "x"}, "invalid", None),
    ({"text": "x", "type": "system"}, "forbidden", "role"),
    ({"text": "x", "data": {"big": "y" * 6000}}, "too_large", "data_size"),
    ({"text": "x", "parent": 99}, "not_found", None),
    ({"text": "x", "quote": 99}, "not_found", None),
    ({"text": "x", "only_for": "nobody"}, "not_found", "not_member"),
    ({"text": "x", "only_for": "alice", "quote": 1}, "invalid", None),
    ({"type": "test.order", "data": {"number": "one"}}, "invalid", None),
    ({"type": "test.order"}, "invalid", None),
]


async def test_what_is_refused(people: People, new_channel: NewChannel, send: Send, refused: Expect) -> None:
    """What a message may not be is refused with a reason, and takes no number."""
    channel = await new_channel("alice", "bob")
    await send("alice", channel)
    (bob,) = await people("bob")
    for fields, code, reason in REFUSED:
        await refused(bob.call("message.send", {"channel": channel, **fields}), code, reason=reason)
    assert (await send("bob", channel))["seq"] == 2


async def test_types_of_the_apps_own(new_channel: NewChannel, send: Send) -> None:
    """Their data is what they declare, with its defaults; text is up to the sender."""
    channel = await new_channel("alice")
    sent = await send("alice", channel, "", type="test.order", data={"number": 7})
    assert (sent["type"], sent["data"], sent["text"]) == ("test.order", {"number": 7, "note": ""}, "")


async def test_whom_a_channel_lets_speak(
    people: People, new_channel: NewChannel, refused: Expect, operate: Operate
) -> None:
    """A frozen channel hears moderators alone, an archived one nobody; a broadcast hears who runs it."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await alice.call("channel.freeze", {"channel": channel, "frozen": True})
    await refused(bob.call("message.send", {"channel": channel, "text": "x"}), "forbidden", reason="frozen")
    assert (await alice.call("message.send", {"channel": channel, "text": "x"}))["seq"] == 1
    await refused(bob.call("reaction.add", {"channel": channel, "seq": 1, "emoji": "👍"}), "forbidden", reason="frozen")
    await alice.call("channel.archive", {"channel": channel, "archived": True})
    await refused(alice.call("message.send", {"channel": channel, "text": "x"}), "forbidden", reason="archived")
    news = await new_channel("alice", "bob", type="broadcast")
    await refused(bob.call("message.send", {"channel": news, "text": "x"}), "forbidden", reason="role")
    assert (await alice.call("message.send", {"channel": news, "text": "x"}))["seq"] == 1
    sent = await operate("message.send", {"channel": news, "type": "system", "text": "Maintenance at noon"})
    assert (sent["user"], sent["seq"]) == ("", 2)


async def test_a_message_for_one_user(box: Sandbox, people: People, new_channel: NewChannel, send: Send) -> None:
    """It reaches that user's own channel alone, takes no number, and is not kept."""
    channel = await new_channel("alice", "bob", "carol")
    whispered = await send("alice", channel, "just for you", only_for="bob")
    assert (whispered["seq"], whispered["only_for"]) == (0, "bob")
    assert created(box, channel) == []
    assert created(box, "user:bob") == [whispered]
    assert created(box, "user:carol") == created(box, "user:alice") == []
    assert box.rows(sa.select(messages)) == []
    assert (await send("alice", channel))["seq"] == 1


async def test_forwarding(box: Sandbox, people: People, new_channel: NewChannel, send: Send, refused: Expect) -> None:
    """What is forwarded says who said it first and when; where, only if everybody may know of that channel."""
    alice, bob = await people("alice", "bob")
    secret, public = await new_channel("alice", public=False), await new_channel("alice", "bob")
    first = await send("alice", secret, "the plan", data={"n": 1})
    copy = await alice.call("message.forward", {"channel": public, "source": secret, "seq": 1})
    assert (copy["text"], copy["data"]) == ("the plan", {"n": 1})
    assert copy["forwarded"] == {"user": "alice", "time": first["time"]}
    again = await bob.call("message.forward", {"channel": public, "source": public, "seq": 1})
    assert again["forwarded"] == copy["forwarded"]
    await refused(bob.call("message.forward", {"channel": public, "source": secret, "seq": 1}), "not_found")
    await send("alice", public, "openly")
    told = await alice.call("message.forward", {"channel": secret, "source": public, "seq": 3})
    assert (told["forwarded"]["channel"], told["forwarded"]["seq"]) == (public, 3)


async def test_a_quote_shows_what_is_quoted_now(people: People, new_channel: NewChannel, send: Send) -> None:
    """It follows edits, and says nothing of what is deleted."""
    (alice,) = await people("alice")
    channel = await new_channel("alice")
    await send("alice", channel, "x" * 400)
    quote = (await send("alice", channel, "look", quote=1))["quote"]
    assert (len(quote["text"]), quote["text"][-1]) == (300, "…")

    async def quoted() -> dict[str, Any]:
        quote: dict[str, Any] = (await alice.call("message.get", {"channel": channel, "seq": 2}))["quote"]
        return quote

    await alice.call("message.edit", {"channel": channel, "seq": 1, "text": "shorter"})
    assert await quoted() == {"seq": 1, "user": "alice", "text": "shorter"}
    await alice.call("message.delete", {"channel": channel, "seq": 1})
    assert await quoted() == {"seq": 1, "user": "alice", "deleted": True}


async def test_a_shadowed_users_messages_are_seen_by_them_alone(
    box: Sandbox, people: People, new_channel: NewChannel, operate: Operate, refused: Expect
) -> None:
    """The sender sees them everywhere, nobody else anywhere; they answer, mention and react to no effect."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    await alice.call("message.send", {"channel": channel, "text": "hello"})
    await operate("shadow.add", {"channel": channel, "user": "bob"})
    sent = await bob.call(
        "message.send", {"channel": channel, "text": "spam", "parent": 1, "mentions": {"users": ["alice"]}}
    )
    assert sent["seq"] == 2
    assert [one["seq"] for one in created(box, channel)] == [1]
    assert created(box, "user:bob") == [sent]
    assert not [event for event in box.events("user:alice") if event.name == "mention.created"]
    assert await bob.call("message.get", {"channel": channel, "seq": 2}) == sent
    await refused(alice.call("message.get", {"channel": channel, "seq": 2}), "not_found")
    await refused(alice.call("message.send", {"channel": channel, "text": "x", "quote": 2}), "not_found")
    assert (await bob.call("reaction.add", {"channel": channel, "seq": 1, "emoji": "👍"}))["own"]
    first = await alice.call("message.get", {"channel": channel, "seq": 1})
    assert "reactions" not in first
    assert "thread" not in first
    assert await operate("message.get", {"channel": channel, "seq": 2}) == sent


async def test_who_sends_at_once(people: People, new_channel: NewChannel) -> None:
    """Numbers are dense, whoever sends and whatever is refused in between; a repeated key has one effect."""
    clients = await people(*(f"user{n}" for n in range(6)))
    channel = await new_channel("user0", *(f"user{n}" for n in range(1, 6)))

    async def one(n: int, client: Any) -> int | None:
        text = "" if n % 4 == 3 else f"message {n}"
        try:
            answers = await asyncio.gather(
                *(client.call("message.send", {"channel": channel, "text": text}, key=f"key-{n:06}") for _ in range(2))
            )
        except Exception:
            return None
        assert answers[0] == answers[1]
        return int(answers[0]["seq"])

    seqs = await asyncio.gather(*(one(n, clients[n % 6]) for n in range(60)))
    assert sorted(seq for seq in seqs if seq is not None) == list(range(1, 46))
