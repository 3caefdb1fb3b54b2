"""Limits of what an app keeps in chat: objects of its own (`Data`) in channels, members, messages, profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from backchannel import Refused

__all__ = ["MAX_DATA", "MAX_DEPTH", "MAX_KEYS", "check_data", "merge_data"]

MAX_DATA: Final = 5 * 1024
"""Bytes of JSON that an object of the app's own may take, where nothing else is said."""
MAX_KEYS: Final = 100
"""Keys of such an object, at its top."""
MAX_DEPTH: Final = 8
"""How deep objects and lists may stand in each other, the object itself counted."""

_MAX_KEY: Final = 64


def check_data(data: Mapping[str, Any], what: str, max_bytes: int = MAX_DATA) -> str:
    """The object as JSON text, as columns keep it.

    Args:
        data: the object.
        what: its name in the request, for the refusal: ``"data"``.
        max_bytes: how many bytes of JSON it may take.

    Raises:
        Refused: `too_large`, it takes more bytes, or has more than `MAX_KEYS` keys; `invalid`, a key is empty or longer
            than 64 characters, or it is nested deeper than `MAX_DEPTH`.
    """
    if len(data) > MAX_KEYS:
        raise Refused(
            "too_large",
            f"`{what}` has {len(data)} keys; {MAX_KEYS} are the most.",
            details={"reason": "data_keys", "limit": MAX_KEYS},
        )
    for key in data:
        if not key or len(key) > _MAX_KEY:
            raise Refused(
                "invalid",
                f"`{what}`: a key needs 1 to {_MAX_KEY} characters.",
                details={"reason": "data_key"},
            )
    if _deeper(data, MAX_DEPTH):
        raise Refused(
            "invalid",
            f"`{what}` is nested deeper than {MAX_DEPTH}; keep it flatter.",
            details={"reason": "data_depth", "limit": MAX_DEPTH},
        )
    encoded = msgspec.json.encode(data)
    if len(encoded) > max_bytes:
        raise Refused(
            "too_large",
            f"`{what}` takes {len(encoded)} bytes as JSON; {max_bytes} are the most. Keep a reference in it instead.",
            details={"reason": "data_size", "limit": max_bytes},
        )
    return encoded.decode()


def merge_data(stored: str, changes: Mapping[str, Any], what: str, max_bytes: int = MAX_DATA) -> str:
    """What a column keeps with changes: keys that are given replace, keys whose value is null go, others stay.

    Raises:
        Refused: as `check_data`, for the whole.
    """
    merged = {**msgspec.json.decode(stored), **changes}
    return check_data({key: value for key, value in merged.items() if value is not None}, what, max_bytes)


def _deeper(value: Any, depth: int) -> bool:
    """Whether containers stand deeper in this one than `depth`."""
    if isinstance(value, Mapping):
        return depth == 0 or any(_deeper(inner, depth - 1) for inner in value.values())
    if isinstance(value, list | tuple):
        return depth == 0 or any(_deeper(inner, depth - 1) for inner in value)
    return False
