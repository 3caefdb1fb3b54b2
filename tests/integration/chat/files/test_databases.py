"""What differs between databases: the same life of files on SQLite and on PostgreSQL, and tables as declared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backchannel import Server, Settings
from backchannel.chat.files import collect, links
from backchannel.chat.files.internal import AnyWishes, ClaimWishes, DoomFiles, FindDue

TEXT = b"0123456789" * 100


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A server's settings, over each database."""
    postgres = request.getfixturevalue("database_url") if request.param == "postgres" else ""
    return Settings(dev=True, port=0, data=str(tmp_path), drain=0.5, postgres=postgres)


@pytest.fixture
async def served(settings: Settings, installed: Any) -> AsyncIterator[Any]:
    """A server over it."""
    async with installed(settings) as made:
        yield made


async def test_the_life_of_files(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploaded by many at once, attached, seen by those who may, listed in pages, deleted, collected."""
    alice, bob, carol = (served.person(name) for name in ("alice", "bob", "carol"))
    ids = await asyncio.gather(*[alice.upload(TEXT, f"{n}.txt") for n in range(6)])
    info = await alice.call("channel.create", name="Tea", members=["bob"], public=False)
    channel = info["channel"]
    sent = await asyncio.gather(
        *[alice.call("message.send", channel=channel, text="look", files=[file]) for file in ids[:4]]
    )
    assert sorted(message["files"][0]["id"] for message in sent) == sorted(ids[:4])
    told = await asyncio.gather(*[bob.call("file.urls", ids=ids), carol.call("file.urls", ids=ids)])
    assert [each["id"] for each in told[0]["files"]] == ids[:4]
    assert told[1]["files"] == []
    assert (await served.http.get(told[0]["files"][0]["url"])).content == TEXT
    page = await alice.call("file.list", limit=4, total=True)
    rest = await alice.call("file.list", limit=4, cursor=page["next"])
    assert (page["total"], page["used"], len(rest["files"])) == (6, 6 * len(TEXT), 2)
    back = await alice.call("file.list", limit=4, cursor=rest["previous"])
    assert back["files"] == page["files"]
    path = await alice.begin(10)
    await asyncio.gather(*[alice.tus("PATCH", path, b"12345", upload_offset=0) for _ in range(4)])
    assert (await alice.tus("HEAD", path)).headers["upload-offset"] == "5"

    # As if all were old: those without a message are doomed, and go when they are looked at again.
    monkeypatch.setattr(collect, "GARBAGE_AGE", 0)
    server: Server = served.server
    await alice.call("file.delete", id=ids[5])
    assert (await server.call(FindDue(), user="")).files
    assert (await server.call(DoomFiles(), user="")).removed == 1
    assert (await alice.ask("GET", f"/chat/files/{ids[5]}")).status_code == 404
    assert (await bob.ask("GET", f"/chat/files/{ids[0]}")).status_code == 200


async def test_a_wish_is_one_workers_alone(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of workers that claim at once, each wish goes to one."""

    async def nothing() -> None:
        return

    monkeypatch.setattr(links, "_fetch_now", nothing)
    alice = served.person("alice")
    channel = (await alice.call("channel.create", name="Tea"))["channel"]
    for n in range(5):
        await alice.call("message.send", channel=channel, text=f"http://192.0.2.1/{n}")
    server: Server = served.server
    assert await server.call(AnyWishes(), user="")
    claims = await asyncio.gather(*[server.call(ClaimWishes(), user="") for _ in range(4)])
    assert sorted(wish.seq for claim in claims for wish in claim.wishes) == [1, 2, 3, 4, 5]
    assert not await server.call(AnyWishes(), user="")
