"""Finding messages: by words and filters, and only what one may see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.chat.search import messages as search
from backchannel.chat.tables import members, messages
from backchannel.testing import Sandbox
from backchannel.worker.query_context import SnapshotDatabase

People = Callable[..., Awaitable[list[Any]]]
Make = Callable[..., Awaitable[Any]]


def texts(page: dict[str, Any]) -> list[str]:
    """The texts that were found, in their order."""
    return [hit["message"]["text"] for hit in page["hits"]]


async def test_words(people: People, new_channel: Make, send: Make) -> None:
    """All words must be there, in any order and case and accents; phrases, unwanted, unfinished words."""
    channel = await new_channel("alice")
    for text in ("Green tea, please", "the GREEN house", "tea is green", "Café crème", "one.two a/b"):
        await send("alice", channel, text)
    (alice,) = await people("alice")

    async def find(q: str, **more: Any) -> list[str]:
        return texts(await alice.call("message.search", {"q": q, **more}))

    assert await find("tea green") == ["tea is green", "Green tea, please"]
    assert await find('"green tea"') == ["Green tea, please"]
    assert await find("green -tea") == ["the GREEN house"]
    assert await find("gre* hou*") == ["the GREEN house"]
    assert await find("hou") == []
    assert await find("hou", unfinished=True) == ["the GREEN house"]
    assert await find("cafe CRÈME") == ["Café crème"]
    assert await find("two b") == ["one.two a/b"]
    assert await find("nothing") == []


async def test_filters(box: Sandbox, people: People, new_channel: Make, send: Make) -> None:
    """`in`, `from`, `before`, `after` and `has` narrow what is found, as text and as fields, with or without words."""
    tea, coffee = await new_channel("alice", "bob", id="tea"), await new_channel("alice", "bob", id="coffee")
    await send("alice", tea, "old cup")
    await box.advance(1)
    day = box.now
    await box.advance(1)
    await send("bob", tea, "new cup")
    await send("bob", coffee, "a cup, see https://example.com")
    (alice,) = await people("alice")

    async def find(q: str = "", **more: Any) -> list[str]:
        return texts(await alice.call("message.search", {"q": q, **more}))

    assert await find("cup in:tea") == await find("cup", channels=[tea]) == ["new cup", "old cup"]
    assert await find("cup from:me") == await find("cup", users=["alice"]) == ["old cup"]
    assert await find("from:bob") == await find(users=["bob"]) == ["a cup, see https://example.com", "new cup"]
    assert await find("cup in:chat:tea", before=day) == ["old cup"]
    assert await find("cup", after=day) == ["a cup, see https://example.com", "new cup"]
    assert await find("cup before:2030-01-01T00:00:00") == []
    assert await find("has:link") == await find(has=["link"]) == ["a cup, see https://example.com"]
    assert await find("has:link has:file") == []


async def test_hits_tell_what_was_found(people: People, new_channel: Make, send: Make) -> None:
    """A hit is the message, and an excerpt in which every second piece is what was found."""
    channel = await new_channel("alice")
    message = await send("alice", channel, "Ménage à tea, with tea")
    (alice,) = await people("alice")
    (hit,) = (await alice.call("message.search", {"q": "menage te*"}))["hits"]
    assert hit["message"]["id"] == message["id"]
    assert hit["excerpt"] == ["", "Ménage", " à ", "tea", ", with ", "tea", ""]


async def test_only_what_one_may_see(box: Sandbox, people: People, new_channel: Make, send: Make) -> None:
    """Neither other channels, nor what was said before one's time, nor what is shadowed, hidden, deleted or expired."""
    ours, theirs = await new_channel("alice", "bob"), await new_channel("alice", public=False)
    await send("alice", theirs, "cup elsewhere")
    sent = {
        text: await send("alice", ours, f"cup {text}") for text in ("early", "shadow", "deleted", "expired", "fine")
    }
    alice, bob, eve = await people("alice", "bob", "eve")

    async def find(client: Any, **more: Any) -> list[str]:
        return texts(await client.call("message.search", {"q": "cup", **more}))

    def change(table: sa.Table, key: dict[str, Any], **values: Any) -> None:
        where = [table.c[name] == value for name, value in key.items()]
        box.store.writer.execute(
            str(
                sa.update(table)
                .where(*where)
                .values(**values)
                .compile(compile_kwargs={"literal_binds": True}, dialect=sa.create_engine("sqlite://").dialect)
            )
        )

    assert await find(bob) == [f"cup {text}" for text in ("fine", "expired", "deleted", "shadow", "early")]
    change(members, {"channel": ours, "user": "bob"}, history_from=sent["early"]["seq"])
    for text, values in (("shadow", {"shadow": True}), ("deleted", {"deleted": 1}), ("expired", {"expires": 1})):
        change(messages, {"channel": ours, "seq": sent[text]["seq"]}, **values)
    assert await find(bob) == ["cup fine"]
    assert await find(bob, channels=[ours], total=True) == ["cup fine"]
    assert await find(alice) == ["cup fine", "cup shadow", "cup early", "cup elsewhere"]
    assert await find(eve) == []


