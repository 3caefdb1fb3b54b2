"""Replies: their encoded form, as it travels and as it is kept under a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from backchannel_protocol import Refused

from ..relay.relay import Failure, Reply
from ..store.store import StoredKey
from .work import Work

__all__ = ["frame_size", "reply_to_repeat", "stored_reply"]

# A reply's frame is its data, its positions, and less than this.
_AROUND: Final = 64
# `"channel":offset,` needs this beside the channel: quotes, colon, comma and sixteen digits.
_POSITION: Final = 20


class _StoredReply(Struct, omit_defaults=True):
    data: Raw
    positions: dict[str, int] | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_StoredReply).decode

_OTHER_DATA: Final = Failure.of(
    Refused("conflict", "This key was used for another request; use a new key for a new request.")
)
_DONE: Final = Failure.of(
    Refused(
        "conflict",
        "This command was done long ago, and its reply is no longer kept.",
        details={"done": True},
    )
)


def frame_size(data: bytes, channels: Iterable[str]) -> int:
    """At most how many bytes the reply's frame has, before the positions are known."""
    size = len(data) + _AROUND
    for channel in channels:
        size += len(channel) + _POSITION
    return size


def stored_reply(data: bytes, positions: Mapping[str, int] | None) -> bytes:
    """A reply as it is kept under its key."""
    return _encode(_StoredReply(Raw(data), dict(positions) if positions else None))


def reply_to_repeat(work: Work, stored: StoredKey) -> Reply:
    """The answer to a command whose key was used before."""
    if stored.digest != work.digest:
        return Reply(id=work.request.id, failure=_OTHER_DATA)
    if stored.reply is None:
        return Reply(id=work.request.id, failure=_DONE)
    reply = _decode(stored.reply)
    return Reply(id=work.request.id, data=bytes(reply.data), positions=reply.positions)
