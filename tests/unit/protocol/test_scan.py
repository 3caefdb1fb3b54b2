"""Scans: what they let pass and what they stop, apart from any decoder."""

from __future__ import annotations

import json

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel_protocol import Malformed
from backchannel_protocol.limits import MAX_INTEGER
from backchannel_protocol.scan import scan_json, scan_msgpack


@pytest.mark.parametrize(
    "sent",
    [
        b'"9007199254740993"',
        b'{"at":1700000000000,"to":1700000000001}',
        b'"a \\" 99999999999999999999 \\" b"',
        b'"\\\\",1234567890123456',
        b'"1e999"',
        b'"6e4001aa-11e9"',
        b"9007199254740991",
        b"-9007199254740991",
        b"0.30000000000000004",
        b"-0.12345678901234567890123456789",
        b"123456789012345678.25",
        b"1.7976931348623157e308",
        b"1e-999",
        b"5e-324",
        b"1E+20",
        b"12345678901234567890e0",
        b'"[[[[[[[[[[[[[[[["',
        b'["]","[","{","}"]',
        b"[[[[]]],[[[]]]]",
        '"žluťoučký 🐎"'.encode(),
    ],
)
def test_harmless_json_passes(sent: bytes) -> None:
    """Digits and braces inside strings, floats of many digits, and integers in range are no matter."""
    scan_json(sent, 4)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"9007199254740992", "integer"),
        (b"-9007199254740992", "integer"),
        (b"[0.5,90071992547409920]", "integer"),
        (b'{"a":"\\"","b":9007199254740993}', "integer"),
        (b'"a\\\\",9007199254740993', "integer"),
        (b"1e400", "finite"),
        (b"-1E+0400", "finite"),
        (b"99999999999999999999e300", "finite"),
        (b"[[[[[1]]]]]", "deeper than 4"),
        (b'{"a":[{"b":[{}]}]}', "deeper than 4"),
        (b'"]]]]",[[[[[', "deeper than 4"),
        (b'"\x80"', "UTF-8"),
    ],
)
def test_harmful_json_is_stopped(sent: bytes, why: str) -> None:
    """The reason is told in words."""
    with pytest.raises(Malformed, match=why):
        scan_json(sent, 4)


@given(st.integers(-(10**20), 10**20))
def test_json_integers_pass_exactly_in_range(number: int) -> None:
    """The border is 2^53 - 1 on both sides."""
    sent = json.dumps({"a": [number, "1e999"]}).encode()
    if abs(number) <= MAX_INTEGER:
        scan_json(sent, 32)
    else:
        with pytest.raises(Malformed):
            scan_json(sent, 32)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_json_floats_pass(number: float) -> None:
    """Every number that a double holds passes, as Python and JavaScript write it."""
    scan_json(json.dumps([number]).encode(), 32)


@given(st.integers(-(2**63), 2**64 - 1))
def test_msgpack_integers_pass_exactly_in_range(number: int) -> None:
    """Each width of integer is checked, whichever the packer chose."""
    sent = msgpack.packb([number])
    if abs(number) <= MAX_INTEGER:
        scan_msgpack(sent, 32)
    else:
        with pytest.raises(Malformed, match="integer"):
            scan_msgpack(sent, 32)


@pytest.mark.parametrize(
    "sent",
    [
        b"\xcf\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xca\x3f\x80\x00\x00",
        b"\xd9\x01a",
        b"\xda\x00\x01a",
        b"\xdb\x00\x00\x00\x01a",
        b"\xdc\x00\x01\xc0",
        b"\xdd\x00\x00\x00\x01\xc0",
        b"\xde\x00\x01\xa1a\xc0",
        b"\xdf\x00\x00\x00\x01\xa1a\xc0",
        b"\x90",
        b"\x80",
        b"\xff",
    ],
)
def test_msgpack_forms_need_not_be_the_shortest(sent: bytes) -> None:
    """Packers of other languages choose other widths."""
    scan_msgpack(sent, 1)


@given(st.binary(max_size=64))
def test_msgpack_scan_agrees_with_the_independent_library(sent: bytes) -> None:
    """What passes the scan is one whole MessagePack value to the `msgpack` library too."""
    try:
        scan_msgpack(sent, 8)
    except Malformed:
        return
    msgpack.unpackb(sent, raw=False, strict_map_key=True)
