"""RFC 6455 framing: what comes in and what goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from backchannel.gateway.framing import (
    BINARY,
    CLOSE,
    MAX_FRAGMENTS,
    PING,
    PONG,
    TEXT,
    FrameReader,
    FramingError,
    ReaderState,
    close_code_of,
    close_frame,
    frame,
    payloads,
)
from backchannel_protocol import CloseCode

LIMIT = 70_000
MASK = b"\x00\x00\x00\x00"
Masked = Callable[..., bytes]


class Seen(NamedTuple):
    """What a reader handed over, in order: opcode 0 for a message."""

    items: list[tuple[int, bytes]]
    error: FramingError | None


def read(chunks: Iterable[bytes], opcode: int = TEXT, limit: int = LIMIT, reader: FrameReader | None = None) -> Seen:
    """Feed chunks to a reader until it refuses one."""
    reader = reader or FrameReader(opcode, limit)
    items: list[tuple[int, bytes]] = []
    try:
        for chunk in chunks:
            reader.feed(chunk, lambda m: items.append((0, m)), lambda o, p: items.append((o, p)))
    except FramingError as exc:
        return Seen(items, exc)
    return Seen(items, None)


def in_pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The same bytes, cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_whole_messages(masked: Masked, size: int, opcode: int) -> None:
    """A message of every form of length is handed over as it was sent, and one byte over the limit is not."""
    payload = b"x" * size
    assert read([masked(payload, opcode)], opcode) == ([(0, payload)], None)


def test_limit_is_told_before_the_payload(masked: Masked) -> None:
    """A message over the limit is refused by its header alone: nothing of it is kept."""
    seen = read([masked(b"x" * (LIMIT + 1))[:14]])
    assert seen.error is not None
    assert seen.error.code == CloseCode.TOO_BIG


def test_limit_counts_fragments_together(masked: Masked) -> None:
    """The limit is for the whole message, and the fragment that exceeds it is refused by its header."""
    first = masked(b"x" * (LIMIT - 10), fin=False)
    assert read([first, masked(b"x" * 10, 0)]) == ([(0, b"x" * LIMIT)], None)
    seen = read([first, masked(b"x" * 11, 0)[:6]])
    assert seen.error is not None
    assert seen.error.code == CloseCode.TOO_BIG


def test_endless_empty_fragments(masked: Masked) -> None:
    """Fragments without content end too: their number is bounded."""
    stream = masked(b"", fin=False) + masked(b"", 0, fin=False) * MAX_FRAGMENTS
    seen = read([stream])
    assert seen.error is not None
    assert seen.error.code == CloseCode.TOO_BIG
    assert read([masked(b"a", fin=False) + masked(b"", 0, fin=False) * (MAX_FRAGMENTS - 2) + masked(b"b", 0)]) == (
        [(0, b"ab")],
        None,
    )


def test_control_frames_within_a_message(masked: Masked) -> None:
    """Control frames come between the fragments of a message, in the order sent, and do not disturb it."""
    stream = masked("h\u00e9".encode()[:2], fin=False) + masked(b"p", PING) + masked("h\u00e9".encode()[2:], 0)
    assert read([stream]) == ([(PING, b"p"), (0, "h\u00e9".encode())], None)


VIOLATIONS: list[tuple[str, bytes, CloseCode]] = [
    ("unmasked", b"\x81\x01a", CloseCode.PROTOCOL_ERROR),
    ("unmasked, empty", b"\x81\x00", CloseCode.PROTOCOL_ERROR),
    ("unmasked, long", b"\x81\x7e\x01\x00", CloseCode.PROTOCOL_ERROR),
    ("RSV1, as deflate would", b"\xc1\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    ("RSV2", b"\xa1\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    ("RSV3", b"\x91\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    *((f"reserved opcode {op:x}", bytes((0x80 | op, 0x80)) + MASK, CloseCode.PROTOCOL_ERROR)
      for op in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)),
    ("ping of 126 bytes", b"\x89\xfe\x00\x7e", CloseCode.PROTOCOL_ERROR),
    ("ping with a 64-bit length", b"\x89\xff" + b"\0" * 8, CloseCode.PROTOCOL_ERROR),
    ("fragmented ping", b"\x09\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    ("fragmented close", b"\x08\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    ("16-bit length for 125 bytes", b"\x81\xfe\x00\x7d" + MASK, CloseCode.PROTOCOL_ERROR),
    ("16-bit length for 125 bytes, fragment", b"\x01\xfe\x00\x7d" + MASK, CloseCode.PROTOCOL_ERROR),
    ("64-bit length for 65535 bytes", b"\x81\xff\0\0\0\0\0\0\xff\xff" + MASK, CloseCode.PROTOCOL_ERROR),
    ("64-bit length for 5 bytes", b"\x81\xff\0\0\0\0\0\0\0\x05" + MASK, CloseCode.PROTOCOL_ERROR),
    ("64-bit length with the top bit", b"\x81\xff\x80\0\0\0\0\0\0\0", CloseCode.PROTOCOL_ERROR),
    ("64-bit length of 2^62", b"\x81\xff\x40\0\0\0\0\0\0\0", CloseCode.TOO_BIG),
    ("continuation of nothing", b"\x80\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    ("message within a message", b"\x01\x80" + MASK + b"\x81\x80" + MASK, CloseCode.PROTOCOL_ERROR),
    ("binary on a text subprotocol", b"\x82\x80" + MASK, CloseCode.UNSUPPORTED_DATA),
    ("binary fragment on a text subprotocol", b"\x02\x80" + MASK, CloseCode.UNSUPPORTED_DATA),
    ("not UTF-8", b"\x81\x82" + MASK + b"\xc3\x28", CloseCode.INVALID_TEXT),
    ("UTF-8 cut short", b"\x81\x81" + MASK + b"\xc3", CloseCode.INVALID_TEXT),
    ("a surrogate", b"\x81\x83" + MASK + b"\xed\xa0\x80", CloseCode.INVALID_TEXT),
    ("not UTF-8 across fragments", b"\x01\x81" + MASK + b"\xc3" + b"\x80\x81" + MASK + b"\x28", CloseCode.INVALID_TEXT),
]  # fmt: skip


@pytest.mark.parametrize(("data", "code"), [v[1:] for v in VIOLATIONS], ids=[v[0] for v in VIOLATIONS])
def test_violations(masked: Masked, data: bytes, code: CloseCode) -> None:
    """What breaks the framing is refused with its code, whole or byte by byte, after what stood before it."""
    before = masked(b"before")
    for chunks in ([before + data], [before, *(bytes((byte,)) for byte in data)]):
        seen = read(chunks)
        assert seen.items[0] == (0, b"before")
        assert seen.error is not None
        assert seen.error.code == code
        assert seen.error.reason.endswith(".")


@pytest.mark.parametrize("nonsense", [b"\xff", b"\xed\xa0\x80", b"\xf4\x90", b"\xc3\x28"])
def test_fragments_that_no_other_can_mend(masked: Masked, nonsense: bytes) -> None:
    """Text that is not UTF-8 is refused with the fragment that breaks it; a character cut in two is not yet broken."""
    begun = masked(b"\xf0\x9f", fin=False) + masked(b"\x98", 0, fin=False) + masked(b"\x80\xc3", 0, fin=False)
    assert read([begun]) == ([], None)
    seen = read([begun + masked(b"\xa9", 0, fin=False), masked(nonsense, 0, fin=False)])
    assert seen.error is not None
    assert seen.error.code == CloseCode.INVALID_TEXT
    assert read([begun + masked(b"\xa9", 0)]) == ([(0, "\U0001f600\u00e9".encode())], None)


def test_text_on_a_binary_subprotocol(masked: Masked) -> None:
    """Each subprotocol has one kind of message."""
    seen = read([masked(b"{}", TEXT)], BINARY)
    assert seen.error is not None
    assert seen.error.code == CloseCode.UNSUPPORTED_DATA
    assert read([masked(b"\xff\x00", BINARY)], BINARY) == ([(0, b"\xff\x00")], None)


def test_nothing_is_kept_at_rest(masked: Masked) -> None:
    """A connection at rest holds no buffer, however its last message came."""
    reader = FrameReader(TEXT, LIMIT)
    stream = masked(b"a" * 300, fin=False) + masked(b"b" * 300, 0)
    read([bytes((byte,)) for byte in stream], reader=reader)
    assert {getattr(reader, name) for name in ("_rest", "_fragments")} == {None}


def test_state_changed_from_within(masked: Masked) -> None:
    """Closing in the middle of a read drops the messages behind it, and still sees the peer's close frame."""
    reader = FrameReader(TEXT, LIMIT)
    seen: list[bytes] = []

    def message(payload: bytes) -> None:
        seen.append(payload)
        reader.state = ReaderState.CLOSING

    def control(opcode: int, payload: bytes) -> None:
        seen.append(bytes((opcode,)))
        reader.state = ReaderState.DONE

    reader.feed(masked(b"1") + masked(b"2") + masked(b"", CLOSE) + b"\xff\xff", message, control)
    reader.feed(b"\xff\xff\xff", message, control)
    assert seen == [b"1", bytes((CLOSE,))]


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", None), (b"\x03\xe8", 1000), (b"\x03\xe8bye", 1000), (b"\x0b\xb8", 3000), (b"\x13\x87", 4999)],
)
def test_close_codes(payload: bytes, code: int | None) -> None:
    """Codes that a peer may send are read."""
    assert close_code_of(payload) == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_codes_that_must_not_be_sent(code: int) -> None:
    """Codes that nobody may send are a protocol error (section 7.4)."""
    with pytest.raises(FramingError) as raised:
        close_code_of(code.to_bytes(2, "big"))
    assert raised.value.code == CloseCode.PROTOCOL_ERROR


