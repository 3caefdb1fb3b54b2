"""Uploads and files as rows: room, attaching, who may see, lists, and what happens at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel import Refused
from backchannel.chat import FileLimits
from backchannel.chat.files import collect
from backchannel.chat.files.internal import AppendPiece, FinishUpload, GetUpload, OpenFile
from backchannel.chat.files.tables import files, garbage, parts, uploads, uses


async def test_size_type_quota_and_number_are_bounded(people: Any, upload: Any, bounds: Any, refused: Any) -> None:
    """What is too large, of a type that is not taken, more than the quota or too many at once is refused."""
    bounds(FileLimits(size=1000, quota=2500, uploads=2, types=("text/*", "image/png")))
    [alice] = await people("alice")

    def begin(size: int = 900, type_: str = "text/plain") -> Any:
        return alice.call("upload.create", {"name": "a", "size": size, "type": type_})

    await refused(begin(1001), "too_large", reason="size", most=1000)
    await refused(begin(1, "image/gif"), "invalid", reason="type")
    await refused(begin(0), "invalid")
    for name in ("", "a/b", "a\\b", "a\nb", "x" * 256):
        await refused(alice.call("upload.create", {"name": name, "size": 1}), "invalid")
    first = await begin()
    await begin()
    await refused(begin(), "limit_exceeded", reason="uploads")
    await alice.call("upload.cancel", {"id": first["id"]})
    await upload("alice", 900)
    await refused(begin(), "too_large", reason="quota", used=1800, quota=2500)
    await begin(700)


async def test_uploads_that_are_begun_at_once_share_the_quota(people: Any, bounds: Any) -> None:
    """Of many that would not fit together only as many as fit are begun, from all of a user's devices."""
    bounds(FileLimits(size=1000, quota=3500))
    devices = await people("alice", "alice")
    wanted = [device.call("upload.create", {"name": "a", "size": 1000}) for device in devices for _ in range(4)]
    answers = await asyncio.gather(*wanted, return_exceptions=True)
    assert sum(not isinstance(answer, Refused) for answer in answers) == 3


async def test_pieces_count_once_and_in_order(box: Any, ask: Any, people: Any, refused: Any) -> None:
    """Of pieces for one place that come at once one counts; none beyond the end; none after it is a file."""
    [alice] = await people("alice")
    begun = await alice.call("upload.create", {"name": "a", "size": 100})

    def piece(offset: int, size: int, place: str = "p") -> Any:
        return ask("alice", AppendPiece(id=begun["id"], offset=offset, size=size, place=place))

    answers = await asyncio.gather(*[piece(0, 60, f"p{n}") for n in range(4)], return_exceptions=True)
    codes = sorted(str(getattr(answer, "code", "ok")) for answer in answers)
    assert codes == ["conflict", "conflict", "conflict", "ok"]
    await refused(piece(60, 41), "too_large", reason="length")
    await refused(piece(59, 1), "conflict", reason="offset", offset=60)
    await refused(ask("alice", FinishUpload(id=begun["id"], type="a/b", size=1, digest="d")), "not_found")
    await piece(60, 40)
    state = await ask("alice", GetUpload(id=begun["id"]))
    assert [(each.offset, each.size) for each in state.pieces] == [(0, 60), (60, 40)]
    finish = FinishUpload(id=begun["id"], type="text/plain", size=100, digest="d")
    finished = await asyncio.gather(*[ask("alice", finish) for _ in range(3)])
    assert finished[0] == finished[1] == finished[2]
    await refused(piece(100, 1), "not_found")
    assert not box.rows(sa.select(uploads))
    assert not box.rows(sa.select(parts))
    assert [row.id for row in box.rows(sa.select(garbage))] == [f"uploads/{begun['id']}"]


async def test_internal_requests_are_not_for_clients(people: Any, refused: Any) -> None:
    """No client can say itself that a file is complete, or look into the storage."""
    [alice] = await people("alice")
    for name in ("upload.append", "upload.finish", "upload.get", "file.open", "file.open_signed", "preview.store"):
        await refused(alice.call(name, {"id": "x"}), "not_found")


