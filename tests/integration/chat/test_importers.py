"""Other chats' exports come in through the same door as our own, and all of it by the command line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from backchannel import Publisher, Settings
from backchannel.chat import app
from backchannel.chat.data.importing import ImportReport, import_records
from backchannel.chat.data.records import BadExport
from backchannel.chat.data.sendbird import read_sendbird
from backchannel.chat.data.slack import read_slack
from backchannel.chat.data.spool import Spool
from backchannel.chat.data.stream import read_stream
from backchannel.cli.root import app as command_line
from backchannel.server.offline import asking


async def _ask(publisher: Publisher, name: str, data: dict[str, Any], user: str) -> Any:
    return msgspec.to_builtins(await publisher.call(name, data, user=user))


@pytest.fixture
async def space(tmp_path: Path) -> AsyncIterator[Publisher]:
    """An empty space."""
    async with asking(app, Settings(data=str(tmp_path / "space"))) as publisher:
        yield publisher


async def _bring(publisher: Publisher, read: Callable[[Path, Spool], None], path: Path, **users: str) -> ImportReport:
    with Spool("test", users) as spool:
        read(path, spool)
        return await import_records(publisher, spool.records(), settle=True, unknown=spool.unknown)


@pytest.fixture
def slack(tmp_path: Path) -> Path:
    """A small export of Slack, as its folder."""
    root = tmp_path / "slack"

    def put(name: str, value: Any) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    put(
        "users.json",
        [
            {"id": "U1", "name": "alice", "profile": {"display_name": "Alice", "title": "Boss"}, "updated": 1600000000},
            {"id": "U2", "name": "bob", "profile": {"real_name": "Bob"}, "deleted": True, "updated": 1600000001},
        ],
    )
    put(
        "channels.json",
        [
            {
                "id": "C1",
                "name": "general",
                "created": 1600000000,
                "creator": "U1",
                "is_archived": False,
                "members": ["U1", "U2"],
                "topic": {"value": "All &amp; more"},
                "purpose": {"value": "Talk"},
                "pins": [{"id": "1600000100.000100", "type": "C", "created": 1600000900, "user": "U2"}],
            },
        ],
    )
    put("dms.json", [{"id": "D1", "created": 1600000000, "members": ["U1", "U2"]}])
    put(
        "general/2020-09-13.json",
        [
            {
                "type": "message",
                "subtype": "channel_join",
                "user": "U2",
                "text": "<@U2> has joined",
                "ts": "1600000050.0001",
            },
            {
                "type": "message",
                "user": "U1",
                "text": "Hi <@U2|bob>, see <https://x.org|this> &amp; <!channel>",
                "ts": "1600000100.000100",
                "thread_ts": "1600000100.000100",
                "reply_count": 2,
                "edited": {"user": "U1", "ts": "1600000150.000000"},
                "reactions": [
                    {"name": "tada", "users": ["U2"], "count": 1},
                    {"name": "parrot", "users": ["U1"], "count": 3},
                ],
            },
            {
                "type": "message",
                "user": "U2",
                "text": "in thread",
                "ts": "1600000200.000100",
                "thread_ts": "1600000100.000100",
                "parent_user_id": "U1",
            },
        ],
    )
    put(
        "general/2020-09-14.json",
        [
            {
                "type": "message",
                "subtype": "thread_broadcast",
                "user": "U1",
                "text": "for all",
                "ts": "1600090000.000100",
                "thread_ts": "1600000100.000100",
            },
            {
                "type": "message",
                "user": "U2",
                "text": "file",
                "ts": "1600090001.000100",
                "mystery": 1,
                "files": [
                    {"name": "a.pdf", "mimetype": "application/pdf", "size": 9, "url_private": "https://x/a.pdf"}
                ],
            },
            {"type": "message", "subtype": "huddle_thread", "user": "U1", "text": "huddle", "ts": "1600090002.000100"},
            {"type": "message", "subtype": "bot_message", "username": "ci", "text": "ok", "ts": "1600090003.000100"},
        ],
    )
    put("D1/2020-09-14.json", [{"type": "message", "user": "U1", "text": "psst", "ts": "1600090000.000100"}])
    put("lost/2020-09-14.json", [])
    put("strange.json", {})
    return root


@pytest.mark.parametrize("zipped", [False, True])
async def test_slack(space: Publisher, slack: Path, tmp_path: Path, zipped: bool) -> None:
    """Users, channels, messages in order, threads, reactions, mentions, pins and files come in; what has no place is
    counted; a repeat brings nothing."""
    path = slack
    if zipped:
        path = tmp_path / "slack.zip"
        with zipfile.ZipFile(path, "w") as file:
            for one in sorted(slack.rglob("*.json")):  # noqa: ASYNC240 - a few files
                file.write(one, f"export/{one.relative_to(slack)}")
    report = await _bring(space, read_slack, path, U1="alice", U2="bob")
    assert report.skipped == {}
    assert report.unknown == {
        "file strange.json": 1,
        "folder lost/ of no listed channel": 1,
        "field 'mystery' of a message": 1,
        "message of subtype huddle_thread: taken as a system message": 1,
        "reaction of somebody whom the export does not name": 2,
    }
    page = await _ask(space, "message.list", {"channel": "chat:C1", "limit": 100}, user="alice")
    told = [(m["seq"], m["user"], m["text"], m.get("type", "text")) for m in page["messages"]]
    assert told == [
        (1, "bob", "@bob has joined", "system"),
        (2, "alice", "Hi @bob, see this (https://x.org) & @channel", "text"),
        (4, "alice", "for all", "text"),
        (5, "bob", "file", "text"),
        (6, "alice", "huddle", "system"),
        (7, "ci", "ok", "text"),
    ]
    first = page["messages"][1]
    assert (first["time"], first["edited"]) == (1600000100000, 1600000150000)
    assert first["mentions"] == {"users": ["bob"], "channel": True}
    assert sorted((r["emoji"], r["count"]) for r in first["reactions"]) == [(":parrot:", 1), ("🎉", 1)]
    assert (first["thread"]["replies"], first["thread"]["users"]) == (2, ["alice", "bob"])
    assert page["messages"][3]["data"]["files"][0]["url"] == "https://x/a.pdf"
    info = (await _ask(space, "channel.get", {"channel": "chat:C1"}, user="alice"))["info"]
    assert (info["name"], info["topic"], info["members"], info["mine"]["role"]) == (
        "general",
        "All & more",
        2,
        "owner",
    )
    assert (await _ask(space, "unread.get", {}, user="bob"))["unread"] == 0
    pins = await _ask(space, "pin.list", {"channel": "chat:C1"}, user="alice")
    assert [one["seq"] for one in pins["messages"]] == [2]
    direct = await _ask(space, "channel.direct", {"members": ["bob"]}, user="alice")
    (psst,) = (await _ask(space, "message.list", {"channel": direct["channel"]}, user="bob"))["messages"]
    assert psst["text"] == "psst"
    again = await _bring(space, read_slack, path, U1="alice", U2="bob")
    assert (again.inserted, again.known, again.skipped) == (0, report.inserted, {})
    sent = await _ask(space, "message.send", {"channel": "chat:C1", "text": "here now"}, user="alice")
    assert sent["seq"] == 8


async def test_sendbird(space: Publisher, tmp_path: Path) -> None:
    """Sendbird-shaped JSON: operators become moderators, replies threads, removed messages tombstones."""
    path = tmp_path / "sendbird.json"
    ann, ben = {"user_id": "ann", "nickname": "Ann"}, {"user_id": "ben", "nickname": "Ben"}
    path.write_text(
        json.dumps(
            {
                "users": [{**ann, "profile_url": "https://x/a.png", "metadata": {"k": "v"}, "created_at": 1600000000}],
                "channels": [
                    {
                        "channel_url": "sb_1",
                        "name": "Team",
                        "created_at": 1600000000,
                        "created_by": ann,
                        "is_public": True,
                        "members": [{**ann, "role": ""}, {**ben, "role": "operator"}],
                        "custom_type": "work",
                    }
                ],
                "messages": [
                    {
                        "message_id": 12,
                        "channel_url": "sb_1",
                        "type": "MESG",
                        "user": ben,
                        "message": "second",
                        "created_at": 1600000002000,
                        "parent_message_id": 9,
                        "updated_at": 0,
                    },
                    {
                        "message_id": 9,
                        "channel_url": "sb_1",
                        "type": "MESG",
                        "user": ann,
                        "message": "first @Ben",
                        "created_at": 1600000001000,
                        "updated_at": 1600000009000,
                        "mention_type": "users",
                        "mentioned_users": [ben],
                        "reactions": [{"key": "👍", "user_ids": ["ben"], "updated_at": 1600000003000}],
                    },
                    {
                        "message_id": 10,
                        "channel_url": "sb_1",
                        "type": "MESG",
                        "user": ann,
                        "message": "oops",
                        "created_at": 1600000001000,
                        "is_removed": True,
                    },
                    {
                        "message_id": 13,
                        "channel_url": "sb_1",
                        "type": "ADMM",
                        "message": "hi all",
                        "created_at": 1600000003000,
                    },
                    {
                        "message_id": 14,
                        "channel_url": "sb_1",
                        "type": "FILE",
                        "user": ben,
                        "created_at": 1600000004000,
                        "file": {"name": "a.png", "url": "https://x/f", "size": 3, "type": "image/png"},
                    },
                ],
                "bans": [{"user_id": "zed"}],
            }
        )
    )
    report = await _bring(space, read_sendbird, path)
    assert (report.skipped, report.unknown) == ({}, {"item of kind 'bans'": 1})
    page = (await _ask(space, "message.list", {"channel": "chat:sb_1"}, user="ann"))["messages"]
    assert [(m["seq"], m["text"], "deleted" in m) for m in page] == [
        (1, "first @Ben", False),
        (2, "", True),
        (4, "hi all", False),
        (5, "", False),
    ]
    assert (page[0]["edited"], page[0]["thread"]["replies"], page[0]["reactions"][0]["count"]) == (1600000009000, 1, 1)
    members = (await _ask(space, "channel.members", {"channel": "chat:sb_1"}, user="ann"))["members"]
    assert sorted((m["user"], m["role"]) for m in members) == [("ann", "owner"), ("ben", "moderator")]


async def test_stream(space: Publisher, tmp_path: Path) -> None:
    """Stream-shaped import lines, in any order within a file; reactions and replies find their messages."""
    path = tmp_path / "stream.jsonl"
    items = [
        ("user", {"id": "jo", "name": "Jo", "created_at": "2020-09-13T12:26:40Z", "city": "Rome"}),
        ("user", {"id": "kim", "name": "Kim"}),
        (
            "channel",
            {
                "id": "general",
                "type": "messaging",
                "created_by": "jo",
                "name": "General",
                "created_at": "2020-09-13T12:26:40Z",
            },
        ),
        ("member", {"channel_id": "general", "channel_type": "messaging", "user_id": "jo", "is_moderator": True}),
        ("member", {"channel_id": "general", "channel_type": "messaging", "user_id": "kim"}),
        ("reaction", {"message_id": "m1", "type": "love", "user_id": "kim", "created_at": "2020-09-13T13:00:00Z"}),
        ("reaction", {"message_id": "nowhere", "type": "love", "user_id": "kim"}),
        (
            "message",
            {
                "id": "m2",
                "channel_id": "general",
                "channel_type": "messaging",
                "user": "kim",
                "type": "reply",
                "text": "reply",
                "parent_id": "m1",
                "created_at": "2020-09-13T12:30:00Z",
            },
        ),
        (
            "message",
            {
                "id": "m1",
                "channel_id": "general",
                "channel_type": "messaging",
                "user": "jo",
                "type": "regular",
                "text": "root",
                "created_at": "2020-09-13T12:28:00.5Z",
                "pinned": True,
                "mentioned_users_ids": ["kim"],
                "attachments": [{"type": "image", "image_url": "https://x/i.png"}],
            },
        ),
        (
            "message",
            {
                "id": "m3",
                "channel_id": "general",
                "channel_type": "messaging",
                "user": "jo",
                "type": "regular",
                "text": "quote",
                "quoted_message_id": "m1",
                "created_at": "2020-09-13T12:31:00Z",
            },
        ),
        ("future", {"id": "f"}),
    ]
    path.write_text("\n".join(json.dumps({"type": kind, "item": item}) for kind, item in items))
    report = await _bring(space, read_stream, path)
    assert (report.skipped, report.unknown) == (
        {},
        {"item of kind 'futures'": 1, "reaction to a message that is not there": 1},
    )
    page = (await _ask(space, "message.list", {"channel": "chat:general"}, user="kim"))["messages"]
    assert [(m["seq"], m["text"]) for m in page] == [(1, "root"), (3, "quote")]
    assert (page[0]["time"], page[0]["reactions"][0]["emoji"], page[0]["thread"]["replies"]) == (1600000080500, "❤️", 1)
    assert page[1]["quote"]["seq"] == 1
    mentions = await _ask(space, "mention.list", {}, user="kim")
    assert [one["seq"] for one in mentions["messages"]] == [1]


@pytest.mark.parametrize("read", [read_slack, read_sendbird, read_stream])
def test_what_is_no_export_of_another_chat(tmp_path: Path, read: Callable[[Path, Spool], None]) -> None:
    """It is refused, whatever it is."""
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\x00 no json")
    with Spool("test") as spool, pytest.raises(BadExport):
        read(path, spool)


def test_command_line(tmp_path: Path, slack: Path) -> None:
    """Out and in by the command line: the report goes to stderr, what was left out makes the exit code 1."""
    run = CliRunner()

    def ask(*words: str, data: str = "one") -> Any:
        return run.invoke(command_line, ["chat", *words, "--data", str(tmp_path / data)])

    done = ask("import", str(slack), "--from", "slack")
    assert done.exit_code == 0, done.output
    assert "were there already" in done.stderr
    assert "strange.json" in done.stderr
    out = tmp_path / "out.jsonl"
    assert ask("export", "--out", str(out)).exit_code == 0
    assert [path.name for path in tmp_path.glob("out*")] == ["out.jsonl"]
    done = ask("import", str(out), "--json", data="two")
    assert (done.exit_code, json.loads(done.stdout)["skipped"]) == (0, {})
    mine = ask("export-user", "U1", data="two")
    assert {json.loads(line)["table"] for line in mine.stdout.splitlines()} >= {"profiles", "members", "messages"}
    out.write_text(out.read_text().replace('"role":"owner"', '"role":7'))
    assert ask("import", str(out), data="three").exit_code == 1
    assert ask("import", str(tmp_path / "none"), data="three").exit_code == 2