def test_close_frames_that_are_broken() -> None:
    """A close frame of one byte, or with a reason that is not UTF-8, has its own answer each."""
    with pytest.raises(FramingError) as raised:
        close_code_of(b"\x03")
    assert raised.value.code == CloseCode.PROTOCOL_ERROR
    with pytest.raises(FramingError) as raised:
        close_code_of(b"\x03\xe8\xff")
    assert raised.value.code == CloseCode.INVALID_TEXT


@given(st.binary(max_size=70_000), st.sampled_from((TEXT, BINARY, PONG)))
def test_frames_out(payload: bytes, opcode: int) -> None:
    """Frames are what an independent implementation makes of the same payload."""
    payload = payload[:125] if opcode == PONG else payload
    assert frame(payload, opcode) == Frame(Opcode(opcode), payload).serialize(mask=False)


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 200_000])
def test_lengths_out(size: int) -> None:
    """Each form of length begins where the RFC says."""
    assert frame(b"x" * size, BINARY) == Frame(Opcode.BINARY, b"x" * size).serialize(mask=False)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_frames_are_split_again(messages: list[bytes]) -> None:
    """Joined frames give their payloads back, for the door that lets the server do the framing."""
    assert payloads(b"".join(frame(message, BINARY) for message in messages)) == messages


