"""The list of one's channels with wishes and counts; public channels; permissions to read and to change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel import chat
from backchannel.chat.access import FOREVER
from backchannel.store.sqlite_snapshot import SqliteReader
from backchannel.testing import Sandbox
from backchannel_protocol import Refused


async def names(client: Any, **asked: Any) -> list[str]:
    """The names in one's list."""
    return [channel["name"] for channel in (await client.call("channel.list", asked))["channels"]]


async def test_the_list_is_sorted_by_activity(box: Sandbox, people: Any, new_channel: Any, send: Any) -> None:
    """Pinned ones first, then by the newest message or, without one, since when one is in; each with what is unread."""
    made = {}
    for name in "abcd":
        made[name] = await new_channel("alice", "bob", name=name)
        await box.advance(1)
    (bob,) = await people("bob")
    assert await names(bob) == ["d", "c", "b", "a"]
    await send("alice", made["b"], "one")
    await box.advance(1)
    await send("alice", made["a"], "two")
    await send("bob", made["a"], "mine")
    await bob.call("channel.wish", {"channel": made["c"], "pinned": True})
    page = await bob.call("channel.list", {"total": True})
    assert [channel["name"] for channel in page["channels"]] == ["c", "a", "b", "d"]
    assert page["total"] == 4
    by_name = {channel["name"]: channel for channel in page["channels"]}
    assert by_name["a"]["mine"]["unread"] == by_name["b"]["mine"]["unread"] == 1
    assert (by_name["a"]["last"]["text"], by_name["a"]["last_seq"]) == ("mine", 2)
    assert "last" not in by_name["d"]
    assert await names(bob, unread=True) == ["a", "b"]
    assert await names(bob, sort="name") == ["a", "b", "c", "d"]


@pytest.mark.parametrize("sort", ["activity", "name"])
async def test_pages_of_the_list_join_both_ways(people: Any, new_channel: Any, sort: str) -> None:
    """Forwards to the end and back to the beginning, every channel comes once, in one order."""
    for n in range(11):
        await new_channel("alice", name=f"n{n % 3}")
    (alice,) = await people("alice")
    (whole,) = [await alice.call("channel.list", {"sort": sort})]
    order = [channel["channel"] for channel in whole["channels"]]
    assert len(set(order)) == 11
    seen: list[str] = []
    pages: list[list[str]] = []
    cursor = None
    while True:
        page = await alice.call("channel.list", {"sort": sort, "limit": 4, "cursor": cursor})
        pages.append([channel["channel"] for channel in page["channels"]])
        seen += pages[-1]
        last = page
        if (cursor := page.get("next")) is None:
            break
    assert seen == order
    for expected in reversed(pages[:-1]):
        last = await alice.call("channel.list", {"sort": sort, "limit": 4, "cursor": last["previous"]})
        assert [channel["channel"] for channel in last["channels"]] == expected
    assert "previous" not in last


async def test_filters_of_the_list(people: Any, new_channel: Any) -> None:
    """By type, role, name and wish; several at once."""
    await new_channel("alice", "bob", name="Green Tea")
    await new_channel("bob", "alice", name="Black tea", type="broadcast")
    coffee = await new_channel("bob", "alice", name="100% Coffee")
    (alice,) = await people("alice")
    await alice.call("channel.wish", {"channel": coffee, "muted": True, "archived": True})
    assert sorted(await names(alice, name="TEA")) == ["Black tea", "Green Tea"]
    assert await names(alice, name="%") == ["100% Coffee"]
    assert await names(alice, types=["broadcast"]) == ["Black tea"]
    assert await names(alice, roles=["owner"]) == ["Green Tea"]
    assert await names(alice, name="tea", roles=["member"]) == ["Black tea"]
    for wish in ("muted", "archived"):
        assert await names(alice, **{wish: True}) == ["100% Coffee"]
        assert len(await names(alice, **{wish: False})) == 2
    assert await names(alice, pinned=True) == []
    assert (await alice.call("channel.list", {"name": "tea", "total": True, "limit": 1}))["total"] == 2


async def test_a_hidden_channel_comes_back(people: Any, new_channel: Any, send: Any) -> None:
    """With the next message, unless it is to stay hidden; hiding it again hides it again."""
    channel = await new_channel("alice", "bob")
    (bob,) = await people("bob")
    await send("alice", channel)

    async def hide(**how: Any) -> Any:
        return await bob.call("channel.wish", {"channel": channel, "hidden": True, **how})

    for n in range(2):
        assert (await hide())["hidden"]
        assert (await names(bob), await names(bob, hidden=True)) == ([], ["Tea"])
        await send("alice", channel, f"again {n}")
        assert (await names(bob), await names(bob, hidden=True)) == (["Tea"], [])
        assert "hidden" not in (await bob.call("channel.get", {"channel": channel}))["info"]["mine"]
    await hide(keep_hidden=True)
    await send("alice", channel)
    assert (await names(bob), await names(bob, hidden=None)) == ([], ["Tea"])
    await bob.call("channel.wish", {"channel": channel, "hidden": False})
    assert await names(bob) == ["Tea"]


