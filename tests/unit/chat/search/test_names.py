"""Finding channels and users by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backchannel.testing import Sandbox

People = Callable[..., Awaitable[list[Any]]]
Make = Callable[..., Awaitable[Any]]


async def test_channels_by_name_and_topic(box: Sandbox, people: People, new_channel: Make) -> None:
    """Words of name and topic find a channel, the last one unfinished; a changed name counts at once."""
    tea = await new_channel("alice", name="Green Tea")
    await new_channel("alice", name="Coffee")
    box.store.writer.execute("UPDATE chat_channels SET topic = 'leaves and water' WHERE channel = ?", (tea,))
    (bob,) = await people("bob")
    for q in ("tea", "gre", "TÉA gr", "leav", "in: tea"[4:]):
        page = await bob.call("channel.search", {"q": q, "total": True})
        assert [(hit["channel"], hit["name"]) for hit in page["channels"]] == [(tea, "Green Tea")], q
        assert page["total"] == 1
    box.store.writer.execute("UPDATE chat_channels SET name = 'Black Tea' WHERE channel = ?", (tea,))
    assert (await bob.call("channel.search", {"q": "green"}))["channels"] == []


async def test_channels_that_one_may_know_of(people: People, new_channel: Make, operate: Make) -> None:
    """Private channels are found by their members alone, and by the server-side API."""
    public, private = await new_channel("alice", name="Tea"), await new_channel("alice", name="Tea too", public=False)
    alice, bob = await people("alice", "bob")

    async def found(client: Any, **more: Any) -> set[str]:
        page = await client.call("channel.search", {"q": "tea", **more})
        return {hit["channel"] for hit in page["channels"]}

    assert await found(alice) == {public, private}
    assert await found(bob) == {public}
    assert await found(bob, joined=True) == set()
    assert await found(alice, joined=False) == set()
    hits = (await operate("channel.search", {"q": "tea"}))["channels"]
    assert {hit["channel"] for hit in hits} == {public, private}


async def test_pages_of_names(people: People, new_channel: Make, refused: Make) -> None:
    """Each is found once, page by page; the total is told on request."""
    made = {await new_channel("alice", name=f"Tea {number}") for number in range(7)}
    (alice,) = await people("alice")
    found: list[str] = []
    cursor = None
    while cursor is not None or not found:
        page = await alice.call("channel.search", {"q": "tea", "limit": 3, "cursor": cursor, "total": True})
        assert page["total"] == 7
        found += [hit["channel"] for hit in page["channels"]]
        cursor = page.get("next")
    assert len(found) == 7
    assert set(found) == made
    await refused(alice.call("channel.search", {"q": "?!"}), "invalid", reason="search")
    await refused(alice.call("channel.search", {"q": "tea", "cursor": "Wy01XQ"}), "invalid")


@pytest.fixture
async def known(box: Sandbox) -> None:
    """Some users with names."""
    for user, name, gone in (("alice", "Alice Ames", None), ("bob", "Bob Ames", None), ("carol", "Carol", 1)):
        box.store.writer.execute(
            "INSERT INTO chat_profiles (app, user, name, created, changed, deactivated) VALUES ('main', ?, ?, 1, 1, ?)",
            (user, name, gone),
        )


@pytest.mark.usefixtures("known")
async def test_users_by_name_and_id(people: People, new_channel: Make) -> None:
    """Words of the name and the id find a user, the last one unfinished; who is deactivated is not found."""
    (eve,) = await people("eve")

    async def found(q: str, **more: Any) -> list[str]:
        page = await eve.call("user.search", {"q": q, **more})
        return sorted(hit["user"] for hit in page["users"])

    assert await found("ames") == ["alice", "bob"]
    assert await found("am al") == []
    assert await found("ames al") == ["alice"]
    assert await found("bo") == ["bob"]
    assert await found("carol") == []
    channel = await new_channel("bob", "eve")
    assert await found("ames", channel=channel) == ["bob"]


@pytest.mark.usefixtures("known")
async def test_who_is_blocked_is_not_found(box: Sandbox, people: People, operate: Make) -> None:
    """A block hides both from each other, and from nobody else."""
    box.store.writer.execute("INSERT INTO chat_blocks (app, user, blocked, time) VALUES ('main', 'alice', 'bob', 1)")
    alice, bob, eve = await people("alice", "bob", "eve")
    for client, expected in ((alice, ["alice"]), (bob, ["bob"]), (eve, ["alice", "bob"])):
        page = await client.call("user.search", {"q": "ames"})
        assert sorted(hit["user"] for hit in page["users"]) == expected
    assert len((await operate("user.search", {"q": "ames"}))["users"]) == 2


@pytest.mark.usefixtures("known")
async def test_members_of_a_channel_that_one_may_not_see(people: People, new_channel: Make, refused: Make) -> None:
    """Whose members one may not list, their members one may not search."""
    channel = await new_channel("bob", public=False)
    (eve,) = await people("eve")
    await refused(eve.call("user.search", {"q": "ames", "channel": channel}), "not_found")
