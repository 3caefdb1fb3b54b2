"""Codecs: every frame survives both encodings, and any bytes give a frame or `Malformed`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec import inspect as types

from backchannel_protocol import CODECS, JSON, MSGPACK, Codec, Malformed, frames
from backchannel_protocol.codec import REMEMBERED, decode_data, encode_data
from backchannel_protocol.limits import MAX_INTEGER
from backchannel_protocol.scan import scan_json, scan_msgpack

CLIENT = get_args(frames.ClientFrame)
SERVER = get_args(frames.ServerFrame)

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=repr)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def strategy_of(kind: types.Type) -> st.SearchStrategy[Any]:
    """Values of a declared type. Raw fields are plain data; `with_data` encodes them."""
    match kind:
        case types.Metadata(type=inner):
            return strategy_of(inner)
        case types.NoneType():
            return st.none()
        case types.RawType() | types.AnyType():
            return data
        case types.BoolType():
            return st.booleans()
        case types.IntType(ge=least, le=most):
            return st.integers(-MAX_INTEGER if least is None else least, MAX_INTEGER if most is None else most)
        case types.FloatType(gt=above, le=most):
            return st.floats(above, most, exclude_min=above is not None, allow_nan=False, allow_infinity=False)
        case types.StrType(pattern=str(pattern), max_length=longest):
            drawn = st.from_regex(pattern.removesuffix("$") + r"\Z", fullmatch=True)
            return drawn.filter(lambda value: longest is None or len(str(value)) <= longest)
        case types.StrType(max_length=longest):
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=longest or 40)
        case types.LiteralType(values=values):
            return st.sampled_from(values)
        case types.UnionType(types=members):
            return st.one_of(*map(strategy_of, members))
        case types.ListType(item_type=item):
            return st.lists(strategy_of(item), max_size=3)
        case types.DictType(key_type=key, value_type=value):
            return st.dictionaries(strategy_of(key), strategy_of(value), max_size=3)
        case types.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: strategy_of(field.type) for field in fields})
        case other:
            raise TypeError(f"no strategy for {other!r}")


def frames_of(*structs: type[Any]) -> st.SearchStrategy[Any]:
    """Frames whose `data` is still plain."""
    return st.one_of(*(strategy_of(types.type_info(cls)) for cls in structs))


def with_data(frame: Any, codec: Codec) -> Any:
    """The frame as `codec` carries it: its `data` raw in that encoding."""
    if any(isinstance(field.type, types.RawType) for field in _fields(frame)):
        return msgspec.structs.replace(frame, data=Raw(codec.encode(frame.data)))
    return frame


def _fields(frame: Any) -> tuple[types.Field, ...]:
    info = types.type_info(type(frame))
    assert isinstance(info, types.StructType)
    return info.fields


def plain(frame: Any) -> dict[str, Any]:
    """What the frame says, computed from the struct alone: no codec has a part in it."""
    said: dict[str, Any] = {"type": type(frame).__struct_config__.tag}
    for field in _fields(frame):
        value = getattr(frame, field.name)
        if field.required or value != field.default:
            said[field.encode_name] = msgspec.to_builtins(value)
    return said


def strictly_plain(value: Any) -> bool:
    """Whether a decoded value is in the JSON data model."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and strictly_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(strictly_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= MAX_INTEGER
    return value is None or isinstance(value, str)


def outcome(decode: Callable[[bytes], Any], sent: bytes) -> tuple[Any, Malformed | None]:
    """What decoding gives: a frame, or the refusal. Whatever else it raises fails the test."""
    try:
        return decode(sent), None
    except Malformed as exc:
        return None, exc


@pytest.mark.parametrize("cls", CLIENT, ids=lambda cls: cls.__name__)
@both_codecs
@given(draw=st.data())
def test_client_frame_round_trip(codec: Codec, cls: type[Any], draw: st.DataObject) -> None:
    """What a client sends is what the server reads, field for field, in either encoding."""
    frame = draw.draw(frames_of(cls))
    sent = codec.encode(with_data(frame, codec))
    read = codec.decode_client(sent)
    assert type(read) is cls
    assert codec.decode_any(sent) == plain(frame)
    assert codec.encode(read) == sent


