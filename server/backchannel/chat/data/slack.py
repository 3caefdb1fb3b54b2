"""Slack: an export as a zip file or a folder, with `users.json`, `channels.json` (`groups`, `dms`, `mpims`) and, per
channel, a folder with one file per day."""

from __future__ import annotations

import html
import re
import zipfile
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import msgspec

from .records import BadExport
from .spool import ForeignChannel, ForeignMessage, ForeignUser, Spool

__all__ = ["read_slack"]

_LISTS: Final = {"channels.json": "public", "groups.json": "private", "dms.json": "direct", "mpims.json": "direct"}
_OTHER_FILES: Final = frozenset({"users.json", "integration_logs.json", "canvases.json", "lists.json", *_LISTS})
_SYSTEM: Final = frozenset(
    {
        "channel_join",
        "channel_leave",
        "channel_topic",
        "channel_purpose",
        "channel_name",
        "channel_archive",
        "channel_unarchive",
        "group_join",
        "group_leave",
        "group_topic",
        "group_purpose",
        "group_name",
        "group_archive",
        "group_unarchive",
        "pinned_item",
        "reminder_add",
        "bot_add",
        "bot_remove",
    }
)
_PLAIN: Final = frozenset({"", "bot_message", "file_share", "me_message", "thread_broadcast", "tombstone"})
_KNOWN: Final = frozenset(
    {"type", "subtype", "user", "text", "ts", "thread_ts", "edited", "reactions", "files", "attachments", "blocks"}
    | {"client_msg_id", "team", "user_team", "source_team", "user_profile", "reply_count", "reply_users_count"}
    | {"latest_reply", "reply_users", "replies", "is_locked", "subscribed", "last_read", "parent_user_id", "root"}
    | {"bot_id", "bot_profile", "username", "icons", "app_id", "upload", "display_as_bot", "pinned_to", "pinned_info"}
    | {"inviter", "purpose", "topic", "name", "old_name", "hidden", "permalink", "x_files"}
)
_EMOJI: Final = {
    "+1": "👍",
    "thumbsup": "👍",
    "-1": "👎",
    "thumbsdown": "👎",
    "heart": "❤️",
    "joy": "😂",
    "smile": "😄",
    "slightly_smiling_face": "🙂",
    "wink": "😉",
    "cry": "😢",
    "tada": "🎉",
    "eyes": "👀",
    "fire": "🔥",
    "rocket": "🚀",
    "clap": "👏",
    "pray": "🙏",
    "ok_hand": "👌",
    "wave": "👋",
    "white_check_mark": "✅",
    "heavy_check_mark": "✔️",
    "x": "❌",
    "100": "💯",
    "raised_hands": "🙌",
    "thinking_face": "🤔",
    "warning": "⚠️",
}
"""The most usual ones; the others keep their names, with colons, since each workspace has its own."""
_ANGLE: Final = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")


class _Files:
    """The files of an export, by their path in it."""

    def __init__(self, path: Path) -> None:
        self._zip: zipfile.ZipFile | None = None
        self._root = path
        if path.is_dir():
            names = [str(one.relative_to(path)).replace("\\", "/") for one in path.rglob("*.json")]
        else:
            try:
                self._zip = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as exc:
                raise BadExport(f"{path} is neither a folder nor a zip file that can be read: {exc}.") from None
            names = [name for name in self._zip.namelist() if name.endswith(".json")]
        tops = [name for name in names if name.rsplit("/", 1)[-1] in ("channels.json", "users.json")]
        if not tops:
            raise BadExport(f"{path} has no users.json and no channels.json: is it an export of Slack?")
        # Some tools put everything into one folder.
        self._prefix = min(tops, key=len).rsplit("/", 1)[0] + "/" if "/" in min(tops, key=len) else ""
        cut = len(self._prefix)
        self.names = sorted(name[cut:] for name in names if name.startswith(self._prefix))

    def read(self, name: str) -> Any:
        """A file's JSON."""
        try:
            if self._zip is not None:
                data = self._zip.read(self._prefix + name)
            else:
                data = (self._root / (self._prefix + name)).read_bytes()
            return msgspec.json.decode(data)
        except (OSError, KeyError, msgspec.DecodeError, UnicodeDecodeError, zipfile.BadZipFile) as exc:
            raise BadExport(f"{name} cannot be read: {exc}.") from None

    def list(self, name: str) -> Iterator[dict[str, Any]]:
        """A file's objects; there are none if there is no such file."""
        if name in self.names:
            value = self.read(name)
            if not isinstance(value, list):
                raise BadExport(f"{name} is no list.")
            yield from (one for one in value if isinstance(one, dict))

    def close(self) -> None:
        """Let go of the zip file."""
        if self._zip is not None:
            self._zip.close()


