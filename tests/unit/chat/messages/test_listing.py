"""Listing: pages both ways and around, in one order, whatever is in between; and what a page asks of the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

People = Callable[..., Awaitable[list[Any]]]
NewChannel = Callable[..., Awaitable[str]]
Send = Callable[..., Awaitable[dict[str, Any]]]
Expect = Callable[..., Awaitable[Any]]


async def test_pages_lead_to_their_neighbours(
    people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """`previous` and `next` are where to go on above and below; where nothing is, they are not."""
    (alice,) = await people("alice")
    channel = await new_channel("alice")
    for n in range(1, 10):
        await send("alice", channel, f"message {n}")

    async def page(**fields: Any) -> tuple[list[int], int | None, int | None]:
        answer = await alice.call("message.list", {"channel": channel, **fields})
        return [one["seq"] for one in answer["messages"]], answer.get("previous"), answer.get("next")

    assert await page(limit=4) == ([6, 7, 8, 9], 6, None)
    assert await page(limit=4, before=6) == ([2, 3, 4, 5], 2, 5)
    assert await page(limit=4, before=2) == ([1], None, 1)
    assert await page(limit=4, after=5) == ([6, 7, 8, 9], 6, None)
    assert await page(limit=4, after=0) == ([1, 2, 3, 4], None, 4)
    assert await page(limit=4, around=5) == ([4, 5, 6, 7], 4, 7)
    assert await page(limit=3, around=5) == ([4, 5, 6], 4, 6)
    assert await page(limit=4, around=1) == ([1, 2, 3, 4], None, 4)
    assert await page(limit=4, around=99) == ([8, 9], 8, None)
    assert await page(limit=9) == (list(range(1, 10)), None, None)
    await refused(alice.call("message.list", {"channel": channel, "before": 3, "around": 3}), "invalid")


async def test_who_joins_later_sees_what_came_since(
    people: People, new_channel: NewChannel, send: Send, refused: Expect
) -> None:
    """Where the type says so: what was said before is not there for them, whichever way they ask."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice")
    await alice.call("permission.change", {"channel": channel, "features": {"history": "joined"}})
    await send("alice", channel, "before")
    await bob.call("channel.join", {"channel": channel})
    await send("alice", channel, "after", quote=1)
    page = await bob.call("message.list", {"channel": channel, "total": True})
    assert ([one["text"] for one in page["messages"]], page["total"]) == (["after"], 1)
    await refused(bob.call("message.get", {"channel": channel, "seq": 1}), "not_found")
    await refused(bob.call("message.send", {"channel": channel, "text": "x", "parent": 1}), "not_found")


async def test_a_page_asks_the_same_however_much_it_has(
    statements: list[str], people: People, new_channel: NewChannel, send: Send
) -> None:
    """Quotes, reactions, threads and pins of 60 messages take as many statements as of 3."""
    alice, bob = await people("alice", "bob")
    channel = await new_channel("alice", "bob")
    for n in range(1, 61, 3):
        await send("alice", channel, "one", **({"quote": 1} if n > 1 else {}))
        await send("bob", channel, "two", parent=n, shown=True)
        await send("bob", channel, "three")
        await bob.call("reaction.add", {"channel": channel, "seq": n, "emoji": "👍"})
        await alice.call("message.pin", {"channel": channel, "seq": n + 1})
    counts = []
    for limit in (3, 60):
        statements.clear()
        page = await alice.call("message.list", {"channel": channel, "limit": limit})
        counts.append(len(statements))
        assert len(page["messages"]) == limit
    assert counts[0] == counts[1] <= 9, statements
