"""Messages: what crosses the bus between gateways and workers, as MessagePack.

Fields are only ever added at the end, with a default, so that gateways and workers of two releases understand each
other while one replaces the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from .relay import Reply, Request

__all__ = [
    "GARBLED",
    "Beat",
    "ToGateway",
    "ToWorker",
    "decode_beat",
    "decode_to_gateway",
    "decode_to_worker",
    "encode",
    "in_messages",
    "travels",
]

T = TypeVar("T")

Incarnation = Annotated[str, Meta(min_length=1, max_length=64)]
"""The name of one gateway or worker process, from its start to its end; a topic is made of it."""

# Bytes of bodies in one message, and requests or replies in one message: a subscriber's buffer in Redis, and the time
# that its reader spends on one message, stay bounded.
_BYTES: Final = 256 * 1024
_NUMBER: Final = 256


class ToWorker(Struct, array_like=True):
    """A gateway to one worker, on the worker's own topic: what one loop tick brought."""

    gateway: Incarnation
    requests: list[Request] = []
    """In the order sent."""
    cancelled: list[int] = []
    """Ids of requests that nobody waits for any more."""


class ToGateway(Struct, array_like=True):
    """A worker to one gateway, on the gateway's own topic. All ids are the gateway's."""

    worker: Incarnation
    taken: list[int] = []
    """Receipts: these were taken, or are still open here."""
    replies: list[Reply] = []
    handed_back: list[int] = []
    """These were not taken, and did not happen here; another worker may have them."""


class Beat(Struct, array_like=True):
    """A worker to all gateways: it lives."""

    worker: Incarnation
    takes: bool
    """Whether it takes requests; one that leaves still answers what it took."""
    names: list[str]
    """The commands and queries that it serves."""
    load: int = 0
    """Requests that it has taken and not answered."""
    gone: bool = False
    """Its last word: it answers nothing any more."""


encode: Final = msgspec.msgpack.Encoder().encode
"""Encode a message. Raises what msgspec raises for values without a form: see `travels`."""

GARBLED: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the decoders raise for whatever is not their message."""

decode_to_worker: Final = msgspec.msgpack.Decoder(ToWorker).decode
decode_to_gateway: Final = msgspec.msgpack.Decoder(ToGateway).decode
decode_beat: Final = msgspec.msgpack.Decoder(Beat).decode


def travels(item: Request | Reply) -> bool:
    """Whether this can be encoded: a half of a surrogate pair, or an integer beyond 64 bits, cannot."""
    try:
        encode(item)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return False
    return True


def in_messages(items: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Split what goes one way in one tick into messages of bounded size, in order.

    Args:
        items: what is sent, at least one.
        size: the bytes of one's body.
    """
    total = sum(map(size, items))
    if total <= _BYTES and len(items) <= _NUMBER:
        yield items
        return
    begin = taken = 0
    for position, item in enumerate(items):
        bytes_of = size(item)
        if position > begin and (taken + bytes_of > _BYTES or position - begin >= _NUMBER):
            yield items[begin:position]
            begin, taken = position, 0
        taken += bytes_of
    yield items[begin:]