async def test_other_channels_are_refused_by_name(people: People, new_channel: Make, send: Make, refused: Make) -> None:
    """Naming a channel that one may not read is refused; a private one is not even there."""
    public, private = await new_channel("alice"), await new_channel("alice", public=False)
    (eve,) = await people("eve")
    await refused(eve.call("message.search", {"q": "cup", "channels": [public]}), "forbidden", reason="not_member")
    await refused(eve.call("message.search", {"q": f"cup in:{private}"}), "not_found")


async def test_the_server_side_api_finds_everything(new_channel: Make, send: Make, operate: Make) -> None:
    """An operator finds in all channels, or in those that are named."""
    one, two = await new_channel("alice"), await new_channel("bob", public=False)
    await send("alice", one, "a cup")
    await send("bob", two, "two cups, one cup")
    assert texts(await operate("message.search", {"q": "cup"})) == ["two cups, one cup", "a cup"]
    assert texts(await operate("message.search", {"q": "cup", "channels": [one]})) == ["a cup"]


@pytest.mark.parametrize("q", ["", "   ", "-cup", "!?", "before:2030-01-01"])
async def test_nothing_to_find_by_is_refused(people: People, refused: Make, q: str) -> None:
    """Without a word, channel, user or thing to find by, there is nothing that an index could answer."""
    (alice,) = await people("alice")
    error = await refused(alice.call("message.search", {"q": q}), "invalid", reason="search")
    assert "from:" in error.message


@pytest.mark.parametrize("sort", ["newest", "best"])
async def test_pages_hold_every_hit_once(people: People, new_channel: Make, send: Make, sort: str) -> None:
    """Page by page each message comes once, also while others are sent; the total is told on request."""
    channel = await new_channel("alice")
    sent = [await send("alice", channel, "cup " * (1 + number % 3)) for number in range(11)]
    (alice,) = await people("alice")
    found: list[int] = []
    cursor = None
    while True:
        page = await alice.call(
            "message.search", {"q": "cup", "sort": sort, "limit": 4, "cursor": cursor, "total": True}
        )
        assert page["total"] >= 11
        found += [hit["message"]["seq"] for hit in page["hits"]]
        cursor = page.get("next")
        if cursor is None:
            break
        await send("alice", channel, "cup and more")
    assert sorted(found) == [message["seq"] for message in sent]
    if sort == "newest":
        assert found == sorted(found, reverse=True)


async def test_the_best_come_first(people: People, new_channel: Make, send: Make) -> None:
    """Sorted by `best`, a message that is more about the words comes before a newer one that mentions them."""
    channel = await new_channel("alice")
    await send("alice", channel, "cup cup cup")
    await send("alice", channel, "among many other words that are here there is a cup, too, somewhere")
    (alice,) = await people("alice")
    page = await alice.call("message.search", {"q": "cup", "sort": "best"})
    assert texts(page)[0] == "cup cup cup"


async def test_a_cursor_of_another_query_is_refused(people: People, new_channel: Make, refused: Make) -> None:
    """What is no cursor of this query is refused, rather than read as one."""
    await new_channel("alice")
    (alice,) = await people("alice")
    await refused(alice.call("message.search", {"q": "cup", "cursor": "bm9uZQ"}), "invalid")


async def test_a_request_looks_at_so_many_matches_and_no_more(
    monkeypatch: pytest.MonkeyPatch, people: People, new_channel: Make, send: Make
) -> None:
    """Where one may see few of the matches, pages are short but not the last: further ones are found behind them."""
    monkeypatch.setattr(search, "_LOOKED_AT", 3)
    monkeypatch.setattr(search, "_NAMED", 0)
    ours, theirs = await new_channel("alice", "bob"), await new_channel("alice")
    await send("bob", ours, "cup first")
    for number in range(7):
        await send("alice", theirs, f"cup {number}")
    (bob,) = await people("bob")
    pages, found, cursor = 0, [], None
    while pages == 0 or cursor is not None:
        page = await bob.call("message.search", {"q": "cup", "cursor": cursor})
        found += texts(page)
        cursor = page.get("next")
        pages += 1
    assert (found, pages) == (["cup first"], 3)


