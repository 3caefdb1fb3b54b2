"""The spool: what an importer has read of another chat, sorted by a database in a temporary file, so that an import
takes little memory however large it is."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import tempfile
from base64 import b32encode
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from msgspec import Struct

from ..channels.channels import direct_channel
from .records import Record

__all__ = ["ForeignChannel", "ForeignMessage", "ForeignUser", "Spool"]

_NAME: Final = re.compile(r"[^A-Za-z0-9_.@-]")


class ForeignUser(Struct):
    """A user of another chat."""

    id: str
    name: str = ""
    avatar: str = ""
    data: dict[str, Any] = {}
    created: int = 0
    deactivated: int | None = None


class ForeignChannel(Struct):
    """A channel of another chat."""

    id: str
    name: str = ""
    public: bool = False
    direct: bool = False
    creator: str = ""
    created: int = 0
    topic: str = ""
    cover: str = ""
    data: dict[str, Any] = {}
    archived: bool = False
    frozen: bool = False


class ForeignMessage(Struct):
    """A message of another chat. All ids are the other chat's."""

    channel: str
    id: str
    user: str
    text: str
    time: int
    """Unix milliseconds."""
    order: str = ""
    """What sorts messages of one millisecond; the id by default."""
    system: bool = False
    parent: str | None = None
    shown: bool = True
    silent: bool = False
    quote: str | None = None
    mentions: list[str] = []
    everybody: bool = False
    data: dict[str, Any] | None = None
    edited: int | None = None
    deleted: int | None = None


_TABLES: Final = """
CREATE TABLE users (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE channels (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE members (channel TEXT, user TEXT, role TEXT NOT NULL, joined INTEGER NOT NULL,
    PRIMARY KEY (channel, user)) WITHOUT ROWID;
CREATE TABLE messages (channel TEXT, id TEXT, time INTEGER NOT NULL, place TEXT NOT NULL, body BLOB NOT NULL,
    seq INTEGER, PRIMARY KEY (channel, id));
CREATE INDEX messages_id ON messages (id);
CREATE TABLE reactions (message TEXT, channel TEXT, emoji TEXT, user TEXT, time INTEGER NOT NULL,
    PRIMARY KEY (message, channel, emoji, user)) WITHOUT ROWID;
CREATE TABLE pins (channel TEXT, message TEXT, user TEXT NOT NULL, time INTEGER NOT NULL,
    PRIMARY KEY (channel, message)) WITHOUT ROWID;
"""


