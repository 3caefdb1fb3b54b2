"""Cursors: where a page ends, as text that clients hand back unread."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

import msgspec

from backchannel import Refused

__all__ = ["cursor", "read_cursor"]

T = TypeVar("T")


def cursor(*place: Any) -> str:
    """The cursor of a place: the values that its page is sorted by."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def read_cursor(text: str, place: type[T]) -> T:
    """The place that a cursor stands for; `place` is its type, such as `tuple[int, str]`.

    Raises:
        Refused: `invalid`, for what `cursor` did not make.
    """
    try:
        return msgspec.convert(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))), place)
    except (ValueError, RecursionError):
        raise Refused("invalid", "This is no cursor of this query; begin without one.") from None
