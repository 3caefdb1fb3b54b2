"""RFC 6455 as a table, over raw sockets and every door: messages, pings, reserved bits and opcodes, fragments, closing.

A case says what the client sends, cut as it is written, and what it must see: the messages, the pongs, and how the
connection ends. Text that is or is not UTF-8 has a table of its own, `test_utf8.py`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from websockets.frames import Frame, Opcode

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x00\x00\x00\x00"
NORMAL = b"\x03\xe8"


def masked(payload: bytes = b"", opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


def raw(first: int, payload: bytes = b"") -> bytes:
    """A masked frame with any first byte."""
    return bytes((first, 0x80 | len(payload))) + MASK + payload


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame with any code."""
    return raw(0x80 | CLOSE, code.to_bytes(2, "big") + reason)


def bytewise(data: bytes) -> list[bytes]:
    """One byte per segment."""
    return [bytes((byte,)) for byte in data]


def chopped(data: bytes, size: int) -> list[bytes]:
    """Segments of so many bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


class Case(NamedTuple):
    """One line of the table."""

    name: str
    sent: Sequence[bytes]
    messages: Sequence[bytes] = ()
    pongs: Sequence[bytes] = ()
    closed: int | None = None
    """The code of the server's close; None: the client closes, and sees its own code."""
    opcode: int = TEXT
    """What the connection's messages are."""


def check(door: Any, case: Case) -> None:
    """Send it, and see what is expected and nothing else."""
    # Behind ASGI a task sends the answers, which a close right behind the question may overtake.
    may_be_lost = door.kind == "asgi" and case.closed is not None
    with door.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.open(b"Sec-WebSocket-Protocol: backchannel.v1.msgpack\r\n" if case.opcode == BINARY else b"")
        for piece in case.sent:
            client.send(piece)
        messages: list[bytes] = []
        pongs: list[bytes] = []
        if case.closed is None:
            while len(messages) < len(case.messages) or len(pongs) < len(case.pongs):
                _sort(client.message(), case.opcode, messages, pongs)
            client.send(masked(NORMAL, CLOSE))
        while (frame := client.message()).opcode != CLOSE:
            _sort(frame, case.opcode, messages, pongs)
        assert frame.close_code == (case.closed or 1000)
        if not (may_be_lost and messages == [*case.messages][: len(messages)]):
            assert messages == [*case.messages]
        assert pongs == [*case.pongs]
        if door.kind != "asgi":  # uvicorn resets what it has not read
            if len(frame.payload) > 2:  # with a reason: the server's own, which awaits an answer
                client.send(masked(frame.payload[:2], CLOSE))
            assert client.ended()


def _sort(frame: Any, opcode: int, messages: list[bytes], pongs: list[bytes]) -> None:
    assert frame.opcode in (opcode, PONG)
    (pongs if frame.opcode == PONG else messages).append(frame.payload)


def cases(table: list[Case]) -> pytest.MarkDecorator:
    """A table as parameters."""
    return pytest.mark.parametrize("case", table, ids=[case.name for case in table])


SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536)
MESSAGES = [
    Case(f"{kind} of {size}, {how}", sent, [b"*" * size], opcode=opcode)
    for kind, opcode in (("text", TEXT), ("binary", BINARY))
    for size in SIZES
    for how, sent in (
        ("whole", [masked(b"*" * size, opcode)]),
        ("in segments of 997", chopped(masked(b"*" * size, opcode), 997)),
    )
]
MESSAGES += [Case("byte by byte", bytewise(masked(b"x" * 130)), [b"x" * 130])]
MESSAGES += [Case("two in one segment", [masked(b"a") + masked(b"b")], [b"a", b"b"])]
MESSAGES += [Case("binary that is not UTF-8", [masked(bytes(range(256)), BINARY)], [bytes(range(256))], opcode=BINARY)]


@cases(MESSAGES)
def test_messages(any_door: Any, case: Case) -> None:
    """A message of every form of length comes back, however it is cut into segments (section 5.2)."""
    check(any_door, case)


