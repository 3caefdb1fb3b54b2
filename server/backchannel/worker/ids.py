"""Ids: 26 letters and digits that sort by time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

__all__ = ["new_id"]

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
# Two characters per look-up: 10 bits.
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_SHIFTS: Final = tuple(range(120, -1, -10))


def new_id(now: int | None = None, entropy: Callable[[int], bytes] = os.urandom) -> str:
    """48 bits of Unix milliseconds and 80 random bits, in lower-case Crockford base32.

    Args:
        now: the instant, Unix milliseconds; the system's clock by default.
        entropy: brings so many random bytes; the system's by default.
    """
    if now is None:
        now = time.time_ns() // 1_000_000
    number = (now & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(entropy(10), "big")
    pairs = _PAIRS
    return "".join([pairs[number >> shift & 1023] for shift in _SHIFTS])
