"""Erasing a user on both kinds of database, across a restart of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from backchannel.chat import app
from backchannel.chat.data.erasing import erase_users
from backchannel.chat.tables import metadata
from backchannel.server.offline import asking
from backchannel.store.opening import open_snapshot
from backchannel.store.postgres import postgres_api_keys
from backchannel.store.sqlite import sqlite_api_keys


@pytest.fixture
def door() -> str:
    """What is erased does not depend on the way to the server."""
    return "takeover"


@pytest.fixture(params=["sqlite", "postgres"])
def start(request: pytest.FixtureRequest, start_server: Callable[..., Any], door: str) -> Callable[[], Any]:
    """Starts a server, again and again on the same data, on each kind of database."""
    store = {} if request.param == "sqlite" else {"postgres": request.getfixturevalue("database_url")}
    return lambda: start_server(calls=1000.0, burst=1000, **store)


async def _as_operator(server: Any, name: str, data: dict[str, Any]) -> Any:
    settings = server.server.settings
    keys = await postgres_api_keys(settings.postgres) if settings.postgres else sqlite_api_keys(settings.database)
    try:
        secret = (await keys.create("test"))[1]
    finally:
        await keys.close()
    async with httpx2.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {secret}"}) as client:
        answer = await client.post(f"/v1/{name}", json=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _traces(settings: Any, word: str) -> set[str]:
    """The tables of chat that have a word in any column."""
    found = set()
    async with open_snapshot(settings, app.migrations) as reader:
        for table in metadata.sorted_tables:
            if any(word in str(value) for row in await reader.rows(sa.select(table)) for value in row):
                found.add(table.name)
    return found


@pytest.mark.parametrize("messages", ["anonymise", "delete"])
async def test_an_erasing_outlives_the_process_that_was_asked(start: Callable[[], Any], messages: str) -> None:
    """Asked while the server runs, done by a later process: no table of chat names the user, others keep theirs."""
    async with start() as server:
        ursula, bob = await server.wire("ursula"), await server.wire("bob")
        made = {"name": "Tea", "members": ["bob"], "public": False}
        channel = (await ursula.call("channel.create", made))["channel"]
        for number in range(250):  # more than one step takes
            await ursula.call("message.send", {"channel": channel, "text": f"marmalade {number}"})
        await bob.call("message.send", {"channel": channel, "text": "his"})
        await ursula.call("reaction.add", {"channel": channel, "seq": 251, "emoji": "🎈"})
        await ursula.call("profile.update", {"name": "Ursula"})
        await ursula.call("draft.save", {"channel": channel, "text": "soon"})
        erasure = await _as_operator(server, "user.erase", {"user": "ursula", "messages": messages})
        settings = server.server.settings
    assert await _traces(settings, "ursula") != set()
    async with asking(app, settings) as publisher:
        await erase_users(publisher)
    async with start() as server:
        assert "finished" in await _as_operator(server, "erasure.get", {"id": erasure["id"]})
        bob = await server.wire("bob")
        page = await bob.call("message.list", {"channel": channel, "limit": 200})
        assert page["messages"][-1]["text"] == "his"
        found = await bob.call("message.search", {"q": "marmalade", "total": True})
        assert found["total"] == (250 if messages == "anonymise" else 0)
    for word in ("ursula", "Ursula", *(["marmalade"] if messages == "delete" else [])):
        assert await _traces(settings, word) == set()