TEN = [masked(b"%d" % number, PING) for number in range(10)]
TEN_PONGS = [b"%d" % number for number in range(10)]
PINGS = [
    Case("empty", [masked(b"", PING)], pongs=[b""]),
    Case("with text", [masked(b"Hello", PING)], pongs=[b"Hello"]),
    Case("with bytes", [masked(b"\x00\xff\xfe\xfd", PING)], pongs=[b"\x00\xff\xfe\xfd"]),
    Case("of 125", [masked(b"\xfe" * 125, PING)], pongs=[b"\xfe" * 125]),
    Case("of 125, byte by byte", bytewise(masked(b"\xfe" * 125, PING)), pongs=[b"\xfe" * 125]),
    Case("of 126", [bytes((0x89, 0xFE, 0, 126)) + MASK + b"x" * 126], closed=1002),
    Case("unsolicited pong, empty", [masked(b"", PONG)]),
    Case("unsolicited pong with payload", [masked(b"x" * 125, PONG)]),
    Case("unsolicited pong, then ping", [masked(b"unasked", PONG), masked(b"asked", PING)], pongs=[b"asked"]),
    Case("ten", TEN, pongs=TEN_PONGS),
    Case("ten in one segment", [b"".join(TEN)], pongs=TEN_PONGS),
    Case("ten, byte by byte", bytewise(b"".join(TEN)), pongs=TEN_PONGS),
]  # fmt: skip


@cases(PINGS)
def test_pings(any_door: Any, case: Case) -> None:
    """Each ping gets a pong with its payload, in order; a pong that nobody asked for gets nothing (section 5.5.2)."""
    check(any_door, case)


RESERVED_BITS = [
    Case(f"RSV {rsv} on {name}", [masked(b"before"), raw(0x80 | rsv << 4 | opcode, payload)], [b"before"], closed=1002)
    for rsv in range(1, 8)
    for name, opcode, payload in (("text", TEXT, b"*"), ("a ping", PING, b""), ("a close", CLOSE, NORMAL))
]
RESERVED_BITS += [Case("RSV 2, byte by byte", bytewise(raw(0xA1, b"*")), closed=1002)]
RESERVED_BITS += [
    Case("RSV 1 on a continuation", [masked(b"a", fin=False), raw(0xC0, b"b")], closed=1002),
    Case("violation before a ping", [raw(0xC1, b"*") + masked(b"", PING)], closed=1002),
]


@cases(RESERVED_BITS)
def test_reserved_bits(any_door: Any, case: Case) -> None:
    """No extension is agreed, so that a reserved bit fails the connection, behind the answers (section 5.2)."""
    check(any_door, case)


RESERVED_OPCODES = [
    Case(f"opcode {opcode:X}{how}", [masked(b"before"), raw(0x80 | opcode, payload)], [b"before"], closed=1002)
    for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)
    for how, payload in (("", b""), (" with payload", b"reserved"))
]
RESERVED_OPCODES += [Case("opcode 3 as a fragment", [raw(0x03, b"x")], closed=1002)]


@cases(RESERVED_OPCODES)
def test_reserved_opcodes(any_door: Any, case: Case) -> None:
    """An opcode without a meaning fails the connection (section 5.2)."""
    check(any_door, case)


FIRST, MIDDLE, LAST = (
    masked(b"one ", fin=False),
    masked(b"two ", CONTINUATION, fin=False),
    masked(b"three", CONTINUATION),
)
WHOLE = b"one two three"
PING_1, PING_2 = masked(b"1", PING), masked(b"2", PING)
EMPTY_FIRST, EMPTY_LAST = masked(b"", fin=False), masked(b"", CONTINUATION)
EMPTY_MIDDLE = masked(b"", CONTINUATION, fin=False)


def in_fragments(payload: bytes, size: int) -> bytes:
    """A text message in fragments of so many bytes."""
    pieces = chopped(payload, size)
    last = len(pieces) - 1
    return b"".join(masked(piece, CONTINUATION if n else TEXT, fin=n == last) for n, piece in enumerate(pieces))


