"""API keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backchannel.store.api_keys import ApiKeys
from backchannel.store.postgres import postgres_api_keys
from backchannel.store.sqlite import sqlite_api_keys
from backchannel.testing.services import PostgresServer

Opener = Callable[..., Awaitable[ApiKeys]]


@pytest.fixture
async def open_keys(database: str) -> AsyncGenerator[Opener]:
    """Opens the API keys of the test's database, for an app."""
    opened: list[ApiKeys] = []

    async def open_it(app: str = "main") -> ApiKeys:
        postgres = "://" in database
        opened.append(await postgres_api_keys(database, app) if postgres else sqlite_api_keys(database, app))
        return opened[-1]

    yield open_it
    for keys in opened:
        await keys.close()


@pytest.fixture
async def keys(open_keys: Opener) -> ApiKeys:
    """The API keys of the app `main`."""
    return await open_keys()


async def test_a_key_is_found_by_what_its_holder_shows(keys: ApiKeys) -> None:
    """What `create` returned finds the key; anything else finds nothing and never raises."""
    made, shown = await keys.create("jobs")
    other, _ = await keys.create("other")
    assert await keys.find(shown) == made
    assert made.revoked is None
    prefix, key_id, secret = shown.split("_", 2)
    assert key_id == made.id
    wrong = ["", "_", "__", "bk", f"bk_{key_id}", f"bk_{key_id}_", f"xx_{key_id}_{secret}", shown + "x", shown[:-1]]
    wrong += [f"bk_{other.id}_{secret}", shown.upper(), f" {shown}", shown + "\n", "bk_ü_ü", "\x00", "bk_a_\ud800"]
    assert [await keys.find(text) for text in wrong] == [None] * len(wrong)
    assert prefix == "bk"


async def test_the_secret_is_not_kept(
    keys: ApiKeys, database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Nothing in the database holds the secret, only its hash."""
    _, shown = await keys.create("jobs")
    await keys.close()
    secret = shown.split("_", 2)[2]
    if "://" in database:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        (row,) = server.execute("SELECT to_jsonb(k)::text FROM api_keys AS k", urlsplit(database).path.strip("/"))
        assert "jobs" in row[0]
        assert secret not in row[0]
        assert secret.encode().hex() not in row[0]
        return
    files = list(tmp_path.iterdir())  # noqa: ASYNC240
    assert files
    assert not any(secret.encode() in file.read_bytes() for file in files)


async def test_a_revoked_key_is_found_no_more(keys: ApiKeys) -> None:
    """`revoke` ends a key at once and says whether it did; the key stays in the list."""
    made, shown = await keys.create("jobs")
    assert await keys.revoke(made.id)
    assert await keys.find(shown) is None
    assert not await keys.revoke(made.id)
    assert not await keys.revoke("nobody")
    (listed,) = await keys.list()
    assert (listed.id, listed.name) == (made.id, "jobs")
    assert listed.revoked is not None


async def test_keys_belong_to_their_app(keys: ApiKeys, open_keys: Opener) -> None:
    """Another app in the same database neither finds, lists nor revokes a key."""
    made, shown = await keys.create("jobs")
    others = await open_keys("other")
    assert await others.find(shown) is None
    assert await others.list() == []
    assert not await others.revoke(made.id)
    assert await keys.find(shown) == made
    assert await keys.holder(shown) == made.id
