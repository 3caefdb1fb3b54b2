"""Search over real sockets, on both kinds of database: they find the same, and follow the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from backchannel.chat.search import messages as search


@pytest.fixture
def door() -> str:
    """What is found does not depend on the way to the server."""
    return "takeover"


@pytest.fixture(params=["sqlite", "postgres"])
async def server(request: pytest.FixtureRequest, start_server: Callable[..., Any], door: str) -> AsyncIterator[Any]:
    """A server on each kind of database."""
    store = {} if request.param == "sqlite" else {"postgres": request.getfixturevalue("database_url")}
    async with start_server(**store) as running:
        yield running


async def test_both_databases_find_the_same(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words in any case, accents and script, phrases, beginnings, unwanted words, filters, pages."""
    alice = await server.wire("alice")
    channel = (await alice.call("channel.create", {"name": "Tea"}))["channel"]
    for text in (
        "Green tea, please",
        "the GREEN house",
        "tea is green",
        "Café crème",
        "ПРИВЕТ мир",
        "one.two/three_four 12:30",
        "see https://example.com/path?x=1",
        "it's \\ a 'quote' | & ! :* <-> (tea)",
        "हिन्दी 茶道 👍ok",
    ):
        await alice.call("message.send", {"channel": channel, "text": text})

    async def find(q: str, **more: Any) -> list[int]:
        page = await alice.call("message.search", {"q": q, **more})
        return [hit["message"]["seq"] for hit in page["hits"]]

    for named in (64, 0):
        monkeypatch.setattr(search, "_NAMED", named)
        for q, seqs in (
            ("tea green", [3, 1]),
            ('"green tea"', [1]),
            ("green -tea", [2]),
            ("gre* hou*", [2]),
            ("cafe CRÈME", [4]),
            ("привет", [5]),
            ("two four 30", [6]),
            ("example path", [7]),
            ("quote tea", [8]),
            ("it's", [8]),
            ("हिन्दी", [9]),
            ("茶*", [9]),
            ("ok", [9]),
            ("has:link from:me", [7]),
            ("tea from:bob", []),
            ("tea in:lobby", []),
        ):
            assert await find(q) == seqs, (named, q)
    first = await alice.call("message.search", {"q": "tea", "limit": 2, "total": True})
    assert first["total"] == 3
    rest = await find("tea", cursor=first["next"])
    assert [*(hit["message"]["seq"] for hit in first["hits"]), *rest] == [8, 3, 1]
    best = await find("green tea", sort="best")
    assert sorted(best) == [1, 3]


async def test_the_index_follows_the_rows(server: Any) -> None:
    """An edited message is found by what it says now, a deleted one not at all, a renamed channel by its new name."""
    alice = await server.wire("alice")
    channel = (await alice.call("channel.create", {"name": "Green Tea"}))["channel"]
    sent = [await alice.call("message.send", {"channel": channel, "text": f"a cup {n}"}) for n in range(3)]
    await alice.call("message.edit", {"channel": channel, "seq": sent[0]["seq"], "text": "a mug"})
    await alice.call("message.delete", {"channel": channel, "seq": sent[1]["seq"]})

    async def find(q: str) -> list[str]:
        return [hit["message"]["text"] for hit in (await alice.call("message.search", {"q": q}))["hits"]]

    assert await find("cup") == ["a cup 2"]
    assert await find("mug") == ["a mug"]
    await alice.call("channel.update", {"channel": channel, "name": "Black Tea"})
    for q, found in (("bla", [channel]), ("green", [])):
        page = await alice.call("channel.search", {"q": q, "total": True})
        assert ([hit["channel"] for hit in page["channels"]], page["total"]) == (found, len(found))
    await alice.call("profile.update", {"name": "Alïce Ämes"})
    page = await alice.call("user.search", {"q": "ames al", "channel": channel})
    assert [hit["user"] for hit in page["users"]] == ["alice"]