async def test_wishes_are_ones_own(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """One's own devices are told the whole, others nothing; what changes nothing is not told; outsiders have none."""
    channel = await new_channel("alice", "bob")
    bob, eve = await people("bob", "eve")
    before = len(box.events(channel))
    wishes = await bob.call("channel.wish", {"channel": channel, "muted": True, "pinned": True})
    assert wishes == {"channel": channel, "hidden": False, "archived": False, "pinned": box.now, "muted": FOREVER}
    await box.advance(1)
    assert await bob.call("channel.wish", {"channel": channel, "muted": True, "pinned": True}) == wishes
    until = box.now + 5000
    await bob.call("channel.wish", {"channel": channel, "muted": True, "muted_until": until, "pinned": False})
    told = box.events("user:bob", chat.WishesChanged)
    assert [(event.muted, event.pinned) for event in told] == [(FOREVER, wishes["pinned"]), (until, 0)]
    assert len(box.events(channel)) == before
    assert await names(bob, muted=True) == ["Tea"]
    await box.advance(6)
    assert await names(bob, muted=True) == []
    await refused(bob.call("channel.wish", {"channel": channel, "muted_until": until}), "invalid")
    await refused(eve.call("channel.wish", {"channel": channel, "hidden": True}), "forbidden", reason="not_member")


async def test_public_channels_are_found(people: Any, operate: Any, new_channel: Any, refused: Any) -> None:
    """By the beginning of their names, joined or not; private, archived and deleted ones by operators at most."""
    tea = await new_channel("alice", name="Tea")
    await new_channel("alice", name="teapots")
    await new_channel("alice", name="Tea for two", public=False)
    (bob,) = await people("bob")
    await bob.call("channel.join", {"channel": tea})

    async def found(**asked: Any) -> list[str]:
        return [channel["name"] for channel in (await bob.call("channel.find", asked))["channels"]]

    assert await found() == ["Tea", "teapots"]
    assert (await found(name="TEAP"), await found(name="pots")) == (["teapots"], [])
    assert (await found(joined=True), await found(joined=False)) == (["Tea"], ["teapots"])
    page = await bob.call("channel.find", {"limit": 1, "total": True})
    assert (page["total"], page["channels"][0]["joined"]) == (2, True)
    second = await bob.call("channel.find", {"limit": 1, "cursor": page["next"]})
    assert (second["channels"][0]["name"], second["channels"][0]["joined"]) == ("teapots", False)
    back = await bob.call("channel.find", {"limit": 1, "cursor": second["previous"]})
    assert back["channels"] == page["channels"]
    assert (await operate("channel.find", {"total": True}))["total"] == 3
    for limit in (0, 201):
        await refused(bob.call("channel.find", {"limit": limit}), "invalid")


async def test_lists_ask_one_statement(
    people: Any, new_channel: Any, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many channels there are, a page of a list is one statement; the total is a second."""
    asked: list[object] = []
    rows = SqliteReader.rows

    async def counted(reader: SqliteReader, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        asked.append(statement)
        return await rows(reader, statement)

    monkeypatch.setattr(SqliteReader, "rows", counted)
    (alice,) = await people("alice")
    counts: list[int] = []
    for _ in range(2):
        for _ in range(5):
            await send("bob", await new_channel("alice", "bob"))
        for name, data in (("channel.list", {}), ("channel.list", {"total": True}), ("channel.find", {})):
            asked.clear()
            await alice.call(name, data)
            counts.append(len(asked))
    assert counts == [1, 2, 1] * 2


# Permissions


async def test_permissions_are_read_and_changed(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """The table tells what holds and what was changed; a change holds at once, is told, and can be taken back."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    table = await bob.call("permission.get", {"channel": channel})
    assert "message.send" in table["permissions"]["member"]
    assert (table["changed_features"], table["changed_permissions"]) == ([], {})

    def change(client: Any, **what: Any) -> Any:
        return client.call("permission.change", {"channel": channel, **what})

    await refused(change(bob, features={"reactions": False}), "forbidden", action="channel.permissions")
    new = {"permissions": {"member": {"message.send": False}, "scribe": {"message.send": True}}}
    table = await change(alice, **new, features={"max_length": 5})
    assert table["changed_permissions"] == {"member": ["message.send"], "scribe": ["message.send"]}
    assert (table["features"]["max_length"], table["changed_features"]) == (5, ["max_length"])
    await refused(
        bob.call("message.send", {"channel": channel, "text": "x"}), "forbidden", action="message.send", reason="role"
    )
    await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "scribe"})
    await bob.call("message.send", {"channel": channel, "text": "x"})
    assert await change(alice, **new) == table
    assert (await change(alice, reset=True))["changed_permissions"] == {}
    told = box.events(channel, chat.PermissionsChanged)
    assert [event.features.max_length for event in told] == [5, 4000]
    for wrong in (
        {"features": {"max_length": 0}},
        {"features": {"max_length": "long"}},
        {"features": {"tea": True}},
        {"permissions": {"owner": {"message.send": False}}},
        {"permissions": {"member": {"message.dream": True}}},
    ):
        await refused(change(alice, **wrong), "invalid")


