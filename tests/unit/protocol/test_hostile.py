"""Hostile bytes: each is refused as `invalid`, at once, with the request's id where it can be read."""

from __future__ import annotations

import time
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from backchannel_protocol import JSON, MSGPACK, Codec, Malformed

KIB_64 = 64 * 1024


def call(data: bytes) -> bytes:
    """A call with the id 7 whose `data` is these bytes."""
    return b'{"type":"call","id":7,"name":"a.b","data":' + data + b"}"


def packed(data: Any) -> bytes:
    """The same in MessagePack, packed by the independent library."""
    value: bytes = msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": data}, use_bin_type=True)
    return value


# A call up to where the value of `data` starts.
HEAD = packed(None)[:-1]

JSON_CASES: dict[str, tuple[bytes, int | None]] = {
    "empty": (b"", None),
    "not a map": (b"[1]", None),
    "a string": (b'"connect"', None),
    "null": (b"null", None),
    "byte order mark": (b'\xef\xbb\xbf{"type":"pong"}', None),
    "no type": (b'{"id":7}', 7),
    "type is a number": (b'{"type":1,"id":7}', 7),
    "unknown type": (b'{"type":"dance","id":7}', 7),
    "a server's type": (b'{"type":"connected","id":7}', 7),
    "unknown type as long as a frame": (b'{"type":"%b","id":7}' % (b"x" * KIB_64), 7),
    "missing field": (b'{"type":"call","id":7,"name":"a.b"}', 7),
    "missing id": (b'{"type":"cancel"}', None),
    "id of zero": (b'{"type":"cancel","id":0}', None),
    "negative id": (b'{"type":"cancel","id":-1}', None),
    "id too large": (b'{"type":"cancel","id":9007199254740992}', None),
    "id is a float": (b'{"type":"cancel","id":7.0}', None),
    "id is a boolean": (b'{"type":"cancel","id":true}', None),
    "id is a string": (b'{"type":"cancel","id":"7"}', None),
    "id is null": (b'{"type":"cancel","id":null}', None),
    "channel is a number": (b'{"type":"subscribe","id":7,"channel":1}', 7),
    "channel without namespace": (b'{"type":"subscribe","id":7,"channel":"lobby"}', 7),
    "channel too long": (b'{"type":"subscribe","id":7,"channel":"a:%b"}' % (b"x" * 129), 7),
    "channel with a space": (b'{"type":"subscribe","id":7,"channel":"a:b c"}', 7),
    "offset negative": (b'{"type":"subscribe","id":7,"channel":"a:b","since":{"epoch":"e","offset":-1}}', 7),
    "position without epoch": (b'{"type":"subscribe","id":7,"channel":"a:b","since":{"offset":1}}', 7),
    "epoch too long": (
        b'{"type":"subscribe","id":7,"channel":"a:b","since":{"epoch":"%b","offset":1}}' % (b"e" * 65),
        7,
    ),
    "name with a capital": (b'{"type":"call","id":7,"name":"A.b","data":1}', 7),
    "name too long": (b'{"type":"call","id":7,"name":"%b","data":1}' % (b"a" * 65), 7),
    "key too short": (b'{"type":"call","id":7,"name":"a.b","data":1,"key":"k"}', 7),
    "key with a space": (b'{"type":"call","id":7,"name":"a.b","data":1,"key":"abcd efgh"}', 7),
    "timeout of zero": (b'{"type":"call","id":7,"name":"a.b","data":1,"timeout":0}', 7),
    "timeout past any number": (b'{"type":"call","id":7,"name":"a.b","data":1,"timeout":1e999}', 7),
    "limit of zero": (b'{"type":"history","id":7,"channel":"a:b","limit":0}', 7),
    "token is a map": (b'{"type":"connect","id":7,"token":{}}', 7),
    "resume is a list": (b'{"type":"connect","id":7,"resume":[]}', 7),
    "resume of a bad channel": (b'{"type":"connect","id":7,"resume":{"x":{"epoch":"e","offset":1}}}', 7),
    "NaN": (call(b"NaN"), 7),
    "Infinity": (call(b"-Infinity"), 7),
    "exponent past any number": (call(b"1e999"), 7),
    "exponent with a plus": (call(b"-1E+400"), 7),
    "exponent in an unknown field": (b'{"type":"cancel","id":7,"x":1e0999}', 7),
    "integer past 2^53": (call(b"9007199254740992"), 7),
    "integer below -2^53": (call(b"[-9007199254740993]"), 7),
    "integer of 60 KB": (call(b"1" * 60_000), 7),
    "nested 33 levels": (call(b"[" * 32 + b"]" * 32), 7),
    "nested 30,000 levels": (call(b"[" * 30_000 + b"]" * 30_000), 7),
    "nested and never closed": (call(b'{"a":' * 10_000), 7),
    "nested in an unknown field": (b'{"type":"pong","x":' + b"[" * 20_000, None),
    "truncated": (call(b'{"a":"b')[:-1], 7),
    "truncated before the id": (b'{"type":"call","i', None),
    "trailing bytes": (b'{"type":"cancel","id":7} {"type":"cancel","id":8}', 7),
    "trailing comma": (call(b"[1,]"), 7),
    "leading zero": (call(b"01"), 7),
    "single quotes": (call(b"'a'"), 7),
    "key without quotes": (call(b"{a:1}"), 7),
    "key is a number": (call(b"{1:2}"), 7),
    "comment": (call(b"/* hi */ 1"), 7),
    "control character": (call(b'"a\nb"'), 7),
    "zero byte": (call(b'"\x00"'), 7),
    "unknown escape": (call(b'"\\x41"'), 7),
    "half a surrogate pair": (call(b'"\\ud800 and more text"'), 7),
    "second half alone": (call(b'"\\udc00 and more text"'), 7),
    "halves that do not fit": (call(b'"\\ud800\\u0041 and more text"'), 7),
    "invalid UTF-8 in data": (call(b'"\xff\xfe"'), 7),
    "encoded surrogate": (call(b'"\xed\xa0\x80"'), 7),
    "overlong UTF-8": (call(b'"\xc0\xaf"'), 7),
    "invalid UTF-8 in a name": (b'{"type":"call","id":7,"name":"\xff","data":1}', 7),
    "invalid UTF-8 in an unknown field": (b'{"type":"cancel","id":7,"x":"\xff"}', 7),
    "id inside a string": (b'{"a":"\\"id\\":9,","data":[', None),
    "id inside a nested map": (b'{"a":{"id":9,', None),
    "endless string of escaped quotes": (call(b'"1111111111111111' + b'\\"' * 32_000), 7),
    "many short strings": (call(b'["",' * 10_000), 7),
    "braces inside an open string": (call(b'"' + b"{" * 60_000), 7),
}

