"""permessage-deflate: which offers are agreed to, what goes out, and what comes in."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension

from backchannel.gateway.deflate import WINDOW_BITS, agree, deflated, inflate
from backchannel.gateway.framing import BINARY, CLOSE, PING, TEXT, FrameReader, FramingError, frame, payloads
from backchannel.gateway.handshake import accept_response, parse_head
from backchannel_protocol import CloseCode

Masked = Callable[..., bytes]

LIMIT = 10_000
ANSWER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
HELLO = bytes.fromhex("f248cdc9c90700")
"""RFC 7692 section 7.2.3.1."""


def compress(message: bytes, bits: int = 15) -> bytes:
    """A message as a client compresses it (section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-bits)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read(data: bytes, opcode: int = TEXT, pieces: int = 1) -> tuple[list[bytes], CloseCode | None]:
    """The messages that a reader hands over where compression was agreed, and why it refused the next."""
    reader = FrameReader(opcode, LIMIT, inflate)
    found: list[bytes] = []
    step = -(-len(data) // pieces)
    try:
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step], found.append, lambda o, p: found.append(p))
    except FramingError as exc:
        return found, exc.code
    return found, None


# Offers


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        (b"permessage-deflate", ANSWER),
        (b"Permessage-Deflate ; client_max_window_bits", ANSWER),
        (b"permessage-deflate; client_max_window_bits=8", ANSWER),
        (b'permessage-deflate; client_max_window_bits="10"', ANSWER),
        (b"permessage-deflate; server_no_context_takeover;client_no_context_takeover", ANSWER),
        (b"permessage-deflate; server_max_window_bits = 15", ANSWER + b"; server_max_window_bits=15"),
        (b"permessage-deflate; server_max_window_bits=12", ANSWER + b"; server_max_window_bits=12"),
        (b"x-webkit-deflate-frame, permessage-deflate", ANSWER),
        (b"x; y=\"a\", permessage-deflate; server_max_window_bits=9, permessage-deflate", ANSWER),
        (b"permessage-deflate; server_max_window_bits=13, permessage-deflate", ANSWER + b"; server_max_window_bits=13"),
        (None, None),
        (b"", None),
        (b"permessage-bzip2", None),
        (b"permessage-deflate;", None),
        (b"permessage-deflate; window=12", None),
        (b"permessage-deflate; server_no_context_takeover=1", None),
        (b"permessage-deflate; client_no_context_takeover=", None),
        (b"permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
        (b"permessage-deflate; client_max_window_bits=10; client_max_window_bits", None),
        (b"permessage-deflate; client_max_window_bits=7", None),
        (b"permessage-deflate; client_max_window_bits=16", None),
        (b"permessage-deflate; client_max_window_bits=08", None),
        (b"permessage-deflate; client_max_window_bits=", None),
        (b"permessage-deflate; server_max_window_bits", None),
        (b"permessage-deflate; server_max_window_bits=11", None),
        (b"permessage-deflate; server_max_window_bits=1x", None),
        (b'x; y="a, permessage-deflate, b"', None),
        (b'permessage-deflate; client_max_window_bits="10', None),
        (b'permessage-deflate; client_max_window_bits="1\\0"', None),
    ],
)  # fmt: skip
def test_offers(offers: bytes | None, answer: bytes | None) -> None:
    """RFC 7692 section 7.1: the first offer that can be accepted is, and what is malformed declines its offer."""
    assert agree(offers) == answer


@pytest.mark.parametrize("server", [None, 12, 15])
@pytest.mark.parametrize("client", [None, True, 9])
def test_another_implementation_agrees(server: int | None, client: bool | int | None) -> None:
    """The answer is one that `websockets` accepts for its own offer."""
    factory = ClientPerMessageDeflateFactory(server_max_window_bits=server, client_max_window_bits=client)
    offer = b"permessage-deflate" + b"".join(
        b"; " + name.encode() + (b"" if value is None else b"=" + value.encode())
        for name, value in factory.get_request_params()
    )
    answer = agree(offer)
    assert answer is not None
    ((_, parameters),) = parse_extension(answer.decode())
    try:
        agreed = factory.process_response_params(parameters, [])
    except NegotiationError as exc:
        pytest.fail(str(exc))
    assert agreed.remote_no_context_takeover
    assert agreed.local_no_context_takeover
    assert agreed.remote_max_window_bits >= WINDOW_BITS


