"""RFC 6455 framing, the server's side: frames out, and an incremental reader of what comes in.

Sans-I/O, and it knows nothing of what the messages say. The reader is on the path of every message: it takes a whole
read at once, calls back per message, and keeps no buffer while a connection is at rest.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from backchannel_protocol import CloseCode

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without a wheel
    from websockets.utils import apply_mask

__all__ = [
    "BINARY",
    "CLOSE",
    "MAX_FRAGMENTS",
    "PING",
    "PONG",
    "TEXT",
    "FrameReader",
    "FramingError",
    "ReaderState",
    "close_code_of",
    "close_frame",
    "frame",
    "payloads",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_FRAGMENTS: Final = 1024
"""Fragments in one message. The bytes are bounded by the frame limit; this bounds empty fragments."""

_FIN: Final = 0x80
_RSV: Final = 0x70
_RSV1: Final = 0x40
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_SMALL: Final = 125


class FramingError(Exception):
    """The peer broke the framing: send a close frame with `code` and end the connection."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One whole, unmasked frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size <= _SMALL:
        return bytes((_FIN | opcode, size)) + payload
    if size <= 0xFFFF:
        return bytes((_FIN | opcode, 126, size >> 8, size & 0xFF)) + payload
    return bytes((_FIN | opcode, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; a reason that does not fit into 123 bytes is cut between characters."""
    text = reason.encode()[: _SMALL - 2].decode(errors="ignore")
    return frame(code.to_bytes(2, "big") + text.encode(), CLOSE)


def close_code_of(payload: bytes) -> int | None:
    """The code in a close frame that came in; None where it has none.

    Raises:
        FramingError: one byte, a code that must not be sent (section 7.4), or a reason that is not UTF-8.
    """
    if not payload:
        return None
    if len(payload) == 1:
        raise FramingError(CloseCode.PROTOCOL_ERROR, "A close frame has a body of one byte.")
    code = int.from_bytes(payload[:2], "big")
    # 1004 is reserved; 1005, 1006 and 1015 are never sent; up to 2999 is the RFC's own.
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise FramingError(CloseCode.PROTOCOL_ERROR, f"Close code {code} must not be sent.")
    if not _is_utf8(payload[2:]):
        raise FramingError(CloseCode.INVALID_TEXT, "The reason of a close frame is not UTF-8.")
    return code


def payloads(data: bytes) -> list[bytes]:
    """Split whole unmasked frames, as `frame` makes them, back into their payloads."""
    found: list[bytes] = []
    position = 0
    while position < len(data):
        size = data[position + 1]
        start = position + 2
        if size > _SMALL:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[start : start + width], "big")
            start += width
        position = start + size
        found.append(data[start:position])
    return found


class ReaderState(IntEnum):
    """What a reader still does with what comes in."""

    OPEN = 0
    """Messages are handed over."""
    CLOSING = 1
    """Messages are read and dropped; only the peer's close frame matters."""
    DONE = 2
    """Nothing is read any more."""


class _Fragments:
    """A message that comes in pieces. Text is checked piece by piece: nonsense is refused as soon as it is seen."""

    __slots__ = ("compressed", "count", "cut", "data", "is_text")

    def __init__(self, is_text: bool, compressed: bool) -> None:
        """Compressed text is text once it is inflated: whoever joins the pieces checks it."""
        self.count = 0
        self.data = bytearray()
        self.is_text = is_text and not compressed
        self.compressed = compressed
        self.cut = b""  # the begun character that a fragment ends with

    def add(self, payload: bytes, is_last: bool) -> None:
        """Take one more fragment.

        Raises:
            FramingError: there are too many, or the text is not UTF-8, whatever may follow.
        """
        self.count += 1
        if self.count > MAX_FRAGMENTS:
            raise FramingError(CloseCode.TOO_BIG, f"A message has more than {MAX_FRAGMENTS} fragments.")
        if self.is_text:
            text = self.cut + payload
            try:
                _, read = utf_8_decode(text, "strict", is_last)
            except UnicodeDecodeError:
                raise _not_utf8() from None
            self.cut = text[read:]
        self.data += payload


class FrameReader:
    """Reads masked frames of one peer, whose messages must all be of one kind.

    `state` may be changed from within the callbacks and counts from the next frame on.
    """

    __slots__ = ("_first", "_fragments", "_inflate", "_limit", "_need", "_rest", "state")

    def __init__(self, opcode: int, limit: int, inflate: Callable[[bytes, int], bytes] | None = None) -> None:
        """
        Args:
            opcode: `TEXT` or `BINARY`: what the subprotocol allows.
            limit: bytes in the largest message, whole or in fragments; at least 125.
            inflate: where compression was agreed: gives a compressed message, of at most so many bytes, as it was, or
                raises `FramingError`.
        """
        self.state: ReaderState = ReaderState.OPEN
        self._first = _FIN | opcode
        self._limit = limit
        self._inflate = inflate
        # Only while a frame, or a message, is incomplete:
        self._rest: bytearray | None = None
        self._need = 0
        self._fragments: _Fragments | None = None

    def feed(self, data: bytes, message: Callable[[bytes], None], control: Callable[[int, bytes], None]) -> None:
        """Take what one read brought: `message(payload)` and `control(opcode, payload)`, in order.

        Raises:
            FramingError: the framing is broken; whatever stood before it was handed over. Feed nothing more.
        """
        if self.state and self.state is ReaderState.DONE:
            return
        rest = self._rest
        if rest is not None:
            # Appending is linear in the frame's size however it is cut; joining at every read would be quadratic.
            rest += data
            if len(rest) < self._need:
                return
            data = bytes(rest)
            self._rest = None
        first = self._first
        limit = self._limit
        is_text = first & 0x0F == TEXT
        position = 0
        size = len(data)
        while size - position >= 2:
            byte = data[position]
            length = data[position + 1] - _MASKED
            # The usual frame: whole message, masked, up to 64 KiB. Everything else takes the longer way.
            if byte == first and self._fragments is None and 0 <= length <= 126:
                start = position + 6
                if length == 126:
                    start = position + 8
                    if size < start:
                        self._wait(data, position, start)
                        return
                    length = data[position + 2] << 8 | data[position + 3]
                    if length <= _SMALL:
                        raise _padded()
                    if length > limit:
                        raise _too_big(limit)
                end = start + length
                if end > size:
                    self._wait(data, position, end)
                    return
                payload = apply_mask(data[start:end], data[start - 4 : start])
                position = end
                if is_text and not payload.isascii():
                    _check_utf8(payload)
                message(payload)
            else:
                position = self._other(data, position, message, control)
                if position < 0:
                    return
            if self.state:
                if self.state is ReaderState.DONE:
                    return
                message = _drop
        if position < size:
            self._wait(data, position, position + 2)

    def _wait(self, data: bytes, position: int, until: int) -> None:
        """Keep what there is of a frame until it is there up to `until`, a position in `data`."""
        self._rest = bytearray(data[position:])
        self._need = until - position

    def _other(
        self,
        data: bytes,
        position: int,
        message: Callable[[bytes], None],
        control: Callable[[int, bytes], None],
    ) -> int:
        """Read any frame; the position behind it, or -1 if it is incomplete."""
        byte, second = data[position], data[position + 1]
        opcode = byte & 0x0F
        length = second & 0x7F
        self._check_start(byte, second)
        start = position + 6
        if length > _SMALL:
            width = 2 if length == 126 else 8
            start += width
            if len(data) < position + 2 + width:
                self._wait(data, position, position + 2 + width)
                return -1
            length = int.from_bytes(data[position + 2 : position + 2 + width], "big")
            if length >> 63:
                raise FramingError(CloseCode.PROTOCOL_ERROR, "A length has its top bit set.")
            if length <= _SMALL or (width == 8 and length <= 0xFFFF):
                raise _padded()
        fragments = self._fragments
        # Refused before a byte of it is kept.
        if length + (len(fragments.data) if fragments and not opcode else 0) > self._limit:
            raise _too_big(self._limit)
        end = start + length
        if end > len(data):
            self._wait(data, position, end)
            return -1
        payload = apply_mask(data[start:end], data[start - 4 : start])
        if opcode & _CONTROL:
            control(opcode, payload)
        elif fragments is None and byte & _FIN:
            if byte & _RSV1 and self._inflate is not None:
                payload = self._inflate(payload, self._limit)
            if opcode == TEXT:
                _check_utf8(payload)
            message(payload)
        else:
            self._join(payload, byte, message)
        return end

    def _check_start(self, byte: int, second: int) -> None:
        """Refuse a frame by its first two bytes."""
        opcode = byte & 0x0F
        if byte & _RSV and (self._inflate is None or byte & _RSV != _RSV1 or opcode not in (TEXT, BINARY)):
            # Where compression was agreed, RSV1 marks the first frame of a compressed message (RFC 7692 section 6).
            raise FramingError(
                CloseCode.PROTOCOL_ERROR, "A reserved bit is set, and no extension agreed on gives it a meaning."
            )
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise FramingError(CloseCode.PROTOCOL_ERROR, f"Opcode {opcode} is reserved.")
        if not second & _MASKED:
            raise FramingError(CloseCode.PROTOCOL_ERROR, "A client must mask its frames.")
        if opcode & _CONTROL:
            if not byte & _FIN:
                raise FramingError(CloseCode.PROTOCOL_ERROR, "A control frame must not be fragmented.")
            if second & 0x7F > _SMALL:
                raise FramingError(
                    CloseCode.PROTOCOL_ERROR, "A control frame holds at most 125 bytes, told in one byte."
                )
        elif opcode == CONTINUATION:
            if self._fragments is None:
                raise FramingError(CloseCode.PROTOCOL_ERROR, "A continuation continues nothing.")
        elif self._fragments is not None:
            raise FramingError(CloseCode.PROTOCOL_ERROR, "A message begins within a fragmented one.")
        elif opcode != self._first & 0x0F:
            kind = "text" if opcode == BINARY else "binary"
            raise FramingError(CloseCode.UNSUPPORTED_DATA, f"This subprotocol's frames are {kind} messages.")

    def _join(self, payload: bytes, byte: int, message: Callable[[bytes], None]) -> None:
        fragments = self._fragments
        if fragments is None:
            fragments = self._fragments = _Fragments(self._first & 0x0F == TEXT, bool(byte & _RSV1))
        fragments.add(payload, bool(byte & _FIN))
        if byte & _FIN:
            self._fragments = None
            whole = bytes(fragments.data)
            if fragments.compressed and self._inflate is not None:
                whole = self._inflate(whole, self._limit)
                if self._first & 0x0F == TEXT:
                    _check_utf8(whole)
            message(whole)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_utf8(payload: bytes) -> None:
    if not _is_utf8(payload):
        raise _not_utf8()


def _not_utf8() -> FramingError:
    return FramingError(CloseCode.INVALID_TEXT, "A text message is not UTF-8.")


def _padded() -> FramingError:
    return FramingError(CloseCode.PROTOCOL_ERROR, "A length is not in its shortest form.")


def _too_big(limit: int) -> FramingError:
    return FramingError(CloseCode.TOO_BIG, f"A message is larger than {limit} bytes.")


def _drop(payload: bytes) -> None:
    """Take a message that comes after the close."""