FRAGMENTS = [
    Case("ping in two fragments", [raw(0x09, b"a"), raw(0x80, b"b")], closed=1002),
    Case("pong in two fragments", [raw(0x0A, b"a"), raw(0x80, b"b")], closed=1002),
    Case("close in two fragments", [raw(0x08, NORMAL), raw(0x80, b"b")], closed=1002),
    Case("text in two", [FIRST, LAST], [b"one three"]),
    Case("text in two, one segment", [FIRST + LAST], [b"one three"]),
    Case("text in three, byte by byte", bytewise(FIRST + MIDDLE + LAST), [WHOLE]),
    Case("binary in two", [masked(b"\xff", BINARY, fin=False), masked(b"\xfe", 0)], [b"\xff\xfe"], opcode=BINARY),
    Case("ping between", [FIRST, masked(b"p", PING), LAST], [b"one three"], [b"p"]),
    Case("ping between, one segment", [FIRST + masked(b"p", PING) + LAST], [b"one three"], [b"p"]),
    Case("ping between, byte by byte", bytewise(FIRST + masked(b"p", PING) + LAST), [b"one three"], [b"p"]),
    Case("pong between", [FIRST, masked(b"p", PONG), LAST], [b"one three"]),
    Case("pings between all", [FIRST, PING_1, MIDDLE, PING_2, LAST], [WHOLE], [b"1", b"2"]),
    Case("pings between all, one segment", [FIRST + PING_1 + MIDDLE + PING_2 + LAST], [WHOLE], [b"1", b"2"]),
    Case("two messages of fragments", [FIRST, LAST, FIRST + MIDDLE + LAST], [b"one three", WHOLE]),
    Case("empty fragments", [EMPTY_FIRST, EMPTY_MIDDLE, EMPTY_LAST], [b""]),
    Case("empty but the middle", [EMPTY_FIRST, MIDDLE, EMPTY_LAST], [b"two "]),
    Case("nothing to continue, last", [LAST], closed=1002),
    Case("nothing to continue, first", [MIDDLE], closed=1002),
    Case("nothing to continue, byte by byte", bytewise(LAST), closed=1002),
    Case("nothing to continue, behind a whole message", [FIRST, LAST, LAST], [b"one three"], closed=1002),
    Case("message within a message", [FIRST, masked(b"whole")], closed=1002),
    Case("fragment begins within a message", [FIRST, FIRST], closed=1002),
    Case("message within a message, byte by byte", bytewise(FIRST + masked(b"whole")), closed=1002),
    Case("other kind within a message", [FIRST, masked(b"\xff", BINARY)], closed=1002),
    Case("wrong behind pings", [PING_1, FIRST, LAST, PING_2, MIDDLE], [b"one three"], [b"1", b"2"], 1002),
    Case("a thousand fragments", [in_fragments(b"x" * 1000, 1)], [b"x" * 1000]),
    *(Case(f"64 KiB in {size} each", [in_fragments(b"*" * 65_536, size)], [b"*" * 65_536]) for size in (256, 1300)),
]  # fmt: skip


@cases(FRAGMENTS)
def test_fragments(any_door: Any, case: Case) -> None:
    """Fragments are joined, control frames pass between them, and nothing else may (section 5.4)."""
    check(any_door, case)


MAY_BE_SENT = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
MUST_NOT_BE_SENT = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32_768, 65_535]
CLOSES = [
    *(Case(f"code {code}", [close(code)], closed=code) for code in MAY_BE_SENT),
    *(Case(f"code {code} with a reason", [close(code, b"bye")], closed=code) for code in (1000, 4999)),
    *(Case(f"code {code}", [close(code)], closed=1002) for code in MUST_NOT_BE_SENT),
    Case("of one byte", [raw(0x88, b"\x03")], closed=1002),
    Case("reason of 123 bytes", [close(1000, b"r" * 123)], closed=1000),
    Case("of 126 bytes", [b"\x88\xfe\x00\x7e" + MASK + NORMAL + b"r" * 124], closed=1002),
    Case("reason in several scripts", [close(1000, "κόσμε 🌍".encode())], closed=1000),
    Case("reason that is not UTF-8", [close(1000, "κόσμε".encode() + b"\xed\xa0\x80")], closed=1007),
    Case("reason cut within a character", [close(1000, "é".encode()[:1])], closed=1007),
    Case("byte by byte", bytewise(close(4000, b"bye")), closed=4000),
    Case("behind a message", [masked(b"last"), close(1000)], [b"last"], closed=1000),
    Case("message behind it", [close(1000) + masked(b"too late")], closed=1000),
    Case("ping behind it", [close(1000) + masked(b"too late", PING)], closed=1000),
    Case("another behind it", [close(1000) + close(4000)], closed=1000),
    Case("nonsense behind it", [close(1000) + b"\xff" * 100], closed=1000),
]  # fmt: skip


@cases(CLOSES)
def test_closes(any_door: Any, case: Case) -> None:
    """A close is answered by its own code, or by what is wrong with it; behind it nothing counts (section 5.5.1)."""
    check(any_door, case)


def test_close_between_fragments(any_door: Any) -> None:
    """A close may come between fragments (section 5.4); the message that was begun is dropped."""
    with any_door.client() as client:
        client.open()
        client.send(FIRST + close(1000) + LAST)
        # Where `websockets` does the framing, it minds the fragment that is missing.
        assert client.message().close_code in ((1000, 1002) if any_door.kind == "asgi" else (1000,))


def test_pongs_come_while_a_message_is_incomplete(own_door: Any) -> None:
    """A ping between fragments is answered at once, not behind the message."""
    with own_door.client() as client:
        client.open()
        client.send(FIRST + masked(b"now", PING))
        assert client.message() == (PONG, b"now")
        client.send(LAST)
        assert client.message() == (TEXT, b"one three")