def test_offers_in_two_headers_and_the_answer() -> None:
    """A list may come in several headers, and the handshake's answer names what was agreed, once."""
    shake = parse_head(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; nonsense\r\n"
        b"sec-websocket-extensions: permessage-deflate\r\n\r\n"
    )
    answer = accept_response(shake, agree(shake.extensions))
    assert answer.count(b"\r\nSec-WebSocket-Extensions: " + ANSWER + b"\r\n") == 1
    assert answer.endswith(b"\r\n\r\n")


# Out


@pytest.mark.parametrize("size", [10, 125, 126, 200, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frames_out(size: int, opcode: int) -> None:
    """A frame of any size is one frame with RSV1 whose message is the same, in a window that all can read."""
    message = (b"to be or not to be, " * (size // 20 + 1))[:size]
    data = deflated(frame(message, opcode), 1)
    assert data[0] == (0x80 | opcode if size == 10 else 0xC0 | opcode)
    (payload,) = payloads(data)
    if size > 10:
        assert zlib.decompressobj(-WINDOW_BITS).decompress(payload + b"\0\0\xff\xff") == message
        assert len(payload) < size


def test_what_is_sent_as_it_was() -> None:
    """What is shorter than the threshold, or gets no smaller, is the very same frame."""
    framed = frame(b"a" * 1000)
    assert deflated(framed, 1001) is framed
    assert deflated(framed, 1000) is not framed
    noise = frame(random.Random(1).randbytes(1000), BINARY)
    assert deflated(noise, 1) is noise


# In


@given(st.text(max_size=3000), st.sampled_from([9, 12, 15]), st.integers(1, 30))
def test_messages_in(masked: Masked, text: str, bits: int, pieces: int) -> None:
    """What a client compressed, with whatever window, in fragments or cut anywhere, is what it was."""
    message = text.encode()[:LIMIT].decode(errors="ignore").encode()
    payload = compress(message, bits)
    half = len(payload) // 2
    whole = compressed(masked(payload))
    parts = compressed(masked(payload[:half], fin=False)) + masked(b"p", PING) + masked(payload[half:], 0)
    assert read(whole + masked(b"plain") + parts, pieces=pieces) == ([message, b"plain", b"p", message], None)


def compressed(data: bytes) -> bytes:
    """The same frame with RSV1."""
    return bytes((data[0] | 0x40,)) + data[1:]


@pytest.mark.parametrize(
    "payload",
    [
        HELLO,
        bytes.fromhex("000500faff48656c6c6f00"),  # section 7.2.3.3: a block without compression
        bytes.fromhex("f348cdc9c9070000"),  # section 7.2.3.4: a last block, and an empty one behind it
        bytes.fromhex("f24805000000ffffcac9c90700"),  # section 7.2.3.5: two blocks
        bytes.fromhex("f348cdc9c90700"),  # a last block and nothing behind it
    ],
)
def test_examples_of_the_rfc(masked: Masked, payload: bytes) -> None:
    """Section 7.2.3: every form of `Hello`."""
    assert read(compressed(masked(payload))) == ([b"Hello"], None)
    assert read(compressed(masked(b"\0"))) == ([b""], None)  # section 7.2.3.6


def test_each_message_has_a_window_of_its_own(masked: Masked) -> None:
    """A client that refers to its last message breaks what was agreed (section 7.2.3.2)."""
    taken_over = bytes.fromhex("f200110000")
    found, code = read(compressed(masked(HELLO)) + compressed(masked(taken_over)))
    assert (found, code) == ([b"Hello"], CloseCode.INVALID_TEXT)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff" * 20, HELLO[:-1], HELLO[:-3], compress(b"a" * 500)[:-3], HELLO + b"x", b"\xf3" + HELLO[1:] + HELLO],
    ids=["nothing", "no block", "cut", "cut shorter", "cut in a run", "more behind it", "a message behind the last"],
)  # fmt: skip
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_broken_data(masked: Masked, payload: bytes, opcode: int) -> None:
    """What is no compressed message, or not all of one, ends the connection with 1007, whole or in fragments."""
    whole = compressed(masked(payload, opcode))
    parts = compressed(masked(payload[:1], opcode, fin=False)) + masked(payload[1:], 0)
    for data in (whole, parts):
        assert read(masked(b"{}", opcode) + data, opcode) == ([b"{}"], CloseCode.INVALID_TEXT)


def test_utf8_is_checked_after_inflating(masked: Masked) -> None:
    """Text is text once it is inflated; what is compressed is not, and binary never is."""
    for nonsense in (b"\xff", b"\xc3\x28" * 100, b"\xed\xa0\x80"):
        payload = compress(nonsense)
        parts = compressed(masked(payload[:2], fin=False)) + masked(payload[2:], 0)
        assert read(compressed(masked(payload))) == ([], CloseCode.INVALID_TEXT)
        assert read(parts) == ([], CloseCode.INVALID_TEXT)
        assert read(compressed(masked(payload, BINARY)), BINARY) == ([nonsense], None)


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
def test_the_limit_is_for_the_inflated_message(masked: Masked, size: int) -> None:
    """One byte over the limit is refused, however few were sent."""
    expected = ([b"x" * size], None) if size == LIMIT else ([], CloseCode.TOO_BIG)
    payload = compress(b"x" * size)
    assert read(compressed(masked(payload))) == expected
    assert read(compressed(masked(payload[:3], fin=False)) + masked(payload[3:], 0)) == expected


def test_a_bomb_costs_no_more_than_the_limit(masked: Masked) -> None:
    """Nine megabytes in nine kilobytes are refused, and no more than the limit's bytes is ever inflated."""
    bomb = compressed(masked(compress(b"\0" * 9_000_000)))
    assert len(bomb) < LIMIT
    tracemalloc.start()
    try:
        assert read(bomb) == ([], CloseCode.TOO_BIG)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * LIMIT


VIOLATIONS: list[tuple[str, bytes]] = [
    ("RSV1 on a continuation", b"\x41\x81\0\0\0\0\0" + b"\xc0\x81\0\0\0\0\0"),
    ("RSV1 on the continuation of a plain message", b"\x01\x81\0\0\0\0a" + b"\xc0\x81\0\0\0\0\0"),
    ("RSV1 on a ping", bytes((0xC0 | PING, 0x80, 0, 0, 0, 0))),
    ("RSV1 on a close", bytes((0xC0 | CLOSE, 0x80, 0, 0, 0, 0))),
    ("RSV1 and RSV2", b"\xe1\x81\0\0\0\0\0"),
    ("RSV2", b"\xa1\x80\0\0\0\0"),
    ("RSV3", b"\x91\x80\0\0\0\0"),
]


@pytest.mark.parametrize("data", [v[1] for v in VIOLATIONS], ids=[v[0] for v in VIOLATIONS])
def test_reserved_bits(masked: Masked, data: bytes) -> None:
    """RSV1 belongs to the first frame of a message (section 6), and the others still mean nothing."""
    assert read(masked(b"before") + data) == ([b"before"], CloseCode.PROTOCOL_ERROR)


def test_rsv1_where_nothing_was_agreed(masked: Masked) -> None:
    """A compressed message is a violation then, and is not inflated."""
    reader = FrameReader(TEXT, LIMIT)
    with pytest.raises(FramingError) as raised:
        reader.feed(compressed(masked(HELLO)), lambda m: None, lambda o, p: None)
    assert raised.value.code == CloseCode.PROTOCOL_ERROR


def test_another_implementation_reads_it() -> None:
    """`websockets` with the parameters that we agree to reads what we write, and we what it writes."""
    factory = ClientPerMessageDeflateFactory()
    ((_, parameters),) = parse_extension(ANSWER.decode())
    theirs = factory.process_response_params(parameters, [])
    for text in ("one " * 100, "two " * 100, "three " * 100):
        (payload,) = payloads(deflated(frame(text.encode()), 1))
        assert theirs.decode(Frame(Opcode.TEXT, payload, rsv1=True)).data == text.encode()
        sent = theirs.encode(Frame(Opcode.TEXT, text.encode()))
        assert sent.rsv1
        assert inflate(bytes(sent.data), LIMIT) == text.encode()
