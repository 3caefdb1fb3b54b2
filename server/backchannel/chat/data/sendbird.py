"""Sendbird-shaped JSON: `users`, `channels` with their members, `messages`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .foreign import items, moment, text_of
from .records import BadExport
from .spool import ForeignChannel, ForeignMessage, ForeignUser, Spool

__all__ = ["read_sendbird"]


def read_sendbird(path: Path, spool: Spool) -> None:
    """Read an export into the spool.

    Raises:
        BadExport: it cannot be read, or something in it lacks its id.
    """
    for kind, item in items(path):
        try:
            if kind == "users":
                _user(item, spool)
            elif kind in ("channels", "group_channels", "open_channels"):
                _channel(item, spool)
            elif kind == "messages":
                _message(item, text_of(item.get("channel_url")), spool)
            else:
                spool.unknown[f"item of kind {kind!r}"] += 1
        except (KeyError, TypeError, AttributeError) as exc:
            raise BadExport(f"One of the {kind} lacks {exc}, or has something else there.") from None


def _user(user: dict[str, Any], spool: Spool) -> None:
    inactive = user.get("is_active") is False
    spool.user(
        ForeignUser(
            id=str(user["user_id"]),
            name=text_of(user.get("nickname")),
            avatar=text_of(user.get("profile_url")),
            data=user.get("metadata") or {},
            created=moment(user.get("created_at")),
            deactivated=moment(user.get("last_seen_at")) if inactive else None,
        )
    )


def _channel(channel: dict[str, Any], spool: Spool) -> None:
    url = str(channel["channel_url"])
    created = moment(channel.get("created_at"))
    maker = channel.get("created_by") or {}
    data: dict[str, Any] = {}
    for field in ("custom_type", "data"):
        if channel.get(field):
            data[field] = channel[field]
    members = channel.get("members") or []
    spool.channel(
        ForeignChannel(
            id=url,
            name=text_of(channel.get("name")),
            public=bool(channel.get("is_public")),
            # What is distinct is there once for its members, as a direct channel is here.
            direct=bool(channel.get("is_distinct")) and len(members) <= 20,
            creator=text_of(maker.get("user_id")),
            created=created,
            cover=text_of(channel.get("cover_url")),
            data=data,
            frozen=bool(channel.get("freeze")),
        )
    )
    for member in members:
        user = str(member["user_id"])
        if "nickname" in member:
            _user(member, spool)
        spool.member(url, user, "moderator" if member.get("role") == "operator" else "member", created)
    for operator in channel.get("operators") or []:
        spool.member(url, str(operator["user_id"]), "moderator", created)
    for message in channel.get("messages") or []:
        _message(message, url, spool)


def _message(message: dict[str, Any], channel: str, spool: Spool) -> None:
    if not channel:
        raise KeyError("channel_url")
    id_, kind = str(message["message_id"]), str(message.get("type") or "MESG")
    author = message.get("user") or {}
    if author.get("user_id") and "nickname" in author:
        _user(author, spool)
    data: dict[str, Any] = {}
    for field in ("custom_type", "data"):
        if message.get(field):
            data[field] = message[field]
    file = message.get("file")
    if isinstance(file, dict):
        data["files"] = [{key: file[key] for key in ("name", "type", "size", "url") if key in file}]
    if kind not in ("MESG", "FILE", "ADMM"):
        spool.unknown[f"message of type {kind}: taken as a system message"] += 1
    created, changed = moment(message.get("created_at")), moment(message.get("updated_at"))
    parent = message.get("parent_message_id")
    spool.message(
        ForeignMessage(
            channel=channel,
            id=id_,
            user=text_of(author.get("user_id")),
            text=text_of(message.get("message")),
            time=created,
            # Ids are numbers, and count.
            order=id_.zfill(24) if id_.isdigit() else id_,
            system=kind not in ("MESG", "FILE"),
            parent=str(parent) if parent else None,
            shown=not parent or bool(message.get("is_reply_to_channel")),
            silent=bool(message.get("is_silent")),
            mentions=[str(user["user_id"]) for user in message.get("mentioned_users") or []],
            everybody=message.get("mention_type") == "channel",
            data=data or None,
            edited=changed if changed > created else None,
            deleted=changed or created if message.get("is_removed") else None,
        )
    )
    for reaction in message.get("reactions") or []:
        for user in reaction.get("user_ids") or []:
            spool.reaction(id_, str(reaction["key"]), str(user), moment(reaction.get("updated_at")), channel=channel)
