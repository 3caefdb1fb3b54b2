"""The header of a token: a stranger's words, of which two are looked at, to look up which key may verify it.

The algorithm is fixed by the key and only compared with what the header says; `kid` is looked up in a table and
nothing else; `jku`, `jwk`, `x5u` and `x5c` are never read (RFC 8725 sections 3.1, 3.10).
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from .claims import refused

__all__ = ["MAX_TOKEN", "Header", "read_header"]

MAX_TOKEN: Final = 64 * 1024
"""Bytes: the most that the setting `token_size` may allow."""


class Header(Struct):
    """What is read of it."""

    alg: str
    kid: Annotated[str, Meta(max_length=256)] | None = None
    crit: Raw | UnsetType = UNSET


_decode: Final = msgspec.json.Decoder(Header).decode


def read_header(token: str) -> Header:
    """The header of a token that nobody has verified yet.

    Raises:
        Refused: `unauthenticated`: it is no token, too long, or asks for an extension: we know none, and RFC 7515
            section 4.1.11 forbids to go on without.
    """
    if len(token) > MAX_TOKEN:
        raise refused(f"The token is longer than {MAX_TOKEN} bytes.")
    first = token.partition(".")[0]
    try:
        raw = base64.b64decode(first.encode("ascii") + b"=" * (-len(first) % 4), altchars=b"-_", validate=True)
        header = _decode(raw)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        raise refused("The token is not a valid JSON Web Token.") from None
    if header.crit is not UNSET:
        raise refused("The token asks for an extension (`crit`) that is not known here.")
    return header