async def test_what_a_channel_does_not_offer(
    people: People, new_channel: Make, send: Make, refused: Make, box: Sandbox
) -> None:
    """Where search is off, nothing is found, and by name it is refused; however many channels one has."""
    on, off = await new_channel("alice"), await new_channel("alice")
    box.store.writer.execute(
        "UPDATE chat_channels SET rules = ? WHERE channel = ?", ('{"features": {"search": false}}', off)
    )
    await send("alice", on, "cup on")
    await send("alice", off, "cup off")
    (alice,) = await people("alice")
    assert texts(await alice.call("message.search", {"q": "cup"})) == ["cup on"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_NAMED", 0)
        assert texts(await alice.call("message.search", {"q": "cup"})) == ["cup on"]
    await refused(alice.call("message.search", {"q": "cup", "channels": [off]}), "forbidden", reason="feature")


async def test_the_index_follows_the_rows(box: Sandbox, people: People, new_channel: Make, send: Make) -> None:
    """What a message says now is what it is found by; a row that goes is not found any more."""
    channel = await new_channel("alice")
    first, second = await send("alice", channel, "a cup"), await send("alice", channel, "a cup as well")
    (alice,) = await people("alice")
    writer = box.store.writer
    writer.execute("UPDATE chat_messages SET text = 'a mug' WHERE seq = ?", (first["seq"],))
    assert texts(await alice.call("message.search", {"q": "mug"})) == ["a mug"]
    assert texts(await alice.call("message.search", {"q": "cup"})) == ["a cup as well"]
    writer.execute("DELETE FROM chat_messages WHERE seq = ?", (second["seq"],))
    assert texts(await alice.call("message.search", {"q": "cup"})) == []
    # FTS5 compares all that it holds with what it should hold.
    writer.execute("DELETE FROM chat_messages")
    assert writer.execute("SELECT count(*) FROM chat_message_docs").fetchone() == (0,)
    assert writer.execute(
        "SELECT count(*) FROM chat_message_words WHERE chat_message_words MATCH 'mug OR cup'"
    ).fetchone() == (0,)


async def test_an_open_room_is_searched_by_naming_it(people: People, operate: Make, send: Make) -> None:
    """Who may read an open room finds in it by its name, without being a member of anything."""
    room = (await operate("channel.create", {"name": "Plaza", "type": "open", "id": "plaza", "public": True}))[
        "channel"
    ]
    await send("alice", room, "a cup in the open")
    (eve,) = await people("eve")
    assert texts(await eve.call("message.search", {"q": "cup in:plaza"})) == ["a cup in the open"]
    assert texts(await eve.call("message.search", {"q": "cup"})) == []


async def test_statements_do_not_grow(
    monkeypatch: pytest.MonkeyPatch, people: People, new_channel: Make, send: Make
) -> None:
    """A search takes four statements (where, what, and two for what hangs on messages), one more at the end of the
    matches, and one for a total; however many channels, messages and hits there are."""
    asked: list[str] = []
    rows = SnapshotDatabase.rows

    async def counted(self: SnapshotDatabase, statement: sa.Select[Any]) -> Any:
        asked.append(str(statement))
        return await rows(self, statement)

    monkeypatch.setattr(SnapshotDatabase, "rows", counted)
    (alice,) = await people("alice")
    counts = []
    for number in range(6):
        channel = await new_channel("alice", id=f"tea{number}")
        for _ in range(5):
            await send("alice", channel, "cup")
        asked.clear()
        await alice.call("message.search", {"q": "cup", "limit": 4})
        counts.append(len(asked))
    assert max(counts) <= 4
    asked.clear()
    await alice.call("message.search", {"q": "cup", "limit": 100, "total": True})
    assert len(asked) <= 6


@pytest.mark.parametrize("named", [64, 0])
@pytest.mark.parametrize("sort", ["newest", "best"])
async def test_no_search_goes_through_all_messages(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, people: People, new_channel: Make, send: Make, named: int, sort: str
) -> None:
    """The full-text index finds, and each match is looked up by its key: nothing is scanned but what was found."""
    asked: list[sa.Select[Any]] = []
    rows = SnapshotDatabase.rows

    async def kept(self: SnapshotDatabase, statement: sa.Select[Any]) -> Any:
        asked.append(statement)
        return await rows(self, statement)

    monkeypatch.setattr(search, "_NAMED", named)
    await send("alice", await new_channel("alice"), "cup")
    (alice,) = await people("alice")
    monkeypatch.setattr(SnapshotDatabase, "rows", kept)
    await alice.call("message.search", {"q": "cup", "sort": sort, "total": True})
    dialect = sa.create_engine("sqlite://").dialect
    scanned = set()
    for statement in asked:
        text = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        plan = box.store.writer.execute(f"EXPLAIN QUERY PLAN {text}").fetchall()
        scanned |= {line.split()[1] for *_, line in plan if line.startswith("SCAN")}
    assert "chat_message_words" in scanned
    assert not [name for name in scanned if name.startswith("chat_") and name != "chat_message_words"]
