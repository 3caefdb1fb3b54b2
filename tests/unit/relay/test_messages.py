"""What crosses the bus: sizes, hostile bytes, releases side by side."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.auth.principal import Principal
from backchannel.relay import messages
from backchannel.relay.messages import Beat, ToGateway, ToWorker, encode, in_messages, travels
from backchannel.relay.relay import Failure, Reply, Request


@given(st.lists(st.binary(max_size=200_000), min_size=1, max_size=12), st.integers(1, 400))
def test_messages_have_bounded_sizes(bodies: list[bytes], times: int) -> None:
    """Everything is in one message, in order; no message is over the bound unless it holds a single body."""
    items = bodies * (times // len(bodies) + 1)
    parts = list(in_messages(items, len))
    assert [item for part in parts for item in part] == items
    assert all(len(part) <= 256 for part in parts)
    assert all(len(part) == 1 or sum(map(len, part)) <= 256 * 1024 for part in parts)
    # No message more than needed: a part and the first of the next do not fit together.
    for part, following in pairwise(parts):
        assert len(part) == 256 or sum(map(len, part)) + len(following[0]) > 256 * 1024


DECODERS: list[Any] = [messages.decode_to_worker, messages.decode_to_gateway, messages.decode_beat]


@pytest.mark.parametrize("decode", DECODERS)
@given(st.one_of(st.binary(), st.recursive(st.integers() | st.text() | st.none(), st.lists).map(lambda v: v)))
def test_hostile_bytes(decode: Any, garbage: Any) -> None:
    """Whatever is on a topic, decoding it yields a message or one of two errors."""
    if not isinstance(garbage, bytes):
        try:
            garbage = msgspec.msgpack.encode(garbage)
        except OverflowError:
            return
    with contextlib.suppress(*messages.GARBLED):
        decode(garbage)


def test_nested_garbage() -> None:
    """Nesting beyond what the stack holds is garbage, too, also where anything is allowed."""
    nested = b"\x91" * 100_000 + b"\xc0"
    details = msgspec.msgpack.encode("full") * 2 + b"\xc2" + msgspec.msgpack.encode("none") + nested
    reply = b"\x94\x01\xc4\x00\xc0\x95" + details
    for decode, garbage in ((DECODERS[0], nested), (DECODERS[1], b"\x93\xa2w1\x90\x91" + reply), (DECODERS[2], nested)):
        with pytest.raises(messages.GARBLED):
            decode(garbage)


def test_a_later_release_may_add_fields() -> None:
    """Fields that are not known yet are ignored, and missing ones have their default."""
    known = msgspec.msgpack.decode(encode(ToWorker("g1", [], [3])))
    assert messages.decode_to_worker(msgspec.msgpack.encode([*known, {"new": 1}])) == ToWorker("g1", [], [3])
    assert messages.decode_to_gateway(msgspec.msgpack.encode(["w1"])) == ToGateway("w1")
    assert messages.decode_beat(msgspec.msgpack.encode(["w1", True, ["a.b"]])) == Beat("w1", True, ["a.b"])


def test_what_travels() -> None:
    """What has no form in MessagePack is known before it is sent."""
    request = Request(id=1, kind="query", name="a.b", data=b"", principal=Principal(user="a", id="user:a"))
    assert travels(request)
    assert not travels(msgspec.structs.replace(request, name="\ud800"))
    assert not travels(Reply(id=1, failure=Failure("full", "", retry=False, outcome="none", details={"n": 2**70})))
