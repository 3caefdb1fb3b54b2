"""Whole spaces in and out, on both kinds of database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backchannel import Publisher, Settings
from backchannel.chat import app
from backchannel.chat.data.importing import ImportReport, import_records
from backchannel.chat.data.records import BadExport, Record, export_space, read_lines
from backchannel.server.offline import asking
from backchannel.store.opening import open_snapshot


def _settings(folder: Path, postgres: str = "") -> Settings:
    return Settings(data=str(folder), postgres=postgres)


async def _lines(settings: Settings) -> list[bytes]:
    async with open_snapshot(settings, app.migrations) as reader:
        return [line async for line in export_space(reader, settings.app, 0)]


async def _take(settings: Settings, lines: list[bytes], **options: Any) -> ImportReport:
    async with asking(app, settings) as publisher:
        return await import_records(publisher, read_lines(lines), **options)


async def _fill(publisher: Publisher) -> str:
    """A space with something in many tables."""
    channel: str = (
        await _ask(publisher, "channel.create", {"name": "Tea", "id": "tea", "members": ["bob", "carol"]}, user="alice")
    )["channel"]
    here = {"channel": channel}
    await _ask(publisher, "profile.update", {"name": "Ålice “A”", "data": {"deep": [1, {"x": None}]}}, user="alice")
    for number in range(620):
        user = ("alice", "bob", "carol")[number % 3]
        await _ask(publisher, "message.send", {**here, "text": f"message {number} 🎈"}, user=user)
    await _ask(publisher, "message.edit", {**here, "seq": 4, "text": "edited"}, user="alice")
    await _ask(publisher, "message.send", {**here, "text": "below", "parent": 2}, user="bob")
    mention = {"users": ["bob"]}
    await _ask(publisher, "message.send", {**here, "text": "@bob", "mentions": mention}, user="alice")
    await _ask(publisher, "reaction.add", {**here, "seq": 3, "emoji": "👍"}, user="bob")
    await _ask(publisher, "message.pin", {**here, "seq": 3}, user="alice")
    await _ask(publisher, "message.delete", {**here, "seq": 5}, user="alice")
    await _ask(publisher, "draft.save", {**here, "text": "soon"}, user="carol")
    await _ask(publisher, "channel.direct", {"members": ["bob"]}, user="alice")
    await _ask(publisher, "poll.create", {**here, "question": "Tea?", "options": ["yes", "no"]}, user="alice")
    await _ask(publisher, "receipt.mark", {**here, "read": 10}, user="carol")
    await _ask(publisher, "channel.count", {**here, "name": "cups", "by": 7}, user="alice")
    return channel


async def _ask(publisher: Publisher, name: str, data: dict[str, Any], user: str) -> Any:
    return msgspec.to_builtins(await publisher.call(name, data, user=user))


def _rows(lines: list[bytes]) -> list[bytes]:
    """The records, whatever order a database sorts names in."""
    return sorted(lines[1:-1])


async def test_round_trip(tmp_path: Path, database_url: str) -> None:
    """SQLite to PostgreSQL and back: each export has the same rows; a repeat brings nothing; sending goes on behind."""
    first, second = _settings(tmp_path / "one"), _settings(tmp_path / "two", database_url)
    third = _settings(tmp_path / "three")
    async with asking(app, first) as publisher:
        channel = await _fill(publisher)
    lines = await _lines(first)
    assert len({json.loads(line)["table"] for line in lines[1:-1]}) >= 13
    count = len(lines) - 2
    for number, settings in enumerate((second, third)):
        report = await _take(settings, lines)
        assert (report.read, report.inserted, report.skipped) == (count, count, {})
        again = await _take(settings, lines)
        assert (again.inserted, again.known, again.skipped) == (0, count, {})
        assert _rows(await _lines(settings)) == _rows(lines), number
        lines = await _lines(settings)
    for settings in (second, third):
        async with asking(app, settings) as publisher:
            newest = max(json.loads(line)["row"]["seq"] for line in lines if b'"messages"' in line[:20])
            sent = await _ask(publisher, "message.send", {"channel": channel, "text": "next"}, user="bob")
            assert sent["seq"] == newest + 1
            found = await _ask(publisher, "message.search", {"q": "edited"}, user="bob")
            assert [hit["message"]["seq"] for hit in found["hits"]] == [4]
            await _ask(publisher, "message.edit", {"channel": channel, "seq": 2, "text": "still hers"}, user="bob")


async def test_a_cut_import_goes_on(tmp_path: Path) -> None:
    """An import that dies in the middle is begun again, and ends as if it had not died."""
    first, second = _settings(tmp_path / "one"), _settings(tmp_path / "two")
    async with asking(app, first) as publisher:
        await _fill(publisher)
    lines = await _lines(first)

    def dying() -> Iterator[Record]:
        for number, record in enumerate(read_lines(lines)):
            if number == 600:
                raise KeyboardInterrupt
            yield record

    with pytest.raises(KeyboardInterrupt):
        async with asking(app, second) as publisher:
            await import_records(publisher, dying())
    half = len(await _lines(second)) - 2
    assert 0 < half < 600
    report = await _take(second, lines)
    assert (report.known, report.skipped) == (half, {})
    assert _rows(await _lines(second)) == _rows(lines)


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    """Rows that cannot be taken are left out, each with its reason, and the others come in."""

    def line(table: str, **row: Any) -> bytes:
        return json.dumps({"table": table, "row": row}).encode()

    head = json.dumps({"format": "backchannel-chat", "version": 1, "exported": 0}).encode()
    room = {"channel": "chat:a", "name": "A", "public": True, "creator": "alice", "created": 1}
    said: dict[str, Any] = {"channel": "chat:a", "id": "x", "user": "alice", "text": "hi", "time": 1}
    body = [
        line("channels", **room),
        line("channels", **{**room, "channel": "chat:b", "public": 3}),
        line("channels", **{**room, "channel": "chat:c", "colour": "red"}),
        line("spaceships", name="Enterprise"),
        line("members", channel="chat:nowhere", user="alice", role="owner", joined=1),
        line("members", channel="chat:a", user="alice", role="owner", joined=1),
        line("messages", **said, seq=1),
        line("messages", **said, seq=4),
        line("messages", **{**said, "text": "a\0b"}, seq=2),
        line("messages", **{**said, "time": 2**63}, seq=2),
        line("messages", **{**said, "user": None}, seq=2),
        line("messages", **said, seq=2),
        line("reactions", channel="chat:a", seq=9, user="bob", emoji="x", time=1),
        line("reactions", channel="chat:a", seq=1, user="bob", emoji="x", time=1),
    ]
    lines = [head, *body, json.dumps({"end": len(body)}).encode()]
    dry = await _take(_settings(tmp_path), lines, dry_run=True)
    assert dry.read == len(body)
    assert len(await _lines(_settings(tmp_path))) == 2
    report = await _take(_settings(tmp_path), lines)
    assert (report.read, report.inserted, report.left_out) == (14, 5, 9)
    told = "\n".join(example for examples in report.examples.values() for example in examples)
    for words in (
        "record 2: channels.public: it is neither true nor false.",
        "record 3: channels has no column 'colour'.",
        "record 4: There is no table 'spaceships'",
        "record 5: There is no channel 'chat:nowhere'.",
        "record 8: Message 4 of 'chat:a' does not follow message 2.",
        "record 9: messages.text: a text with NUL cannot be stored.",
        "record 10: messages.time: it is no whole number of 64 bits.",
        "record 11: messages lacks 'user'.",
        "record 13: There is no message 9 in 'chat:a'.",
    ):
        assert words in told
    other = [head, line("messages", **{**said, "text": "other"}, seq=1), b'{"end": 1}']
    report = await _take(_settings(tmp_path), other)
    assert (report.inserted, list(report.examples.values())) == (
        0,
        [["record 1: Another one is there already (text)."]],
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "empty"),
        ([b'{"format": "other"}'], "no export of chat"),
        ([b'{"format": "backchannel-chat", "version": 99}'], "version 99"),
        ([b'{"format": "backchannel-chat", "version": 1}', b'{"table": "profi'], "Line 2 is no JSON"),
        ([b'{"format": "backchannel-chat", "version": 1}'], "cut off"),
        ([b'{"format": "backchannel-chat", "version": 1}', b'{"end": 4}'], "there are 0"),
        ([b'{"format": "backchannel-chat", "version": 1}', b"[]"], "no record"),
        ([b'{"format": "backchannel-chat", "version": 1}', b'{"end": 0}', b"{}"], "behind the end"),
    ],
)
def test_files_that_are_no_export(lines: list[bytes], words: str) -> None:
    """Each is refused in words that tell what is the matter."""
    with pytest.raises(BadExport, match=words):
        list(read_lines(lines))


async def test_beside_a_running_server(tmp_path: Path) -> None:
    """An export of SQLite is of one moment and disturbs nobody; an import says that the server must be stopped."""
    settings = _settings(tmp_path)
    async with asking(app, settings) as publisher:
        await _ask(publisher, "channel.create", {"name": "Tea"}, user="alice")
        assert len(await _lines(settings)) == 5  # with the type's row
        with pytest.raises(Exception, match="open"):
            async with asking(app, settings):
                pass
