"""Checks of bytes before a decoder sees them: nesting, and the JSON data model.

msgspec recurses per level and so must not be handed deep nesting, and it accepts things that not
every client can hold: integers past 2^53 - 1, and from MessagePack NaN, infinities, binary,
extensions and keys that are not strings. Harmless bytes pass one or two C calls; only suspicious
ones are walked, iteratively, so that hostile input costs time in proportion to its length and no
stack.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final

import msgspec

from .errors import Malformed
from .limits import MAX_INTEGER

__all__ = ["scan_json", "scan_msgpack"]

# A number out of range has sixteen digits in a row or an exponent of three. Both are looked for in
# a copy in which every digit is 0, every exponent's letter e, every opening bracket [, and every other byte a space.
_SHAPES: Final = {**dict.fromkeys(b"0123456789", b"0"), **dict.fromkeys(b"eE", b"e"), **dict.fromkeys(b"{[", b"[")}
_SHAPE: Final = b"".join([_SHAPES.get(byte, b" ") for byte in range(256)])
_LONG_INTEGER: Final = b"0" * 16
_LONG_EXPONENT: Final = b"0e000"

# A string that does not end is one token too: else each escaped quote in it would be tried as a
# start, which takes time in the square of the length. Whole numbers, so that the digits behind a
# point are not taken for an integer.
_JSON_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?', re.S)


def scan_json(data: bytes, nesting: int) -> None:
    """Check JSON text for UTF-8, nesting and numbers out of range; not for being JSON.

    Raises:
        Malformed: not UTF-8, nested deeper than `nesting`, an integer beyond 2^53 - 1, or a number
            that no double holds.
    """
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise Malformed("A string is not valid UTF-8.") from None
    size = len(data)
    shape = data.translate(_SHAPE, b"+")
    # Each look at the bytes costs as much as decoding some of them, so a short text is spared what it has no room for.
    if (
        (size <= nesting or shape.count(b"[") <= nesting)
        and (size < 16 or _LONG_INTEGER not in shape)
        and _LONG_EXPONENT not in shape
    ):
        return
    depth = 0
    for match in _JSON_TOKEN.finditer(data):
        token = match.group()
        first = token[0]
        if first in b"{[":
            depth += 1
            if depth > nesting:
                raise Malformed(f"Nested deeper than {nesting} levels.")
        elif first in b"}]":
            depth -= 1
        elif first != 0x22 and len(token) > 4:
            _check_number(token)


def _check_number(token: bytes) -> None:
    digits = token.lstrip(b"-")
    if digits.isdigit():
        # int() of very long digit strings is quadratic, and 17 digits are already out of range.
        if len(digits) > 16 or int(digits) > MAX_INTEGER:
            raise Malformed("An integer is outside -(2^53-1) to 2^53-1.")
    elif not math.isfinite(float(token)):
        raise Malformed("A number is not finite.")


# The payload sizes of the integers that are always in range.
_FIXED: Final[dict[int, int]] = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xD0: 1, 0xD1: 2, 0xD2: 4}


def scan_msgpack(data: bytes, nesting: int) -> None:
    """Check MessagePack for nesting and for what the JSON data model does not have.

    Raises:
        Malformed: nested deeper than `nesting`; binary, extension, NaN, infinity, an integer
            beyond 2^53 - 1, a key that is not a string or a string that is not UTF-8; or truncated.
    """
    position = 0
    size = len(data)
    # Per open container: what is left of it, and whether the next item is a key.
    left: list[int] = [1]
    maps: list[bool] = [False]
    try:
        while left:
            if left[-1] == 0:
                left.pop()
                maps.pop()
                continue
            is_key = maps[-1] and left[-1] % 2 == 0
            left[-1] -= 1
            byte = data[position]
            position += 1
            if 0xA0 <= byte <= 0xBF:
                position += byte & 0x1F
            elif byte in (0xD9, 0xDA, 0xDB):
                width = 1 << (byte - 0xD9)
                position += width + int.from_bytes(data[position : position + width], "big")
            elif is_key:
                raise Malformed("A map's key is not a string.")
            elif byte <= 0x7F or byte >= 0xE0 or byte in (0xC0, 0xC2, 0xC3):
                pass
            elif byte in _FIXED:
                position += _FIXED[byte]
            elif 0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF:
                if byte <= 0x9F:
                    count = byte & 0x0F
                    is_map = byte <= 0x8F
                else:
                    width = 2 if byte in (0xDC, 0xDE) else 4
                    count = int.from_bytes(data[position : position + width], "big")
                    position += width
                    is_map = byte >= 0xDE
                if count > size:
                    raise Malformed("Truncated: an array or map claims more items than there are bytes.")
                if len(left) > nesting:
                    raise Malformed(f"Nested deeper than {nesting} levels.")
                left.append(count * 2 if is_map else count)
                maps.append(is_map)
            elif byte in (0xCF, 0xD3):
                (value,) = struct.unpack_from(">Q" if byte == 0xCF else ">q", data, position)
                position += 8
                if abs(value) > MAX_INTEGER:
                    raise Malformed("An integer is outside -(2^53-1) to 2^53-1.")
            elif byte in (0xCA, 0xCB):
                (number,) = struct.unpack_from(">f" if byte == 0xCA else ">d", data, position)
                position += 4 if byte == 0xCA else 8
                if not math.isfinite(number):
                    raise Malformed("A number is not finite.")
            else:
                raise Malformed("Binary and extension types are not part of the data model.")
            if position > size:
                raise Malformed("Truncated.")
    except (IndexError, struct.error):
        raise Malformed("Truncated.") from None
    try:
        # The quickest look at every string's UTF-8, also of those that stay raw in `data`.
        msgspec.msgpack.decode(data)
    except UnicodeDecodeError:
        raise Malformed("A string is not valid UTF-8.") from None
    except msgspec.DecodeError as exc:
        raise Malformed(f"{exc}.") from None