async def test_attaching(box: Any, people: Any, upload: Any, new_channel: Any, refused: Any) -> None:
    """A message carries its files in their order; the event too; what is refused leaves nothing behind."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    first, second, other = await upload("alice"), await upload("alice", name="b.txt"), await upload("bob")

    def send(client: Any, *ids: str) -> Any:
        return client.call("message.send", {"channel": channel, "text": "look", "files": list(ids)})

    message = await send(alice, second, first)
    assert [file["id"] for file in message["files"]] == [second, first]
    [told] = [event for event in box.events(channel) if event.name == "message.created"]
    assert [file["name"] for file in told.data["files"]] == ["b.txt", "notes.txt"]
    listed = await bob.call("message.list", {"channel": channel})
    assert [file["id"] for file in listed["messages"][-1]["files"]] == [second, first]
    await refused(send(alice, other), "not_found")
    await refused(send(alice, "nothing"), "not_found")
    await refused(send(alice, first, first), "invalid")
    begun = await alice.call("upload.create", {"name": "a", "size": 1})
    await refused(send(alice, begun["id"]), "not_found")
    rows = box.rows(sa.select(uses))
    assert sorted((row.file, row.seq) for row in rows) == sorted([(first, message["seq"]), (second, message["seq"])])


async def test_attaching_follows_the_rules(people: Any, upload: Any, operate: Any, refused: Any) -> None:
    """Where the rules allow no files, or fewer, or the role may not attach, a message with them is refused."""
    alice, bob = await people("alice", "bob")
    info = await alice.call("channel.create", {"name": "Tea", "members": ["bob"]})
    channel = info["channel"]
    ids = [await upload("bob") for _ in range(11)]

    def send(*ids: str) -> Any:
        return bob.call("message.send", {"channel": channel, "text": "look", "files": list(ids)})

    await refused(send(*ids), "invalid")
    await alice.call("permission.change", {"channel": channel, "permissions": {"member": {"file.attach": False}}})
    await refused(send(ids[0]), "forbidden", action="file.attach")


async def test_a_forwarded_file_is_seen_where_it_is_forwarded_to(
    people: Any, upload: Any, new_channel: Any, ask: Any, refused: Any
) -> None:
    """Who sees a message with somebody's file may forward it; those who see it there may have the file, too."""
    here, there = await new_channel("alice", "bob"), await new_channel("bob", "carol")
    alice, bob = await people("alice", "bob")
    file = await upload("alice")
    message = await alice.call("message.send", {"channel": here, "text": "look", "files": [file]})
    await refused(ask("carol", OpenFile(id=file)), "not_found")
    await bob.call("message.forward", {"source": here, "seq": message["seq"], "channel": there})
    assert (await ask("carol", OpenFile(id=file))).size == 1000


async def test_who_joined_later_sees_what_their_history_has(
    people: Any, upload: Any, ask: Any, refused: Any, box: Any
) -> None:
    """A file of a message before the beginning of somebody's history is not theirs."""
    alice, bob = await people("alice", "bob")
    channel = (await alice.call("channel.create", {"name": "Tea"}))["channel"]
    await alice.call("permission.change", {"channel": channel, "features": {"history": "joined"}})
    old, new = await upload("alice"), await upload("alice")
    await alice.call("message.send", {"channel": channel, "text": "before", "files": [old]})
    await bob.call("channel.join", {"channel": channel})
    await alice.call("message.send", {"channel": channel, "text": "after", "files": [new]})
    await refused(ask("bob", OpenFile(id=old)), "not_found")
    assert await ask("bob", OpenFile(id=new))


async def test_my_files(people: Any, upload: Any, box: Any) -> None:
    """One's own, the newest first, in pages both ways, with a total and the room they take."""
    [alice] = await people("alice")
    made = []
    for _ in range(5):
        made.append(await upload("alice", 10))
        await box.advance(1)
    await upload("bob")
    newest = made[::-1]
    first = await alice.call("file.list", {"limit": 2, "total": True})
    assert [file["id"] for file in first["files"]] == newest[:2]
    assert (first["total"], first["used"], "previous" in first) == (5, 50, False)
    second = await alice.call("file.list", {"limit": 2, "cursor": first["next"]})
    third = await alice.call("file.list", {"limit": 2, "cursor": second["next"]})
    assert [file["id"] for page in (second, third) for file in page["files"]] == newest[2:]
    assert "next" not in third
    back = await alice.call("file.list", {"limit": 2, "cursor": third["previous"]})
    assert back["files"] == second["files"]
    back = await alice.call("file.list", {"limit": 2, "cursor": back["previous"]})
    assert back["files"] == first["files"]
    assert "previous" not in back


async def test_deleting_ones_own(people: Any, upload: Any, new_channel: Any, refused: Any) -> None:
    """A file that no message has can be removed by its owner, at once; one that is attached cannot."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    kept, gone = await upload("alice"), await upload("alice")
    await alice.call("message.send", {"channel": channel, "text": "look", "files": [kept]})
    await refused(bob.call("file.delete", {"id": gone}), "not_found")
    await refused(alice.call("file.delete", {"id": kept}), "conflict", reason="attached")
    await alice.call("file.delete", {"id": gone})
    assert [file["id"] for file in (await alice.call("file.list", {}))["files"]] == [kept]
    sent = alice.call("message.send", {"channel": channel, "text": "look", "files": [gone]})
    await refused(sent, "not_found")


@pytest.mark.parametrize("first", ["message.send", "file.delete"])
async def test_deleting_and_attaching_at_once(
    people: Any, upload: Any, new_channel: Any, box: Any, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Whoever is first: a message that was sent has its file, and keeps it."""
    monkeypatch.setattr(collect, "GARBAGE_AGE", 1000)
    channel = await new_channel("alice")
    alice, phone = await people("alice", "alice")
    file = await upload("alice")
    wanted = {
        "message.send": lambda: alice.call("message.send", {"channel": channel, "text": "look", "files": [file]}),
        "file.delete": lambda: phone.call("file.delete", {"id": file}),
    }
    names = sorted(wanted, key=lambda name: name != first)
    answers = await asyncio.gather(*[wanted[name]() for name in names], return_exceptions=True)
    sent = answers[names.index("message.send")]
    await box.advance(2 * collect.SECONDS + 1)
    left = box.rows(sa.select(files).where(files.c.id == file))
    if isinstance(sent, Refused):
        assert not left
    else:
        assert left[0].doomed is None
