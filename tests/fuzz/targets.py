"""What is fuzzed: for each target a check that takes any bytes and raises where an outcome is not a documented one.

A check knows no fuzzer: Hypothesis, Atheris and the seeds in `seeds/` all feed it. An input is the bytes that a hostile
client could send, behind a few that choose the setting.
"""

# ruff: noqa: PT017  (what is caught is what is checked)

from __future__ import annotations

import contextlib
from codecs import getincrementaldecoder
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import httptools
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from backchannel.gateway.deflate import agree, inflate
from backchannel.gateway.framing import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    FramingError,
    close_code_of,
    frame,
    payloads,
)
from backchannel.gateway.handshake import (
    MAX_HEAD,
    MAX_HEADERS,
    HandshakeRefused,
    accept_response,
    end_of_head,
    parse_head,
)
from backchannel_protocol import JSON, MSGPACK, CloseCode, Codec, Malformed
from backchannel_protocol.limits import MAX_INTEGER
from backchannel_protocol.scan import scan_json, scan_msgpack

from .session_target import check_session

__all__ = ["SEEDS", "TARGETS", "Target"]

SEEDS: Final = Path(__file__).with_name("seeds")

_REFUSALS: Final = {400: "invalid", 404: "not_found", 405: "invalid", 426: "invalid", 431: "too_large", 505: "invalid"}


def check_handshake(data: bytes) -> None:
    """A head is refused with a documented status, or read as another parser reads it."""
    try:
        end = end_of_head(data)
        if end < 0:
            assert b"\r\n\r\n" not in data
            assert len(data) < MAX_HEAD
            return
        handshake = parse_head(data[:end])
    except HandshakeRefused as exc:
        assert _REFUSALS[exc.status] == exc.refused.code
        assert exc.reason.isidentifier()
        assert str(exc.refused.message).endswith(".")
        return
    answer = accept_response(handshake, agree(handshake.extensions))
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"\r\n\r\n") == 1
    assert answer.count(b"\r\n") == answer.count(b"\n") <= 7
    seen = _Headers()
    parser = httptools.HttpRequestParser(seen)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(data[:end])
    assert parser.get_method() == b"GET"
    assert seen.url.partition(b"?")[0] == b"/ws"
    assert len(seen.headers) <= MAX_HEADERS
    for name, value in (
        (b"host", handshake.host),
        (b"origin", handshake.origin),
        (b"sec-websocket-key", handshake.key.decode()),
    ):
        values = [found.strip(b" \t").decode("latin-1") for key, found in seen.headers if key.lower() == name]
        assert values == ([] if value is None else [value]), name


