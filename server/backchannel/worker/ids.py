"""Ids: 26 letters and digits that sort by time."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Final

__all__ = ["new_id"]

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
# By byte: five bits of it, as a character.
_CHARACTERS: Final = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_RANDOM: Final = 16
"""Characters behind the instant: 80 bits."""
_AT_ONCE: Final = 128
"""Ids that the system is asked for randomness for at once: each time it is asked, Python's global lock is given up, and
has to be waited for again where a gateway's thread has it."""

_tails: list[str] = []
"""What waits to be used, each once, by any thread."""
os.register_at_fork(after_in_child=_tails.clear)


def new_id(now: int | None = None, entropy: Callable[[int], bytes] | None = None) -> str:
    """48 bits of Unix milliseconds and 80 random bits, in lower-case Crockford base32.

    Args:
        now: the instant, Unix milliseconds; the system's clock by default.
        entropy: brings so many random bytes; the system's by default.
    """
    if now is None:
        now = time.time_ns() // 1_000_000
    if entropy is not None:
        tail = _text(entropy(_RANDOM))
    else:
        try:
            tail = _tails.pop()
        except IndexError:
            tail = _refill()
    return _instant(now & 0xFFFF_FFFF_FFFF) + tail


def _text(entropy: bytes) -> str:
    return entropy.translate(_CHARACTERS).decode()


def _refill() -> str:
    text = _text(os.urandom(_RANDOM * _AT_ONCE))
    first, *others = [text[start : start + _RANDOM] for start in range(0, len(text), _RANDOM)]
    _tails.extend(others)
    return first


@functools.lru_cache(maxsize=16)
def _instant(milliseconds: int) -> str:
    """The first ten characters, which the ids of one batch mostly have in common."""
    return "".join([_ALPHABET[milliseconds >> shift & 31] for shift in range(45, -1, -5)])