class Spool:
    """What was read so far. Use it as `with Spool(source) as spool`.

    Args:
        source: where it comes from; part of the ids that messages get, so that a repeat gives the same.
        users: what users are called here, by their ids there; the others keep theirs.
    """

    def __init__(self, source: str, users: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._users = dict(users or {})
        self._folder = tempfile.TemporaryDirectory(prefix="backchannel-import-")
        self._db = sqlite3.connect(Path(self._folder.name) / "spool.db", isolation_level=None)
        self._db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
        self._db.execute("BEGIN")
        self.unknown: Counter[str] = Counter()
        """What there is no place for in chat, by kind."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    # What importers say

    def user(self, user: ForeignUser) -> None:
        """A user; the first that is said of one holds."""
        self._put("users (id, body)", user.id, msgspec.json.encode(user))

    def channel(self, channel: ForeignChannel) -> None:
        """A channel."""
        self._put("channels (id, body)", channel.id, msgspec.json.encode(channel))

    def member(self, channel: str, user: str, role: str = "member", joined: int = 0) -> None:
        """A member; of what is said twice the higher role holds."""
        self._db.execute(
            "INSERT INTO members VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET role = excluded.role "
            "WHERE excluded.role <> 'member'",
            (channel, user, role, joined),
        )

    def message(self, message: ForeignMessage) -> None:
        """A message; one that comes twice counts once."""
        body = msgspec.json.encode(message)
        self._put(
            "messages (channel, id, time, place, body)",
            message.channel,
            message.id,
            message.time,
            message.order or message.id,
            body,
        )

    def reaction(self, message: str, emoji: str, user: str, time: int, *, channel: str = "") -> None:
        """A reaction; without a channel the message is found by its id alone."""
        self._put("reactions (message, channel, emoji, user, time)", message, channel, emoji, user, time)

    def pin(self, channel: str, message: str, user: str, time: int) -> None:
        """A message that is pinned."""
        self._put("pins (channel, message, user, time)", channel, message, user, time)

    def _put(self, where: str, *values: Any) -> None:
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR IGNORE INTO {where} VALUES ({marks})", values)  # noqa: S608  # names of ours

    # What comes of it

    def name(self, user: str) -> str:
        """What a user is called here."""
        return self._users.get(user) or _NAME.sub("_", user)[:128]

    def records(self) -> Iterator[Record]:
        """The records, in the order in which they are imported."""
        self._db.execute(
            "UPDATE messages SET seq = numbered.seq FROM (SELECT rowid AS place, row_number() OVER "
            "(PARTITION BY channel ORDER BY time, place, id) AS seq FROM messages) AS numbered "
            "WHERE messages.rowid = numbered.place"
        )
        self._db.execute("CREATE UNIQUE INDEX messages_seq ON messages (channel, seq)")
        yield from self._profiles()
        for body in self._bodies("SELECT body FROM channels ORDER BY id"):
            yield self._channel(msgspec.json.decode(body, type=ForeignChannel))
        yield from self._members()
        yield from self._messages()
        yield from self._mentions()
        yield from self._reactions()
        yield from self._pins()

    def _bodies(self, query: str) -> Iterator[bytes]:
        for (body,) in self._db.execute(query):
            yield body

    def _profiles(self) -> Iterator[Record]:
        for body in self._bodies("SELECT body FROM users ORDER BY id"):
            user = msgspec.json.decode(body, type=ForeignUser)
            name = self.name(user.id)
            row = {
                "user": name,
                "name": user.name.strip()[:100] or name,
                "avatar": user.avatar,
                "data": _json(user.data),
                "created": user.created,
                "changed": user.created,
            }
            if user.deactivated is not None:
                row["deactivated"] = user.deactivated
            yield Record("profiles", row)

    def _known_users(self, channel: str) -> list[str]:
        found = self._db.execute("SELECT user FROM members WHERE channel = ? ORDER BY user", (channel,))
        return [user for (user,) in found]

    def _full_name(self, channel: str) -> str:
        """The channel's name here; a direct one is named by its members, as if it had been opened here."""
        found = self._db.execute("SELECT body FROM channels WHERE id = ?", (channel,)).fetchone()
        if found is not None and msgspec.json.decode(found[0], type=ForeignChannel).direct:
            users = sorted({self.name(user) for user in self._known_users(channel)})
            if users:
                return direct_channel(users)
        return f"chat:{_NAME.sub('_', channel)[:64]}"

    def _channel(self, channel: ForeignChannel) -> Record:
        users = sorted({self.name(user) for user in self._known_users(channel.id)})
        direct = channel.direct and bool(users)
        return Record(
            "channels",
            {
                "channel": self._full_name(channel.id),
                "name": ", ".join(users)[:100] if direct else channel.name.strip()[:100] or channel.id[:100],
                "public": channel.public,
                "creator": self.name(channel.creator) if channel.creator else "",
                "created": channel.created,
                "type": "direct" if direct else "group",
                "topic": channel.topic[:1000],
                "cover": channel.cover,
                "data": _json(channel.data),
                "frozen": channel.frozen,
                "archived": channel.archived,
                "member_count": len(users),
            },
        )

    def _members(self) -> Iterator[Record]:
        last = None
        full, newest, direct, owner = "", 0, False, ""
        rows = self._db.execute("SELECT channel, user, role, joined FROM members ORDER BY channel, user")
        for channel, user, role, joined in rows:
            if channel != last:
                last, full = channel, self._full_name(channel)
                direct = full.startswith("chat:dm-")
                owner = self._owner(channel)
                (newest,) = self._db.execute("SELECT count(*) FROM messages WHERE channel = ?", (channel,)).fetchone()
            yield Record(
                "members",
                {
                    "channel": full,
                    "user": self.name(user),
                    "role": "member" if direct else "owner" if user == owner else role,
                    "joined": joined,
                    # Nobody comes to a hill of unread messages.
                    "read_seq": newest,
                    "delivered_seq": newest,
                },
            )

    def _owner(self, channel: str) -> str:
        """A channel is never without an owner: who made it, else the first moderator, else the first member."""
        found = self._db.execute("SELECT body FROM channels WHERE id = ?", (channel,)).fetchone()
        creator = msgspec.json.decode(found[0], type=ForeignChannel).creator if found else ""
        users = self._known_users(channel)
        if creator in users:
            return creator
        first = self._db.execute(
            "SELECT user FROM members WHERE channel = ? ORDER BY role = 'member', user LIMIT 1", (channel,)
        ).fetchone()
        return str(first[0]) if first else ""

    def _seq(self, channel: str, message: str) -> int | None:
        found = self._db.execute("SELECT seq FROM messages WHERE channel = ? AND id = ?", (channel, message)).fetchone()
        return None if found is None else int(found[0])

    def _root(self, channel: str, message: str | None) -> int | None:
        """The number of the message in whose thread something stands: threads have one level here."""
        seen = set()
        while message is not None and message not in seen:
            seen.add(message)
            found = self._db.execute(
                "SELECT seq, body FROM messages WHERE channel = ? AND id = ?", (channel, message)
            ).fetchone()
            if found is None:
                return None
            above = msgspec.json.decode(found[1], type=ForeignMessage).parent
            if above is None:
                return int(found[0])
            message = above
        return None

    def _all(self) -> Iterator[tuple[ForeignMessage, str, int]]:
        last, full = None, ""
        for channel, body, seq in self._db.execute("SELECT channel, body, seq FROM messages ORDER BY channel, seq"):
            if channel != last:
                last, full = channel, self._full_name(channel)
            yield msgspec.json.decode(body, type=ForeignMessage), full, seq

    def _messages(self) -> Iterator[Record]:
        for message, full, seq in self._all():
            parent = self._root(message.channel, message.parent)
            if message.parent is not None and (parent is None or parent >= seq):
                self.unknown["reply to a message that is not there: it stands in the channel"] += 1
                parent = None
            quote = None if message.quote is None else self._seq(message.channel, message.quote)
            if message.quote is not None and quote is None:
                self.unknown["quote of a message that is not there"] += 1
            shown = message.shown or parent is None
            gone = message.deleted is not None
            row: dict[str, Any] = {
                "channel": full,
                "seq": seq,
                "id": self._id(message),
                "user": self.name(message.user) if message.user else "",
                "text": "" if gone else message.text.replace("\0", ""),
                "time": message.time,
                "type": "system" if message.system else "text",
                "shown": shown,
                "counted": shown and not (message.silent or message.system or gone),
                "silent": message.silent,
            }
            optional = {
                "data": None if message.data is None or gone else _json(message.data),
                "parent": parent,
                "quote": quote,
                "mentions": None if gone else self._mentions_of(message),
                "edited": message.edited,
                "deleted": message.deleted,
            }
            yield Record("messages", row | {name: value for name, value in optional.items() if value is not None})

    def _id(self, message: ForeignMessage) -> str:
        said = msgspec.json.encode([self._source, message.channel, message.id])
        return b32encode(hashlib.sha256(said).digest()).decode()[:26]

    def _mentions_of(self, message: ForeignMessage) -> str | None:
        named: dict[str, Any] = {}
        if users := [self.name(user) for user in dict.fromkeys(message.mentions)][:50]:
            named["users"] = users
        if message.everybody:
            named["channel"] = True
        return _json(named) if named else None

    def _mentions(self) -> Iterator[Record]:
        for message, full, seq in self._all():
            if message.deleted is None:
                users = [self.name(user) for user in dict.fromkeys(message.mentions)][:50]
                for user in dict.fromkeys([*users, *(["*"] if message.everybody else [])]):
                    yield Record("mentions", {"user": user, "channel": full, "seq": seq})

    def _reactions(self) -> Iterator[Record]:
        rows = self._db.execute(
            "SELECT message, channel, emoji, user, time FROM reactions ORDER BY channel, message, emoji, user"
        )
        for message, channel, emoji, user, time in rows:
            where, values = "id = ?", [message]
            if channel:
                where, values = "channel = ? AND id = ?", [channel, message]
            found = self._db.execute(
                f"SELECT channel, seq, time FROM messages WHERE {where}",  # noqa: S608  # words of ours
                values,
            ).fetchone()
            if found is None:
                self.unknown["reaction to a message that is not there"] += 1
                continue
            yield Record(
                "reactions",
                {
                    "channel": self._full_name(found[0]),
                    "seq": found[1],
                    "user": self.name(user),
                    "emoji": emoji,
                    "time": time or found[2],
                },
            )

    def _pins(self) -> Iterator[Record]:
        for channel, message, user, time in self._db.execute("SELECT * FROM pins ORDER BY channel, message"):
            seq = self._seq(channel, message)
            if seq is None:
                self.unknown["pin of a message that is not there"] += 1
                continue
            by = self.name(user) if user else ""
            yield Record("pins", {"channel": self._full_name(channel), "seq": seq, "by": by, "time": time})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
