"""Collecting: what nobody can have any more goes, rows and bytes; what somebody has stays."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.chat import FileLimits, app
from backchannel.chat.files import collect
from backchannel.chat.files import uploads as uploading
from backchannel.chat.files.internal import AppendPiece
from backchannel.chat.files.tables import files, garbage, parts, uploads, uses
from backchannel.testing import Sandbox

LIFE = 60
"""Seconds that what nobody has is kept in these tests."""

ROUND = 301
"""Seconds in which it is surely looked for what is to go."""


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """As everywhere, with a data folder of its own."""
    async with Sandbox(app, burst=100_000, calls=100_000, data=str(tmp_path)) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def short(bounds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is kept for a minute, and what is doomed, or garbage, for a second."""
    bounds(FileLimits(upload_lifetime=LIFE, unattached_lifetime=LIFE, deleted_lifetime=2 * ROUND))
    monkeypatch.setattr(collect, "_NEXT_LOOK", LIFE * 1000)
    for module in (collect, uploading):
        monkeypatch.setattr(module, "GARBAGE_AGE", 1000)


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    """Writes something below a place of the storage; returns its folder."""

    def write(place: str) -> Path:
        folder = tmp_path / "files" / "main" / place
        folder.mkdir(parents=True)
        (folder / "original").write_bytes(b"content")
        return folder

    return write


async def test_orphans_go_and_files_of_messages_stay(
    box: Sandbox, people: Any, upload: Any, new_channel: Any, stored: Any
) -> None:
    """A file that is attached within its time stays for good; one that is not goes, with its bytes and all rows."""
    channel = await new_channel("alice")
    [alice] = await people("alice")
    kept, orphan = await upload("alice"), await upload("alice")
    folders = [stored(f"files/{file}") for file in (kept, orphan)]
    await alice.call("message.send", {"channel": channel, "text": "look", "files": [kept]})
    await alice.close()
    await box.advance(LIFE - 1)
    assert all(folder.exists() for folder in folders)
    await box.advance(3 * ROUND)
    assert [folder.exists() for folder in folders] == [True, False]
    assert [row.id for row in box.rows(sa.select(files))] == [kept]
    assert not box.rows(sa.select(garbage))


async def test_files_of_deleted_messages_go_when_nobody_can_restore_them(
    box: Sandbox, people: Any, upload: Any, new_channel: Any
) -> None:
    """For the time in which a moderator may restore the message the file stays; then it goes."""
    channel = await new_channel("alice")
    [alice] = await people("alice")
    file = await upload("alice")
    message = await alice.call("message.send", {"channel": channel, "text": "look", "files": [file]})
    await alice.call("message.delete", {"channel": channel, "seq": message["seq"]})
    await alice.close()
    await box.advance(1.5 * ROUND)
    assert box.rows(sa.select(files))
    await box.advance(4 * ROUND)
    assert not box.rows(sa.select(files))
    assert not box.rows(sa.select(uses))


async def test_a_file_that_was_attached_while_it_was_doomed_stays(
    box: Sandbox, people: Any, upload: Any, new_channel: Any
) -> None:
    """Of two commands that run at once one dooms a file, and the other, which saw nothing of that, attaches it."""
    channel = await new_channel("alice")
    [alice] = await people("alice")
    file = await upload("alice")
    await alice.call("message.send", {"channel": channel, "text": "look", "files": [file]})
    await alice.close()
    with contextlib.closing(sqlite3.connect(box.store.path)) as connection, connection:
        connection.execute("UPDATE chat_files SET doomed = ?, checked = ?", (box.now, box.now))
    await box.advance(3 * ROUND)
    [row] = box.rows(sa.select(files))
    assert (row.id, row.doomed) == (file, None)


async def test_uploads_that_are_not_completed_go(
    box: Sandbox, people: Any, ask: Any, stored: Any, refused: Any
) -> None:
    """An upload that expired takes no more bytes, and is removed with its pieces; its room is free again."""
    [alice] = await people("alice")
    begun = await alice.call("upload.create", {"name": "a", "size": 100})
    await ask("alice", AppendPiece(id=begun["id"], offset=0, size=50, place="main/uploads/x"))
    folder = stored(f"uploads/{begun['id']}")
    await alice.close()
    await box.advance(LIFE + 1)
    late = ask("alice", AppendPiece(id=begun["id"], offset=50, size=50, place="main/uploads/y"))
    await refused(late, "not_found")
    await box.advance(2 * ROUND)
    assert not folder.exists()
    for table in (uploads, parts, garbage):
        assert not box.rows(sa.select(table))


async def test_a_storage_that_fails_is_tried_again(box: Sandbox, people: Any, stored: Any, tmp_path: Path) -> None:
    """What could not be removed stays on the list until it is."""
    [alice] = await people("alice")
    begun = await alice.call("upload.create", {"name": "a", "size": 100})
    await alice.call("upload.cancel", {"id": begun["id"]})
    await alice.close()
    (tmp_path / "files").write_text("in the way")
    await box.advance(2 * ROUND)
    assert box.rows(sa.select(garbage))
    (tmp_path / "files").unlink()
    await box.advance(ROUND)
    assert not box.rows(sa.select(garbage))
