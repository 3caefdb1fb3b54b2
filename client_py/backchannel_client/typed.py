"""Typed decoding of `data`, with decoders that are made once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from backchannel_protocol import Codec
from backchannel_protocol.codec import decode_data

__all__ = ["decode"]


@lru_cache(maxsize=512)
def _decoder(binary: bool, form: Any) -> Any:
    return msgspec.msgpack.Decoder(form) if binary else msgspec.json.Decoder(form)


def decode(codec: Codec, form: Any, data: bytes | Raw) -> Any:
    """Decode `data`, in the codec's encoding, into the type `form`.

    Raises:
        Malformed: the data is not what the type declares.
    """
    return decode_data(_decoder(codec.binary, form), data)