async def test_nobody_gives_what_they_lack(people: Any, new_channel: Any, refused: Any) -> None:
    """Who may change permissions without owning the channel gives no more than they have."""
    channel = await new_channel("alice", "mia")
    alice, mia = await people("alice", "mia")
    await alice.call("member.set_role", {"channel": channel, "user": "mia", "role": "moderator"})
    allow = {"channel": channel, "permissions": {"moderator": {"channel.permissions": True}}}
    await alice.call("permission.change", allow)
    more = {"channel": channel, "permissions": {"moderator": {"channel.delete": True}}}
    await refused(mia.call("permission.change", more), "forbidden", action="channel.delete")
    less = {"channel": channel, "permissions": {"member": {"channel.freeze": True, "message.send": False}}}
    await mia.call("permission.change", less)


async def test_losing_the_right_to_read_ends_listening(people: Any, new_channel: Any, refused: Any) -> None:
    """Every subscription ends; who may listen again is let in, and who may not is refused."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    async with bob.subscribe(channel) as sub:
        await alice.call("permission.change", {"channel": channel, "permissions": {"member": {"channel.read": False}}})
        assert (await anext(sub)).name == "permission.changed"
        await refused(anext(sub), "forbidden")
    with pytest.raises(Refused, match="forbidden"):
        async with bob.subscribe(channel) as sub:
            await anext(sub)
    async with alice.subscribe(channel):
        pass


async def test_a_type_is_changed_for_all_its_channels(
    people: Any, operate: Any, new_channel: Any, refused: Any
) -> None:
    """Those there are and those to come; a channel's own rules stand above it; only operators may."""
    first = await new_channel("alice", "bob")
    other = await new_channel("alice", type="broadcast")
    alice, bob = await people("alice", "bob")
    await alice.call("permission.change", {"channel": first, "features": {"max_files": 1}})
    await refused(alice.call("permission.change_type", {"type": "group"}), "forbidden")
    await refused(operate("permission.change_type", {"type": "tea"}), "invalid")
    changed = {"features": {"max_length": 7, "max_files": 2}, "permissions": {"member": {"message.pin": False}}}
    table = await operate("permission.change_type", {"type": "group", **changed})
    assert table["changed_features"] == ["max_length", "max_files"]
    assert await bob.call("permission.get_type", {"type": "group"}) == table
    second = await new_channel("alice")
    for channel, files in ((first, 1), (second, 2)):
        rules = await alice.call("permission.get", {"channel": channel})
        assert (rules["features"]["max_length"], rules["features"]["max_files"]) == (7, files)
        assert "message.pin" not in rules["permissions"]["member"]
    assert (await alice.call("permission.get", {"channel": other}))["features"]["max_length"] == 4000
    await refused(bob.call("message.send", {"channel": first, "text": "too long"}), "invalid")
    await operate("permission.change_type", {"type": "group", "reset": True})
    assert (await alice.call("permission.get", {"channel": second}))["features"]["max_length"] == 4000


async def test_channels_made_while_a_type_changes_have_its_rules(people: Any, operate: Any) -> None:
    """Whichever comes first, afterwards every channel of the type says what the type says."""
    clients = await people(*[f"user{n}" for n in range(6)])
    change = operate("permission.change_type", {"type": "group", "features": {"max_length": 9}})
    made = [client.call("channel.create", {"name": "Tea"}) for client in clients]
    answers = await asyncio.gather(*made[:3], change, *made[3:])
    for client, info in zip(clients, [*answers[:3], *answers[4:]], strict=True):
        rules = await client.call("permission.get", {"channel": info["channel"]})
        assert rules["features"]["max_length"] == 9
