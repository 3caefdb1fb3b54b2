"""Frames of a later protocol version, read as far as this version can (EVO-2)."""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from backchannel_protocol import Codec, Malformed
from backchannel_protocol.frames import Gap, GapReason, ServerFrame, Subscribed, Verdict

__all__ = ["decode_frame"]

# An unknown value of these fields means that something is missing: the app loads a snapshot.
_TAKEN_FOR: Final[dict[str, tuple[str, frozenset[str], str, type[Subscribed | Gap]]]] = {
    "subscribed": ("verdict", frozenset(get_args(Verdict)), "gap", Subscribed),
    "gap": ("reason", frozenset(get_args(GapReason)), "trimmed", Gap),
}


def decode_frame(codec: Codec, message: bytes) -> ServerFrame:
    """Decode a server's frame; an unknown verdict is taken for `gap`, an unknown reason for `trimmed`.

    Raises:
        Malformed: a frame of unknown type, or no frame. A client ignores it.
    """
    try:
        return codec.decode_server(message)
    except Malformed:
        plain: Any = codec.decode_any(message)
        known = _TAKEN_FOR.get(str(plain.get("type"))) if isinstance(plain, dict) else None
        if known is None:
            raise
        field, values, fallback, form = known
        if not isinstance(plain.get(field), str) or plain[field] in values:
            raise
        try:
            return msgspec.convert(plain | {field: fallback}, form)
        except msgspec.ValidationError as exc:
            raise Malformed(f"{exc}.") from None