@pytest.mark.parametrize("reason", ["", "bye", "\u00e9" * 200, "a" + "\U0001f600" * 50])
def test_close_frame_is_at_most_125_bytes(reason: str) -> None:
    """A long reason is cut between characters."""
    body = close_frame(4001, reason)[2:]
    assert len(body) <= 125
    assert close_code_of(body) == 4001
    assert reason.startswith(body[2:].decode())


FRAMES = st.lists(
    st.one_of(
        st.tuples(st.just("message"), st.text(max_size=200).map(str.encode), st.integers(1, 4)),
        st.tuples(st.sampled_from(("ping", "pong")), st.binary(max_size=125), st.just(1)),
    ),
    max_size=12,
)


def serialized(masked: Masked, frames: list[tuple[str, bytes, int]]) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A stream, its messages in so many fragments each, and what must be seen of it."""
    stream, expected = b"", list[tuple[int, bytes]]()
    for kind, payload, count in frames:
        if kind == "message":
            step = len(payload) // count + 1
            parts = [payload[i : i + step] for i in range(0, len(payload), step)] or [b""]
            for index, part in enumerate(parts):
                stream += masked(part, 0 if index else TEXT, fin=index == len(parts) - 1)
            expected.append((0, payload))
        else:
            opcode = PING if kind == "ping" else PONG
            stream += masked(payload, opcode)
            expected.append((opcode, payload))
    return stream, expected


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 10**6), max_size=30))
def test_any_splitting_gives_the_same_messages(
    masked: Masked, frames: list[tuple[str, bytes, int]], cuts: list[int]
) -> None:
    """How the bytes are cut into reads makes no difference."""
    stream, expected = serialized(masked, frames)
    assert read([stream]) == (expected, None)
    assert read(in_pieces(stream, cuts)) == (expected, None)


@given(
    data=st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.binary(min_size=1, max_size=30).map(lambda p: Frame(Opcode.TEXT, p).serialize(mask=True)),
        ),
        max_size=10,
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 10**6), max_size=10),
    opcode=st.sampled_from((TEXT, BINARY)),
)
def test_random_bytes(data: bytes, cuts: list[int], opcode: int) -> None:
    """Whatever comes in, the reader hands over messages or refuses with a framing error, and the cuts do not matter."""
    whole, cut = read([data], opcode, 200), read(in_pieces(data, cuts), opcode, 200)
    assert whole.items == cut.items
    assert (whole.error and whole.error.code) == (cut.error and cut.error.code)
