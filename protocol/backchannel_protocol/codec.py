"""Codecs: frames to bytes and back, in JSON and in MessagePack, behind one decode wrapper.

Both codecs have the same methods. Whatever the bytes are, decoding raises `Malformed` or returns a
frame: never another exception, never deep recursion. `Malformed.request_id` holds the request's id
where it could still be read, so that the request gets its one answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Raw

from .errors import Malformed
from .frames import (
    Call,
    Cancel,
    ClientFrame,
    Connect,
    History,
    Pong,
    PresenceRequest,
    Publish,
    Refresh,
    ServerFrame,
    Subscribe,
    Unsubscribe,
)
from .limits import (
    CHANNEL_PATTERN,
    KEY_PATTERN,
    MAX_INTEGER,
    NAME_PATTERN,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    USER_PATTERN,
)
from .scan import scan_json, scan_msgpack

__all__ = ["CODECS", "JSON", "MSGPACK", "REMEMBERED", "Codec", "decode_data", "encode_data"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# A frame adds a few levels of its own to its data, and clients take 64.
_DATA_NESTING: Final = 56

# What msgspec 0.22 can raise on hostile bytes: its own errors, deep nesting, and invalid UTF-8
# inside MessagePack strings (`UnicodeDecodeError` is a ValueError).
_DECODE_ERRORS: Final = (msgspec.MsgspecError, RecursionError, ValueError, MemoryError)


REMEMBERED: Final = 4096
"""How many channels and names of good frames a codec remembers at most; then it forgets all.

They are not matched with their patterns again, which took longer than all the rest of decoding: of a publish 0.8 of
1.1 µs. All clients share them, in 2 MB at most; who names ever new ones pays as if nothing were remembered.
"""


class _Publish(Publish, tag="publish"):
    """A `Publish` whose channel and name nobody has looked at."""

    channel: str
    name: str


class _Call(Call, tag="call"):
    """A `Call` whose name nobody has looked at."""

    name: str


_Unchecked = Connect | Subscribe | Unsubscribe | _Call | Cancel | _Publish | History | PresenceRequest | Refresh | Pong


class _Decoder(Protocol[T_co]):
    def decode(self, data: bytes | Raw, /) -> T_co: ...


class Codec:
    """One encoding of the wire. Use the values `JSON` and `MSGPACK`."""

    __slots__ = (
        "_any",
        "_client",
        "_good",
        "_scan",
        "_server",
        "_unchecked",
        "binary",
        "encode",
        "name",
        "subprotocol",
    )

    name: str
    subprotocol: str
    binary: bool
    """Whether frames travel as binary WebSocket messages (else as text)."""
    encode: Callable[[Any], bytes]
    """Encode a frame, or data. The value is trusted; it raises `TypeError` for what has no form."""

    def __init__(
        self,
        *,
        name: str,
        subprotocol: str,
        binary: bool,
        encode: Callable[[Any], bytes],
        decoder: Callable[[Any], _Decoder[Any]],
        scan: Callable[[bytes, int], None],
    ) -> None:
        self.name = name
        self.subprotocol = subprotocol
        self.binary = binary
        self.encode = encode
        self._client = decoder(ClientFrame)
        self._unchecked = decoder(_Unchecked)
        # Names of calls; of publishes the channel with the name.
        self._good: set[str | tuple[str, str]] = set()
        self._server = decoder(ServerFrame)
        self._any = decoder(Any)
        self._scan = scan

    @property
    def remembered(self) -> int:
        """How many good channels and names it remembers, up to `REMEMBERED`."""
        return len(self._good)

    def __repr__(self) -> str:
        return f"<Codec {self.name}>"

    def decode_client(self, data: bytes, nesting: int = 32) -> ClientFrame:
        """Decode a frame that a client sent.

        Raises:
            Malformed: not a frame, or outside the data model.
        """
        try:
            self._scan(data, nesting)
            frame = self._unchecked.decode(data)
            kind = type(frame)
            if kind is _Publish:
                if (frame.channel, frame.name) not in self._good:
                    return self._checked(data)
                frame.__class__ = Publish
            elif kind is _Call:
                if frame.name not in self._good:
                    return self._checked(data)
                frame.__class__ = Call
            return frame  # type: ignore[no-any-return]
        except Malformed as exc:
            exc.request_id = self._request_id(data)
            raise
        except _DECODE_ERRORS as exc:
            raise Malformed(_explain(exc), request_id=self._request_id(data)) from None

    def _checked(self, data: bytes) -> ClientFrame:
        """Decode a frame by all that is declared, and remember its channel and name as good."""
        frame: Publish | Call = self._client.decode(data)
        good = self._good
        if len(good) >= REMEMBERED:
            good.clear()
        good.add((frame.channel, frame.name) if isinstance(frame, Publish) else frame.name)
        return frame

    def decode_server(self, data: bytes, nesting: int = 64) -> ServerFrame:
        """Decode a frame that a server sent.

        Raises:
            Malformed: not a frame that this version knows. A client ignores it.
        """
        try:
            self._scan(data, nesting)
            return self._server.decode(data)  # type: ignore[no-any-return]
        except Malformed:
            raise
        except _DECODE_ERRORS as exc:
            raise Malformed(_explain(exc)) from None

    def decode_any(self, data: bytes | Raw) -> Any:
        """Decode `data` into plain dicts, lists, strings and numbers.

        Raises:
            Malformed: broken bytes, or an integer out of range.
        """
        try:
            return self._any.decode(bytes(data))
        except _DECODE_ERRORS as exc:
            raise Malformed(_explain(exc)) from None

    def _request_id(self, data: bytes) -> int | None:
        """The request's id, if the bytes still tell it."""
        value: Any
        try:
            value = self._any.decode(data).get("id")
        except (*_DECODE_ERRORS, AttributeError):
            value = _id_in_msgpack(data) if self.binary else _id_in_json(data)
        if type(value) is int and 1 <= value <= MAX_INTEGER:
            return value
        return None