def read_slack(path: Path, spool: Spool) -> None:
    """Read an export into the spool.

    Raises:
        BadExport: it is none, or a file of it cannot be read.
    """
    files = _Files(path)
    try:
        for user in files.list("users.json"):
            _user(user, spool)
        folders = {}
        for name, kind in _LISTS.items():
            for channel in files.list(name):
                _channel(channel, kind, spool)
                folders[str(channel["id"] if name == "dms.json" else channel.get("name") or channel["id"])] = str(
                    channel["id"]
                )
        for name in files.names:
            folder, slash, _ = name.partition("/")
            if not slash:
                if name not in _OTHER_FILES:
                    spool.unknown[f"file {name}"] += 1
                continue
            channel_id = folders.get(folder)
            if channel_id is None:
                spool.unknown[f"folder {folder}/ of no listed channel"] += 1
                continue
            for message in files.list(name):
                _message(message, channel_id, spool)
    finally:
        files.close()


def _user(user: dict[str, Any], spool: Spool) -> None:
    profile = user.get("profile") or {}
    shown = profile.get("display_name") or profile.get("real_name") or user.get("real_name") or user.get("name") or ""
    spool.user(
        ForeignUser(
            id=str(user["id"]),
            name=str(shown),
            avatar=str(profile.get("image_192") or profile.get("image_72") or ""),
            data={
                key: value
                for key, value in {
                    "title": profile.get("title"),
                    "tz": user.get("tz"),
                    "bot": user.get("is_bot"),
                }.items()
                if value
            },
            created=int(user.get("updated") or 0) * 1000,
            deactivated=int(user.get("updated") or 0) * 1000 if user.get("deleted") else None,
        )
    )


def _channel(channel: dict[str, Any], kind: str, spool: Spool) -> None:
    id_ = str(channel["id"])
    created = int(channel.get("created") or 0) * 1000
    topic = (channel.get("topic") or {}).get("value") or ""
    purpose = (channel.get("purpose") or {}).get("value") or ""
    spool.channel(
        ForeignChannel(
            id=id_,
            name=str(channel.get("name") or ""),
            public=kind == "public",
            direct=kind == "direct",
            creator=str(channel.get("creator") or ""),
            created=created,
            topic=html.unescape(topic),
            data={"purpose": html.unescape(purpose)} if purpose else {},
            archived=bool(channel.get("is_archived")),
        )
    )
    for user in channel.get("members") or []:
        spool.member(id_, str(user), "member", created)
    for pin in channel.get("pins") or []:
        if pin.get("type") in ("C", "G", "D"):
            spool.pin(id_, str(pin["id"]), str(pin.get("user") or ""), int(pin.get("created") or 0) * 1000)
        else:
            spool.unknown[f"pin of type {pin.get('type')}"] += 1


def _milliseconds(ts: Any) -> int:
    try:
        return int(Decimal(str(ts)) * 1000)
    except InvalidOperation:
        raise BadExport(f"{ts!r} is no time of Slack.") from None


