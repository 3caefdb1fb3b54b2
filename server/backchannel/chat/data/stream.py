"""Stream-shaped import lines: `user`, `channel`, `member`, `message`, `reaction`, each with its `item`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .foreign import items, moment, text_of
from .records import BadExport
from .spool import ForeignChannel, ForeignMessage, ForeignUser, Spool

__all__ = ["read_stream"]

_EMOJI: Final = {"like": "👍", "love": "❤️", "haha": "😂", "wow": "😮", "sad": "😢", "angry": "😠"}
_USER: Final = frozenset(
    {"id", "name", "image", "created_at", "updated_at", "deactivated_at", "role", "online", "last_active", "banned"}
)
_CHANNEL: Final = frozenset(
    {"id", "type", "cid", "name", "image", "created_at", "updated_at", "created_by", "members", "member_count"}
    | {"frozen", "disabled", "last_message_at", "config", "team", "created_by_id", "description"}
)


def read_stream(path: Path, spool: Spool) -> None:
    """Read an export into the spool.

    Raises:
        BadExport: it cannot be read, or something in it lacks its id.
    """
    readers = {
        "users": _user,
        "channels": _channel,
        "members": _member,
        "messages": _message,
        "reactions": _reaction,
    }
    for kind, item in items(path):
        reader = readers.get(kind)
        if reader is None:
            spool.unknown[f"item of kind {kind!r}"] += 1
            continue
        try:
            reader(item, spool)
        except (KeyError, TypeError, AttributeError) as exc:
            raise BadExport(f"One of the {kind} lacks {exc}, or has something else there.") from None


def _id(value: Any) -> str:
    """An id, whether by itself or in an object."""
    return str(value["id"]) if isinstance(value, dict) else text_of(value)


def _channel_of(item: dict[str, Any]) -> str:
    """A channel's id there; those of the usual type are called as they are, others with their type before."""
    if "cid" in item:
        kind, _, id_ = str(item["cid"]).partition(":")
    else:
        kind, id_ = text_of(item.get("channel_type")), str(item["channel_id"])
    return _named(kind, id_)


def _named(kind: str, id_: str) -> str:
    id_ = id_.lstrip("!")
    return id_ if kind in ("", "messaging") else f"{kind}.{id_}"


def _user(user: dict[str, Any], spool: Spool) -> None:
    spool.user(
        ForeignUser(
            id=str(user["id"]),
            name=text_of(user.get("name")),
            avatar=text_of(user.get("image")),
            data={key: value for key, value in user.items() if key not in _USER},
            created=moment(user.get("created_at")),
            deactivated=moment(user.get("deactivated_at")) or None,
        )
    )


def _channel(channel: dict[str, Any], spool: Spool) -> None:
    kind = text_of(channel.get("type"))
    id_ = str(channel.get("id") or str(channel["cid"]).partition(":")[2])
    name = _named(kind, id_)
    data = {key: value for key, value in channel.items() if key not in _CHANNEL}
    spool.channel(
        ForeignChannel(
            id=name,
            name=text_of(channel.get("name")),
            public=kind in ("livestream", "team"),
            # Without an id of its own a channel is named by its members, there as here.
            direct=id_.startswith("!"),
            creator=_id(channel.get("created_by") or channel.get("created_by_id")),
            created=moment(channel.get("created_at")),
            topic=text_of(channel.get("description")),
            cover=text_of(channel.get("image")),
            data=data,
            frozen=bool(channel.get("frozen") or channel.get("disabled")),
        )
    )
    for member in channel.get("members") or []:
        user = member.get("user_id") or member.get("user") if isinstance(member, dict) else member
        spool.member(name, _id(user), "member", moment(channel.get("created_at")))


def _member(member: dict[str, Any], spool: Spool) -> None:
    raised = member.get("is_moderator") or member.get("channel_role") in ("channel_moderator", "moderator")
    user = member.get("user_id") or member["user"]
    spool.member(_channel_of(member), _id(user), "moderator" if raised else "member", moment(member.get("created_at")))
    for field in ("banned", "shadow_banned"):
        if member.get(field):
            spool.unknown[f"member who is {field}"] += 1


def _message(message: dict[str, Any], spool: Spool) -> None:
    kind, id_ = text_of(message.get("type")) or "regular", str(message["id"])
    channel = _channel_of(message)
    created, changed = moment(message.get("created_at")), moment(message.get("updated_at"))
    data: dict[str, Any] = {}
    if files := [_attachment(one) for one in message.get("attachments") or [] if isinstance(one, dict)]:
        data["files"] = files
    if kind not in ("regular", "reply", "system", "deleted"):
        spool.unknown[f"message of type {kind}: taken as a system message"] += 1
    deleted = moment(message.get("deleted_at")) or (changed or created if kind == "deleted" else 0)
    parent = message.get("parent_id")
    quote = message.get("quoted_message_id")
    spool.message(
        ForeignMessage(
            channel=channel,
            id=id_,
            user=_id(message.get("user") or message.get("user_id")),
            text=text_of(message.get("text")),
            time=created,
            system=kind not in ("regular", "reply", "deleted"),
            parent=str(parent) if parent else None,
            shown=not parent or bool(message.get("show_in_channel")),
            silent=bool(message.get("silent")),
            quote=str(quote) if quote else None,
            mentions=[_id(user) for user in message.get("mentioned_users_ids") or message.get("mentioned_users") or []],
            data=data or None,
            edited=moment(message.get("message_text_updated_at")) or None,
            deleted=deleted or None,
        )
    )
    if message.get("pinned") or message.get("pinned_at"):
        by = _id(message.get("pinned_by") or message.get("pinned_by_id"))
        spool.pin(channel, id_, by, moment(message.get("pinned_at")) or created)
    for reaction in message.get("reactions") or message.get("latest_reactions") or []:
        _reaction({"message_id": id_, **reaction}, spool)


def _reaction(reaction: dict[str, Any], spool: Spool) -> None:
    kind = str(reaction["type"])
    spool.reaction(
        str(reaction["message_id"]),
        _EMOJI.get(kind, kind if not kind.isascii() else f":{kind}:"),
        _id(reaction.get("user_id") or reaction["user"]),
        moment(reaction.get("created_at")),
    )


def _attachment(one: dict[str, Any]) -> dict[str, Any]:
    told = {
        "name": one.get("title") or one.get("fallback"),
        "type": one.get("mime_type") or one.get("type"),
        "size": one.get("file_size"),
        "url": one.get("asset_url") or one.get("image_url") or one.get("og_scrape_url"),
    }
    return {key: value for key, value in told.items() if value is not None}
