"""Text must be UTF-8 (RFC 6455 section 8.1, RFC 3629), as a table, over raw sockets and every door."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

WORD = "κόσμε".encode()


def masked(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


# The first and the last code point of each length and around each hole, and all that are no characters.
BOUNDARIES = [
    0x00, 0x1F, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xCFFF, 0xD000, 0xD7FF, 0xE000, 0xFEFF, 0xFDD0, 0xFDEF,
    0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFD,
    *(plane << 16 | last for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)),
]  # fmt: skip
VALID: list[tuple[str, bytes]] = [
    *((f"U+{point:04X}", chr(point).encode()) for point in BOUNDARIES),
    ("nothing", b""),
    ("a word", WORD),
    ("combining marks", "e\u0301\u0323".encode()),
    ("right to left", "שלום".encode()),
    ("joined emoji", "👩\u200d👩\u200d👧".encode()),
    ("every length", "a\u00e9\u20ac\U0001f600".encode() * 30),
]

NEVER = [0xC0, 0xC1, *range(0xF5, 0x100)]
INVALID: list[tuple[str, bytes]] = [
    *((f"the byte {byte:02X}", bytes((byte,))) for byte in NEVER),
    *((f"the byte {byte:02X} with continuations", bytes((byte,)) + b"\x80" * 5) for byte in NEVER),
    ("first continuation alone", b"\x80"),
    ("last continuation alone", b"\xbf"),
    *((f"{count} continuations", (b"\x80\xbf" * 4)[:count]) for count in range(2, 8)),
    ("all continuations", bytes(range(0x80, 0xC0))),
    *((f"{start:02X} without its continuation", bytes((start,))) for start in (0xC2, 0xDF, 0xE0, 0xEF, 0xF0, 0xF4)),
    *((f"{start:02X} before a space", bytes((start,)) + b" ") for start in (0xC2, 0xDF, 0xE0, 0xEF, 0xF0, 0xF4)),
    ("three bytes without the last", b"\xe2\x82"),
    ("four bytes without the last", b"\xf0\x9f\x98"),
    ("four bytes without the last two", b"\xf0\x9f"),
    ("three bytes interrupted", b"\xe2\x82 "),
    ("four bytes interrupted", b"\xf0\x9f\x98 "),
    ("many unfinished", b"\xc2\xe0\xa0\xf0\x90\x80"),
    ("slash in two bytes", b"\xc0\xaf"),
    ("slash in three bytes", b"\xe0\x80\xaf"),
    ("slash in four bytes", b"\xf0\x80\x80\xaf"),
    ("slash in five bytes", b"\xf8\x80\x80\x80\xaf"),
    ("slash in six bytes", b"\xfc\x80\x80\x80\x80\xaf"),
    ("NUL in two bytes", b"\xc0\x80"),
    ("NUL in three bytes", b"\xe0\x80\x80"),
    ("NUL in four bytes", b"\xf0\x80\x80\x80"),
    ("longest overlong in two bytes", b"\xc1\xbf"),
    ("longest overlong in three bytes", b"\xe0\x9f\xbf"),
    ("longest overlong in four bytes", b"\xf0\x8f\xbf\xbf"),
    *((f"surrogate {point:04X}", chr(point).encode("utf-8", "surrogatepass"))
      for point in (0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF)),
    ("pair of surrogates", "\ud83d\ude00".encode("utf-8", "surrogatepass")),
    ("first and last pair of surrogates", "\ud800\udc00\udbff\udfff".encode("utf-8", "surrogatepass")),
    ("U+110000", b"\xf4\x90\x80\x80"),
    ("U+13FFFF", b"\xf4\xbf\xbf\xbf"),
    ("U+1FFFFF", b"\xf7\xbf\xbf\xbf"),
    ("U+3FFFFFF", b"\xfb\xbf\xbf\xbf\xbf"),
    ("U+7FFFFFFF", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    ("Latin-1", "café".encode("latin-1")),
    ("UTF-16", "hé".encode("utf-16")),
]  # fmt: skip


def ways(payload: bytes) -> list[list[bytes]]:
    """One message: whole, a fragment per byte, a fragment per byte in one segment, and a segment per byte."""
    pieces = [payload[n : n + 1] for n in range(len(payload))] or [b""]
    fragments = [masked(piece, 0 if n else 1, fin=n == len(pieces) - 1) for n, piece in enumerate(pieces)]
    whole = masked(payload)
    return [[whole], fragments, [b"".join(fragments)], [whole[n : n + 1] for n in range(len(whole))]]


def send(client: Any, pieces: list[bytes]) -> None:
    """Each piece in a segment of its own."""
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        client.send(piece)


@pytest.mark.parametrize("text", [case[1] for case in VALID], ids=[case[0] for case in VALID])
def test_valid(any_door: Any, text: bytes) -> None:
    """All that RFC 3629 allows passes, however it is cut."""
    with any_door.client() as client:
        client.open()
        for pieces in ways(text):
            send(client, pieces)
            assert client.message() == (1, text)


@pytest.mark.parametrize("text", [case[1] for case in INVALID], ids=[case[0] for case in INVALID])
def test_invalid(any_door: Any, text: bytes) -> None:
    """All else fails the connection with 1007, however it is cut, alone and amid other text."""
    for pieces in [*ways(text), *ways(b"before " + WORD + text + b" behind")]:
        with any_door.client() as client:
            client.open()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the end may come before the last piece
                send(client, pieces)
            assert client.message().close_code == 1007


FAST = [
    ("a byte that never is", b"\xff"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("beyond the last code point", b"\xf4\x90"),
    ("overlong", b"\xe0\x80"),
]


@pytest.mark.parametrize("nonsense", [case[1] for case in FAST], ids=[case[0] for case in FAST])
def test_refused_before_the_message_ends(own_door: Any, nonsense: bytes) -> None:
    """The fragment that no other can mend fails the connection; the rest is not awaited."""
    with own_door.client() as client:
        client.open()
        client.send(masked(WORD + b"\xf0\x9f", fin=False) + masked(b"\x98\x80", 0, fin=False))
        client.send(masked(nonsense, 0, fin=False))
        assert client.message().close_code == 1007