def _message(message: dict[str, Any], channel: str, spool: Spool) -> None:
    kind, ts = str(message.get("subtype") or ""), message.get("ts")
    if message.get("type") != "message" or ts is None:
        spool.unknown[f"entry of type {message.get('type')}"] += 1
        return
    if kind not in _PLAIN and kind not in _SYSTEM:
        spool.unknown[f"message of subtype {kind}: taken as a system message"] += 1
    for field in message.keys() - _KNOWN:
        spool.unknown[f"field {field!r} of a message"] += 1
    profile = message.get("bot_profile") or {}
    user = str(message.get("user") or message.get("bot_id") or message.get("username") or "")
    if user and "user" not in message:
        spool.user(ForeignUser(id=user, name=str(message.get("username") or profile.get("name") or user)))
    mentions: list[str] = []
    text, everybody = _text(str(message.get("text") or ""), mentions, spool)
    data: dict[str, Any] = {}
    if found := [_file(file) for file in message.get("files") or [] if isinstance(file, dict)]:
        data["files"] = found
    if attached := [_attachment(one) for one in message.get("attachments") or [] if isinstance(one, dict)]:
        data["attachments"] = attached
    thread = message.get("thread_ts")
    edited = message.get("edited") or {}
    spool.message(
        ForeignMessage(
            channel=channel,
            id=str(ts),
            user=user,
            text=text,
            time=_milliseconds(ts),
            system=kind not in _PLAIN,
            parent=str(thread) if thread is not None and thread != ts else None,
            shown=thread is None or thread == ts or kind == "thread_broadcast",
            mentions=mentions,
            everybody=everybody,
            data=data or None,
            edited=_milliseconds(edited["ts"]) if "ts" in edited else None,
            deleted=_milliseconds(ts) if kind == "tombstone" else None,
        )
    )
    for reaction in message.get("reactions") or []:
        name = str(reaction.get("name") or "")
        base, tone, _ = name.partition("::")
        emoji = _EMOJI.get(name) or (_EMOJI.get(base) if tone else None) or f":{name}:"
        users = reaction.get("users") or []
        for one in users:
            spool.reaction(str(ts), emoji, str(one), 0, channel=channel)
        if (more := int(reaction.get("count") or 0) - len(users)) > 0:
            spool.unknown["reaction of somebody whom the export does not name"] += more


def _text(text: str, mentions: list[str], spool: Spool) -> tuple[str, bool]:
    """Slack's markup as people read it; whom it mentions, and whether everybody."""
    everybody = False

    def plain(match: re.Match[str]) -> str:
        nonlocal everybody
        what, label = match[1], match[2]
        if what.startswith("@"):
            mentions.append(what[1:])
            return f"@{spool.name(what[1:])}"
        if what.startswith("#"):
            return f"#{label or what[1:]}"
        if what.startswith("!"):
            word = what[1:].partition("^")[0]
            if word in ("here", "channel", "everyone", "group"):
                everybody = True
                return f"@{'channel' if word == 'group' else word}"
            return label or f"@{word}"
        address = what.removeprefix("mailto:")
        return address if not label or label == address else f"{label} ({address})"

    # What Slack has escaped can make no markup, so that comes last.
    return html.unescape(_ANGLE.sub(plain, text)), everybody


def _file(file: dict[str, Any]) -> dict[str, Any]:
    told = {
        "name": file.get("name") or file.get("title"),
        "type": file.get("mimetype"),
        "size": file.get("size"),
        "url": file.get("url_private") or file.get("permalink"),
    }
    return {key: value for key, value in told.items() if value is not None}


def _attachment(one: dict[str, Any]) -> dict[str, Any]:
    told = {
        "title": one.get("title"),
        "text": one.get("text") or one.get("fallback"),
        "url": one.get("title_link") or one.get("from_url") or one.get("image_url"),
    }
    return {key: value for key, value in told.items() if value is not None}