MSGPACK_CASES: dict[str, tuple[bytes, int | None]] = {
    "empty": (b"", None),
    "not a map": (b"\x91\x01", None),
    "nil": (b"\xc0", None),
    "reserved byte": (b"\xc1", None),
    "reserved byte in data": (HEAD + b"\xc1", 7),
    "empty map": (b"\x80", None),
    "unknown type": (msgpack.packb({"type": "dance", "id": 7}), 7),
    "id is a float": (msgpack.packb({"type": "cancel", "id": 7.0}), None),
    "id past 2^53": (msgpack.packb({"type": "cancel", "id": 2**63}), None),
    "channel is binary": (msgpack.packb({"type": "subscribe", "id": 7, "channel": b"a:b"}), 7),
    "NaN": (packed(float("nan")), 7),
    "infinity": (packed([float("-inf")]), 7),
    "single-width NaN": (HEAD + b"\xca\x7f\xc0\x00\x00", 7),
    "integer past 2^53": (packed(2**53), 7),
    "integer below -2^53": (packed(-(2**53)), 7),
    "integer of 64 bits": (packed(2**64 - 1), 7),
    "binary": (packed({"a": b"x"}), 7),
    "extension": (packed(msgpack.ExtType(5, b"x")), 7),
    "timestamp": (packed(msgpack.Timestamp(1, 2)), 7),
    "extension of 4 GB": (HEAD + b"\xc9\xff\xff\xff\xff\x01", 7),
    "binary of 4 GB": (HEAD + b"\xc6\xff\xff\xff\xff", 7),
    "key is a number": (packed({1: 2}), 7),
    "key is nil": (packed({None: 2}), 7),
    "key is a list": (HEAD + b"\x81\x90\x01", 7),
    "key of the frame is a number": (msgpack.packb({"type": "cancel", "id": 7, 1: 1}), 7),
    "invalid UTF-8 in data": (HEAD + b"\xa2\xff\xfe", 7),
    "invalid UTF-8 in a key": (HEAD + b"\x81\xa1\xff\x01", 7),
    "encoded surrogate": (HEAD + b"\xa3\xed\xa0\x80", 7),
    "invalid UTF-8 in the type": (b"\x82\xa4type\xa1\xff\xa2id\x07", None),
    "truncated in a string": (packed("abcdef")[:-3], 7),
    "truncated in a number": (packed(2**40)[:-3], 7),
    "truncated in a length": (HEAD + b"\xda\x01", 7),
    "truncated before the data": (HEAD, 7),
    "truncated before the id": (HEAD[:8], None),
    "trailing bytes": (packed(1) + b"\xc0", 7),
    "string of 4 GB": (HEAD + b"\xdb\xff\xff\xff\xffabc", 7),
    "array of 4 G items": (HEAD + b"\xdd\xff\xff\xff\xff", 7),
    "map of 4 G items": (HEAD + b"\xdf\xff\xff\xff\xff", 7),
    "frame of 4 G items": (b"\xdf\xff\xff\xff\xff", None),
    "arrays that each claim all": (HEAD + b"\xdc\xff\xff" * 20_000, 7),
    "nested 33 levels": (HEAD + b"\x91" * 32 + b"\xc0", 7),
    "nested 60,000 levels": (HEAD + b"\x91" * 60_000, 7),
    "nested maps": (HEAD + b"\x81\xa1a" * 20_000, 7),
    "nested at the top": (b"\x91" * 60_000, None),
    "JSON": (b'{"type":"cancel","id":7}', None),
}

