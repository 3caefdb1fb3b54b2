"""A user's own export: all that is kept of them, and nothing of others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel import chat
from backchannel.chat.data.ledger import LEDGER, name_of
from backchannel.testing import Sandbox


async def _all(ask: Callable[..., Awaitable[Any]], **fields: Any) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await ask("user.export", {**fields, **({"cursor": cursor} if cursor else {})})
        records += page["records"]
        cursor = page.get("next")
        if cursor is None:
            return records


async def test_all_that_is_ones_own(box: Sandbox, lived: Callable[[], Awaitable[str]]) -> None:
    """Each row in which the user's name says that it is theirs comes once, from every table that has such."""
    await lived()
    ursula = await box.client("ursula")
    records = await _all(ursula.call, limit=7)
    for entry in LEDGER:
        if not entry.mine:
            continue
        mine = sa.or_(*(entry.table.c[column] == "ursula" for column in entry.mine))
        wanted = len(box.rows(sa.select(entry.table).where(mine)))
        got = [record["row"] for record in records if record["table"] == name_of(entry)]
        assert len(got) == wanted, entry.table.name
        assert all("ursula" in row.values() for row in got)
    assert {"profiles", "devices", "members", "messages", "reactions", "drafts", "reports", "uploads"} <= {
        record["table"] for record in records
    }


async def test_nothing_that_one_must_not_know(box: Sandbox, lived: Callable[[], Awaitable[str]]) -> None:
    """Neither who shadowed or reported the user, nor what signs files, nor what others said."""
    await lived()
    ursula = await box.client("ursula")
    for record in await _all(ursula.call):
        assert not {"shadow", "shadowed", "secret", "app"} & set(record["row"])
        assert record["table"] not in ("restraints", "cases")
        assert record["table"] != "messages" or record["row"]["user"] == "ursula"


async def test_who_may_export(
    box: Sandbox, operate: Any, refused: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users their own, unless the app says no; operators anybody's."""
    alice = await box.client("alice")
    await alice.call("profile.update", {"name": "Alice"})
    own = await _all(alice.call)
    assert (own[0]["table"], own[0]["row"]["name"]) == ("profiles", "Alice")
    assert await _all(alice.call, user="alice") == own == await _all(operate, user="alice")
    await refused(alice.call("user.export", {"user": "bob"}), "forbidden", reason="operators")
    await refused(operate("user.export"), "invalid", reason="user")
    await refused(alice.call("user.export", {"cursor": "WzBd"}), "invalid")
    await refused(alice.call("user.export", {"cursor": "WzAsWzEsMl1d"}), "invalid")
    monkeypatch.setattr("backchannel.chat.data.policy._rules", chat.DataRules(export=False))
    await refused(alice.call("user.export"), "forbidden", reason="operators")


async def test_large_pages_are_cut(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """A page has as many records as were asked, or fewer where these are large; nothing is lost between two."""
    channel = await new_channel("alice", type="group")
    for _ in range(100):
        await send("alice", channel, "x" * 4000)
    page = await operate("user.export", {"user": "alice", "limit": 200})
    assert len(page["records"]) < 100
    records = await _all(operate, user="alice", limit=200)
    assert [one["row"]["seq"] for one in records if one["table"] == "messages"] == list(range(1, 101))