@pytest.mark.parametrize("cls", SERVER, ids=lambda cls: cls.__name__)
@both_codecs
@given(draw=st.data())
def test_server_frame_round_trip(codec: Codec, cls: type[Any], draw: st.DataObject) -> None:
    """What a server sends is what the client reads, field for field, in either encoding."""
    frame = draw.draw(frames_of(cls))
    sent = codec.encode(with_data(frame, codec))
    read = codec.decode_server(sent)
    assert type(read) is cls
    assert codec.decode_any(sent) == plain(frame)
    assert codec.encode(read) == sent


@given(frames_of(*CLIENT, *SERVER))
def test_independent_msgpack_library_reads_the_same(frame: Any) -> None:
    """The `msgpack` library, which shares no code with the codec, reads what JSON says too."""
    packed = MSGPACK.encode(with_data(frame, MSGPACK))
    said = JSON.decode_any(JSON.encode(with_data(frame, JSON)))
    assert msgpack.unpackb(packed, raw=False, strict_map_key=True) == said


@given(frames_of(*CLIENT))
def test_frames_of_the_independent_library_are_read(frame: Any) -> None:
    """A client that packs with another library is understood like one that uses ours."""
    packed = msgpack.packb(plain(frame), use_bin_type=True)
    assert MSGPACK.encode(MSGPACK.decode_client(packed)) == MSGPACK.encode(with_data(frame, MSGPACK))


@both_codecs
def test_unknown_fields_are_ignored(codec: Codec) -> None:
    """A newer client may send fields that this version does not know."""
    read = codec.decode_client(codec.encode({"type": "cancel", "id": 3, "because": ["of", {"this": 1}]}))
    assert read == frames.Cancel(id=3)


@both_codecs
def test_optional_fields_take_no_bytes(codec: Codec) -> None:
    """What has nothing to say is left out, so that frames stay small."""
    sent = codec.encode(frames.Connect(id=1))
    assert codec.decode_any(sent) == {"type": "connect", "id": 1}


def test_gap_says_from() -> None:
    """`from` is a keyword in Python only: the wire has the plain word."""
    sent = JSON.encode(frames.Gap(channel="a:b", epoch="e", from_=1, to=4, reason="slow"))
    assert JSON.decode_any(sent) == {
        "type": "gap", "channel": "a:b", "epoch": "e", "from": 1, "to": 4, "reason": "slow",
    }  # fmt: skip


def test_codecs_by_subprotocol() -> None:
    """Each subprotocol names its codec, and JSON is the first to be offered."""
    assert list(CODECS) == ["backchannel.v1.json", "backchannel.v1.msgpack"]
    assert [(codec.name, codec.binary) for codec in CODECS.values()] == [("json", False), ("msgpack", True)]


@both_codecs
@given(junk=st.binary(max_size=80))
def test_any_bytes_are_a_frame_or_malformed(codec: Codec, junk: bytes) -> None:
    """No bytes make a decoder raise anything but `Malformed`, whichever side reads them."""
    for decode in (codec.decode_client, codec.decode_server, codec.decode_any):
        _, refused = outcome(decode, junk)
        if refused is not None:
            assert refused.code == "invalid"
            assert refused.request_id is None or 1 <= refused.request_id <= MAX_INTEGER


@both_codecs
@given(draw=st.data())
def test_damaged_frames_are_frames_or_malformed(codec: Codec, draw: st.DataObject) -> None:
    """A frame with bytes cut, changed or put in gives a frame inside the data model, or `Malformed`."""
    sent = bytearray(codec.encode(with_data(draw.draw(frames_of(*CLIENT)), codec)))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, max(len(sent) - 1, 0)))
        patch = draw.draw(st.binary(max_size=4) | st.sampled_from([b'"', b"[", b"{", b"9" * 17, b"e999"]))
        sent[at : at + draw.draw(st.integers(0, 4))] = patch
    read, refused = outcome(codec.decode_client, bytes(sent))
    if refused is not None:
        assert 0 < len(refused.message) < 300
    else:
        assert strictly_plain(codec.decode_any(codec.encode(read)))
        assert strictly_plain(codec.decode_any(bytes(sent)))