# A frame that breaks somewhere often tells its id before. Only the outermost map is believed, and
# only up to its first nested map or array.
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_ID_IN_JSON: Final = re.compile(
    rb'\s*+\{(?:\s*+%b\s*+:\s*+(?:%b|[^\s"{}\[\],:]++)\s*+,)*?\s*+"id"\s*+:\s*+([1-9][0-9]{0,15})\s*+[,}]'
    % (_STRING, _STRING),
    re.S,
)


def _id_in_json(data: bytes) -> int | None:
    found = _ID_IN_JSON.match(data)
    return None if found is None else int(found.group(1))


def _id_in_msgpack(data: bytes) -> Any:
    if not data or not (0x80 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF)):
        return None
    position = {0xDE: 3, 0xDF: 5}.get(data[0], 1)
    try:
        while True:
            key, position = _read_scalar(data, position)
            value, position = _read_scalar(data, position)
            if key == "id":
                return value
    except (*_DECODE_ERRORS, IndexError):
        return None


# By first byte: how many bytes of payload, or of the payload's length, follow it.
_SIZED: Final[dict[int, int]] = {
    0xC0: 0, 0xC2: 0, 0xC3: 0,
    0xCA: 4, 0xCB: 8,
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
_SIZED_STRINGS: Final[dict[int, int]] = {0xD9: 1, 0xDA: 2, 0xDB: 4}


def _read_scalar(data: bytes, position: int) -> tuple[Any, int]:
    """One string, number, boolean or null, and the position behind it; anything else raises."""
    first = data[position]
    if first <= 0x7F or first >= 0xE0:
        end = position + 1
    elif 0xA0 <= first <= 0xBF:
        end = position + 1 + (first & 0x1F)
    elif first in _SIZED_STRINGS:
        width = _SIZED_STRINGS[first]
        end = position + 1 + width + int.from_bytes(data[position + 1 : position + 1 + width], "big")
    elif first in _SIZED:
        end = position + 1 + _SIZED[first]
    else:
        raise ValueError("not a scalar")
    return msgspec.msgpack.decode(data[position:end]), end


# What the grammars say, for whoever does not read regular expressions.
_MEANINGS: Final = (
    (CHANNEL_PATTERN, "a channel, `namespace:name` of letters, digits and `_ . @ -` (the namespace lower case)"),
    (NAME_PATTERN, "a name, lower-case words joined by `.` and `_`"),
    (KEY_PATTERN, "a key, 8 to 64 printable ASCII characters without spaces"),
    (USER_PATTERN, "a user, 1 to 128 letters, digits and `_ . @ -`"),
)


def _explain(exc: BaseException) -> str:
    """A sentence for the client, free of the decoder's internals."""
    if isinstance(exc, RecursionError):
        return "Nested too deeply."
    if isinstance(exc, UnicodeDecodeError):
        return "A string is not valid UTF-8."
    if isinstance(exc, msgspec.MsgspecError):
        # It may quote what was sent, which may be as long as a frame.
        text = str(exc)
        for pattern, meaning in _MEANINGS:
            text = text.replace(f"`str` matching regex {pattern!r}", meaning)
        return f"{text}." if len(text) <= 200 else f"{text[:100]} … {text[-80:]}."
    return "The frame cannot be read."


JSON: Final = Codec(
    name="json",
    subprotocol=SUBPROTOCOL_JSON,
    binary=False,
    encode=msgspec.json.Encoder().encode,
    decoder=msgspec.json.Decoder,
    scan=scan_json,
)
"""Text frames; the default where no subprotocol is offered."""

MSGPACK: Final = Codec(
    name="msgpack",
    subprotocol=SUBPROTOCOL_MSGPACK,
    binary=True,
    encode=msgspec.msgpack.Encoder().encode,
    decoder=msgspec.msgpack.Decoder,
    scan=scan_msgpack,
)
"""Binary frames, smaller on the wire."""

CODECS: Final[dict[str, Codec]] = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
"""By subprotocol, best first."""


def encode_data(value: Any) -> bytes:
    """Encode `data` in its canonical form, JSON, as logs and buses carry it.

    Raises:
        ValueError: it holds what not every client can (ENC-3): an integer beyond 2^53 - 1, or nesting too deep for a
            frame to carry.
        TypeError: it holds what has no form.
    """
    data = JSON.encode(value)
    try:
        scan_json(data, _DATA_NESTING)
    except Malformed as exc:
        raise ValueError(f"{exc.message} Carry large numbers as strings, and nest less.") from None
    return data


def decode_data(decoder: _Decoder[T], data: bytes | Raw) -> T:
    """Decode `data` with a typed decoder of its own encoding.

    Raises:
        Malformed: the data is not what the type declares.
    """
    try:
        return decoder.decode(data)
    except _DECODE_ERRORS as exc:
        raise Malformed(_explain(exc)) from None
