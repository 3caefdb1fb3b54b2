"""Output: what handlers answer and publish, encoded, and checked against what they declare."""

from __future__ import annotations

from typing import Any

import msgspec

from backchannel_protocol import Malformed
from backchannel_protocol.codec import decode_data, encode_data

__all__ = ["Output"]


class Output:
    """Encodes values by their declarations; one decoder per name, made once.

    A struct does not look at what its fields are given, and a handler can return anything. So the encoded form is read
    back as a client would read it: that costs less than it cost to encode.
    """

    def __init__(self) -> None:
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}

    def encode(self, name: str, declared: Any, value: Any) -> bytes:
        """The canonical form of a value.

        Args:
            name: of the request that is answered, or of the event.
            declared: the type that its declaration names.
            value: what the handler made.

        Raises:
            TypeError: it is not what is declared, or has no form on the wire.
            ValueError: it holds what not every client can.
        """
        data = encode_data(value)
        decoder = self._decoders.get(name)
        if decoder is None:
            decoder = self._decoders[name] = msgspec.json.Decoder(declared)
        try:
            decode_data(decoder, data)
        except Malformed as exc:
            shown = getattr(declared, "__name__", declared)
            raise TypeError(
                f"{name}: a {type(value).__name__} came where {shown} is declared, and it does not fit: {exc.message}"
            ) from None
        return data