CASES = [
    *(pytest.param(JSON, sent, answer, id=f"json: {name}") for name, (sent, answer) in JSON_CASES.items()),
    *(pytest.param(MSGPACK, sent, answer, id=f"msgpack: {name}") for name, (sent, answer) in MSGPACK_CASES.items()),
]


@pytest.mark.parametrize(("codec", "sent", "answer"), CASES)
def test_hostile_bytes_are_refused(codec: Codec, sent: bytes, answer: int | None) -> None:
    """The refusal is `invalid`, tells the id where it can be read, and quotes no frame at length."""
    with pytest.raises(Malformed) as caught:
        codec.decode_client(sent)
    refused = caught.value
    assert (refused.code, refused.request_id) == ("invalid", answer)
    assert (refused.retry, refused.outcome) == (False, "none")
    assert 0 < len(refused.message) < 300
    assert refused.message.endswith(".")


@pytest.mark.parametrize(("codec", "sent", "answer"), CASES)
def test_hostile_bytes_cost_no_time(codec: Codec, sent: bytes, answer: int | None) -> None:
    """A frame of 64 KiB takes milliseconds to refuse: nothing grows with the square of its length."""
    began = time.process_time()
    with pytest.raises(Malformed):
        codec.decode_client(sent)
    # Ten times what the slowest takes on a slow machine; the square of 64 Ki takes many seconds.
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(("codec", "sent", "answer"), CASES)
def test_clients_survive_hostile_servers(codec: Codec, sent: bytes, answer: int | None) -> None:
    """A client reads a server's frames through the same wrapper."""
    with pytest.raises(Malformed):
        codec.decode_server(sent)


def test_deepest_allowed() -> None:
    """32 levels pass, the frame itself being the first."""
    JSON.decode_client(call(b"[" * 31 + b"]" * 31))
    MSGPACK.decode_client(HEAD + b"\x91" * 31 + b"\xc0")


def test_nesting_is_a_setting() -> None:
    """An operator's own limit holds, in both encodings."""
    for codec, sent in ((JSON, call(b"[[1]]")), (MSGPACK, packed([[1]]))):
        codec.decode_client(sent, nesting=3)
        with pytest.raises(Malformed, match="deeper than 2"):
            codec.decode_client(sent, nesting=2)
