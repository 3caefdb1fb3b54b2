"""The digest of a request."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Struct

from backchannel.worker.digest import digest_of


class Inner(Struct, omit_defaults=True):
    x: int = 0
    names: list[str] = msgspec.field(default_factory=list)


class Circle(Struct, tag="circle"):
    size: int


class Square(Struct, tag="square"):
    size: int


class Data(Struct):
    text: str = "tea"
    inner: Inner = msgspec.field(default_factory=Inner)
    items: list[Inner] = msgspec.field(default_factory=list)
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    shape: Circle | Square | None = None
    number: float = 0.0


class LaterData(Data):
    new: int = 5


def digest(body: str, cls: type[Struct] = Data) -> bytes:
    return digest_of("a.b", msgspec.json.decode(body, type=cls))


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"text": "tea"}',
        '{"inner": {}}',
        '{"inner": {"x": 0, "names": []}, "items": [], "extra": {}, "shape": null}',
        '{"number": 0, "unknown": 1}',
    ],
)
def test_defaults_are_nothing(body: str) -> None:
    """Stated or not, a default is the same request; so it is after the declaration has got a new field."""
    assert digest(body) == digest("{}") == digest(body, LaterData)


def test_order_of_keys_is_nothing() -> None:
    """Maps are the same in any order."""
    assert digest('{"extra": {"a": 1, "b": [2]}}') == digest('{"extra": {"b": [2], "a": 1}}')


def test_different_requests_differ() -> None:
    """Anything else that differs is another request."""
    bodies = [
        "{}",
        '{"text": "coffee"}',
        '{"inner": {"x": 1}}',
        '{"items": [{}]}',
        '{"items": [{}, {}]}',
        '{"items": [{"x": 1}]}',
        '{"extra": {"x": 1}}',
        '{"extra": {"x": "1"}}',
        '{"extra": {"x": true}}',
        '{"extra": {"x": null}}',
        '{"shape": {"type": "circle", "size": 1}}',
        '{"shape": {"type": "square", "size": 1}}',
        '{"number": 1}',
    ]
    digests = {digest(body) for body in bodies} | {digest_of("a.c", Data())}
    assert len(digests) == len(bodies) + 1