@given(
    st.recursive(
        st.none() | st.binary(max_size=4) | st.integers(-(2**63), 2**64 - 1) | st.floats() | text
        | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(text | st.integers(0, 9) | st.binary(max_size=2), inner, max_size=3),
        max_leaves=6,
    )
)  # fmt: skip
def test_msgpack_outside_the_data_model_is_refused(value: Any) -> None:
    """MessagePack passes exactly if it is plain JSON data, and the request's id is still told."""
    sent = msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": value}, use_bin_type=True)
    _, refused = outcome(MSGPACK.decode_client, sent)
    assert (refused is None) == strictly_plain(value)
    assert refused is None or refused.request_id == 7


@given(data)
def test_data_is_json_and_typed_decoding_is_safe(value: Any) -> None:
    """Canonical data is JSON, and a typed decoder refuses what its type does not declare."""
    canonical = encode_data(value)
    assert JSON.decode_any(Raw(canonical)) == value
    decoder = msgspec.json.Decoder(dict[str, int])
    if isinstance(value, dict) and all(type(item) is int for item in value.values()):
        assert decode_data(decoder, canonical) == value
    elif not isinstance(value, dict) or any(not isinstance(item, (int, float)) for item in value.values()):
        with pytest.raises(Malformed):
            decode_data(decoder, canonical)


GOOD = {"type": "publish", "channel": "a:b", "name": "word.said", "data": 1}


@both_codecs
@pytest.mark.parametrize(
    "change",
    [
        {"channel": "word.said"},
        {"channel": "a:b\n"},
        {"channel": "a:"},
        {"channel": 1},
        {"name": "a:b"},
        {"name": "word.said\n"},
        {"name": "a" * 65},
        {"name": None},
        {"key": "short"},
        {"id": 0},
    ],
    ids=str,
)
def test_what_is_remembered_lets_nothing_else_pass(codec: Codec, change: dict[str, Any]) -> None:
    """A channel and a name that were found good once stand for themselves only, each in its own place."""
    codec = fresh(codec)
    for known in (GOOD, {"type": "call", "id": 1, "name": "word.said", "data": 1}):
        for _ in range(2):
            assert codec.decode_any(codec.encode(codec.decode_client(codec.encode(known)))) == known
    for _ in range(2):
        with pytest.raises(Malformed):
            codec.decode_client(codec.encode({**GOOD, **change}))
    if "name" in change:
        with pytest.raises(Malformed):
            codec.decode_client(codec.encode({"type": "call", "id": 1, "data": 1, **change}))


@both_codecs
def test_what_is_remembered_changes_no_frame(codec: Codec) -> None:
    """A frame is the same struct, of the same class, whether its words came before or not."""
    codec = fresh(codec)
    for sent in (
        GOOD | {"key": "12345678", "id": 3},
        {"type": "call", "id": 1, "name": "a.b", "data": 1, "timeout": 2},
    ):
        first, second = (codec.decode_client(codec.encode(sent)) for _ in range(2))
        assert type(first) is type(second)
        assert type(second) in (frames.Publish, frames.Call)
        assert codec.encode(first) == codec.encode(second)


@both_codecs
def test_what_is_remembered_is_bounded(codec: Codec) -> None:
    """Whoever names ever new channels makes no codec grow, and is still read."""
    codec = fresh(codec)
    for number in range(3 * REMEMBERED):
        codec.decode_client(codec.encode(GOOD | {"channel": f"a:{number}"}))
        assert codec.remembered <= REMEMBERED
    for number in range(REMEMBERED):
        with pytest.raises(Malformed):
            codec.decode_client(codec.encode(GOOD | {"channel": f"a: {number}"}))
    assert 0 < codec.remembered <= REMEMBERED


def fresh(codec: Codec) -> Codec:
    """The same encoding with nothing remembered."""
    module, scan = (msgspec.msgpack, scan_msgpack) if codec.binary else (msgspec.json, scan_json)
    return Codec(
        name=codec.name,
        subprotocol=codec.subprotocol,
        binary=codec.binary,
        encode=codec.encode,
        decoder=module.Decoder,
        scan=scan,
    )