class _Headers:
    """What httptools finds in a head."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


_LIMITS: Final = (125, 200, 1000, 70_000)


class _Seen(NamedTuple):
    """What a reader made of a stream: messages (opcode 0) and control frames in order, and the code of the end."""

    items: list[tuple[int, bytes]]
    code: int | None
    """Why it was refused, or None."""
    closed: bool
    """Whether a valid close frame ended it."""
    reason: str = ""


def _read(stream: bytes, opcode: int, limit: int, step: int, *, compression: bool = False) -> _Seen:
    """Feed `step` bytes at a time (0: all at once); a close frame ends it, as it does behind a door."""
    reader = FrameReader(opcode, limit, inflate if compression else None)
    items: list[tuple[int, bytes]] = []
    closed = False

    def control(which: int, payload: bytes) -> None:
        nonlocal closed
        if which == CLOSE:
            close_code_of(payload)
            closed = True
            reader.state = type(reader.state).DONE
        items.append((which, payload))

    try:
        for start in range(0, len(stream), step or len(stream) or 1):
            reader.feed(stream[start : start + (step or len(stream))], lambda m: items.append((0, m)), control)
            kept = reader._rest
            assert kept is None or len(kept) <= start + (step or len(stream))
            assert kept is None or reader._need <= limit + 14
    except FramingError as exc:
        assert exc.reason.endswith(".")
        return _Seen(items, int(exc.code), closed, exc.reason)
    return _Seen(items, None, closed)


def _setting(data: bytes) -> tuple[int, int, int, bytes]:
    """Kind of message, limit and bytes per read from the first two bytes; the rest is the stream."""
    head = data[:2].ljust(2, b"\0")
    return BINARY if head[0] & 1 else TEXT, _LIMITS[head[0] >> 1 & 3], head[1], data[2:]


def check_frames(data: bytes) -> None:
    """A stream gives messages within the limit and of the right kind, however it is cut, or a documented code.

    The fourth bit of the first byte says that compression was agreed.
    """
    opcode, limit, step, stream = _setting(data)
    compression = bool(data[:1] and data[0] & 8)
    whole = _read(stream, opcode, limit, 0, compression=compression)
    cut = _read(stream, opcode, limit, step or 1, compression=compression)
    assert whole == cut
    for which, payload in whole.items:
        if which:
            assert which in (CLOSE, PING, PONG)
            assert len(payload) <= 125
        else:
            assert len(payload) <= limit
            if opcode == TEXT:
                payload.decode()
    sent = b"".join(frame(payload, opcode) for which, payload in whole.items if not which)
    assert payloads(sent) == [payload for which, payload in whole.items if not which]
    assert whole.code in (None, 1002, 1003, 1007, 1009)


def check_differential(data: bytes) -> None:
    """Our frame reader and that of `websockets` see the same messages, and the same code where RFC 6455 sets one.

    Where they may differ:

    - We refuse a length that is not in its shortest form (section 5.2: "the minimal number of bytes MUST be used") and
      more than `MAX_FRAGMENTS` fragments; `websockets` does not.
    - `websockets` refuses a close between fragments (section 5.4 allows control frames there), and takes what has come
      of a message from the limit of the control frames within it.
    - A frame that breaks two rules may be refused for either: its size, or its kind or place; its code, or its reason.
    - Who reads the whole frame first refuses it later.

    The kind of message and UTF-8 are left to the caller of `websockets`, so that they are checked here for it.
    """
    opcode, limit, _, stream = _setting(data)
    ours = _read(stream, opcode, limit, 0)
    theirs = _read_theirs(stream, opcode, limit)
    if any(word in ours.reason for word in ("shortest", "told in one byte", "fragments")):
        assert theirs.items[: len(ours.items)] == ours.items
        return
    if theirs.reason == "within fragments":
        assert ours.items[: len(theirs.items)] == theirs.items
        return
    if ours.code is None and theirs.code is not None:
        ours = _read(stream + bytes(8), opcode, limit, 0)  # the rest of a header
    assert ours.items == theirs.items
    if theirs.code is not None or ours.code is None:
        too_big_too = ours.code in (1002, 1003) and theirs.code == 1009
        close_breaks_both = ours.reason.startswith("Close code") and theirs.code == 1007
        assert ours.code == theirs.code or too_big_too or close_breaks_both
        assert ours.closed == theirs.closed


def _read_theirs(stream: bytes, opcode: int, limit: int) -> _Seen:
    protocol = ServerProtocol(state=OPEN, max_size=limit)
    protocol.receive_data(stream)
    items: list[tuple[int, bytes]] = []
    message = b""
    closed = False
    utf8 = getincrementaldecoder("utf-8")()
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (CLOSE, PING, PONG):
            items.append((int(event.opcode), bytes(event.data)))
            closed = closed or event.opcode == CLOSE
            continue
        if event.opcode not in (0, opcode):
            return _Seen(items, 1003, closed)
        message += event.data
        if opcode == TEXT:
            try:
                utf8.decode(bytes(event.data), event.fin)
            except UnicodeDecodeError:
                return _Seen(items, 1007, closed)
        if event.fin:
            items.append((0, message))
            message = b""
    if protocol.parser_exc is None:
        return _Seen(items, None, closed)
    assert protocol.close_sent is not None
    code = protocol.close_sent.code
    peculiar = protocol.current_size is not None and (code == 1009 or protocol.close_rcvd is not None)
    return _Seen(items, code, closed, "within fragments" if peculiar else "")


def check_close(data: bytes) -> None:
    """The body of a close frame has the code, or the violation, that `websockets` sees."""
    theirs: int
    try:
        theirs = Close.parse(data).code
    except UnicodeDecodeError:
        theirs = -CloseCode.INVALID_TEXT
    except ProtocolError:
        theirs = -CloseCode.PROTOCOL_ERROR
    try:
        ours = close_code_of(data)
    except FramingError as exc:
        breaks_both = {theirs, -exc.code} == {-CloseCode.INVALID_TEXT, -CloseCode.PROTOCOL_ERROR} and len(data) > 2
        assert -exc.code == theirs or breaks_both
    else:
        assert (1005 if ours is None else ours) == theirs


def check_codec(codec: Codec, data: bytes) -> None:
    """Bytes are a frame that comes back from its own encoding, or `Malformed`, which says why in short."""
    nesting = data[0] % 40 + 1 if data else 1
    data = data[1:]
    for decode in (codec.decode_client, codec.decode_server):
        try:
            found = decode(data, nesting)
        except Malformed as exc:
            _check_malformed(exc)
        else:
            again = codec.encode(found)
            assert codec.encode(decode(again, nesting)) == again
    try:
        codec.decode_any(data)
    except Malformed as exc:
        _check_malformed(exc)
    scan = scan_msgpack if codec.binary else scan_json
    try:
        scan(data, nesting)
    except Malformed as exc:
        _check_malformed(exc)
    else:
        try:
            value = codec.decode_any(data)
        except Malformed:
            assert not codec.binary  # MessagePack that passed the scan is whole
        else:
            _check_data_model(value, nesting)


def _check_malformed(exc: Malformed) -> None:
    assert exc.code == "invalid"
    assert 0 < len(exc.message) <= 300
    assert exc.request_id is None or 1 <= exc.request_id <= MAX_INTEGER


def _check_data_model(value: Any, nesting: int) -> None:
    if isinstance(value, dict):
        assert nesting > 0
        assert all(isinstance(key, str) for key in value)
        for item in value.values():
            _check_data_model(item, nesting - 1)
    elif isinstance(value, list):
        assert nesting > 0
        for item in value:
            _check_data_model(item, nesting - 1)
    elif isinstance(value, float):
        assert value - value == 0
    elif value is not None and not isinstance(value, bool | str):
        assert isinstance(value, int)
        assert abs(value) <= MAX_INTEGER


class Target(NamedTuple):
    """One thing that is fuzzed."""

    name: str
    check: Callable[[bytes], None]
    tokens: tuple[bytes, ...]
    """Pieces that a good input is made of."""

    def seeds(self) -> list[Path]:
        """The committed inputs, tried before all others."""
        return sorted((SEEDS / self.name).iterdir())


_NO_MASK: Final = b"\0\0\0\0"
_HEADERS: Final = (
    b"GET /ws HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Protocol: backchannel.v1.msgpack\r\n",
    b"Origin: http://a\r\n",
    b"Authorization: Bearer t\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b",", b"\x80",
)  # fmt: skip
_FRAMES: Final = (
    b"\x81\x80" + _NO_MASK, b"\x81\x81" + _NO_MASK + b"a", b"\x82\x80" + _NO_MASK, b"\x01\x82" + _NO_MASK + b"\xc3\xa9",
    b"\x01\x81" + _NO_MASK + b"\xc3", b"\x80\x81" + _NO_MASK + b"\xa9", b"\x00\x80" + _NO_MASK, b"\x80\x80" + _NO_MASK,
    b"\x89\x80" + _NO_MASK, b"\x8a\x81" + _NO_MASK + b"p", b"\x88\x80" + _NO_MASK, b"\x88\x82" + _NO_MASK + b"\x03\xe8",
    b"\x81\xfe\x00\x7e", b"\x81\xff\0\0\0\0\0\x01\0\0", b"\x81\xfe\xff\xff", b"\xc1\x80", b"\x83\x80", b"\x09\x80",
    b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xff",
)  # fmt: skip
_JSON: Final = (
    b'{"type":"connect","id":1}', b'{"type":"call","id":2,"name":"a.b","data":', b'{"type":"pong"}',
    b'{"type":"subscribe","id":3,"channel":"a:b"}', b'"since":{"epoch":"e","offset":1}', b'"key":"12345678"',
    b'"timeout":1', b'"id":9007199254740991', b"9007199254740992", b"1e999", b"-0", b"null",
    b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0000", b"\\ud800", b",", b":", b"\xff",
)  # fmt: skip
_MSGPACK: Final = (
    b"\x82\xa4type\xa7connect\xa2id\x01", b"\x81\xa4type\xa4pong",
    b"\x84\xa4type\xa4call\xa2id\x02\xa4name\xa3a.b\xa4data", b"\xa4type", b"\xa2id", b"\x01", b"\xc0",
    b"\x90", b"\x80", b"\x91", b"\x81", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xcf\0\x20\0\0\0\0\0\0", b"\xc4\x01a", b"\xc7\x01\x01a", b"\xd4\x01a",
    b"\xd9\x01a", b"\xa1\xff", b"\xc1",
)  # fmt: skip

TARGETS: Final = {
    target.name: target
    for target in (
        Target("handshake", check_handshake, _HEADERS),
        Target("frames", check_frames, _FRAMES),
        Target("differential", check_differential, _FRAMES),
        Target(
            "close", check_close, (b"\x03\xe8", b"\x03\xed", b"\x0f\xa0", b"\x13\x88", b"bye", b"\xc3\xa9", b"\xff")
        ),
        Target("json", lambda data: check_codec(JSON, data), _JSON),
        Target("msgpack", lambda data: check_codec(MSGPACK, data), _MSGPACK),
        Target("session", check_session, (*_JSON, *_MSGPACK, *(bytes((op,)) for op in range(9)))),
    )
}
