"""Requests: a class that is declared knows what it is answered with."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import pytest
from msgspec import Struct, json

from backchannel_protocol import Command, Event, Query, Request
from backchannel_protocol.requests import reply_type

T = TypeVar("T")
U = TypeVar("U")


class Placed(Struct):
    id: int


class Page(Struct, Generic[T]):
    items: list[T]


class Place(Command[Placed]):
    item: str


class PlaceTwice(Place):
    again: str = ""


class Count(Query[int]):
    shop: str = ""


class Listed(Query[list[T]]):
    pass


class PlacedList(Listed[Placed]):
    pass


class Both(Query[dict[str, T]], Generic[T, U]):
    pass


class BothFilled(Both[int, str]):
    pass


class OfPage(Query[Page[Placed]]):
    pass


class OfAnyPage(Query[Page]):  # type: ignore[type-arg]
    pass


class Nothing(Command[None]):
    pass


@pytest.mark.parametrize(
    ("request_class", "answer"),
    [
        (Place, Placed),
        (PlaceTwice, Placed),
        (Count, int),
        (PlacedList, list[Placed]),
        (BothFilled, dict[str, int]),
        (OfPage, Page[Placed]),
        (OfAnyPage, Page),
        (Nothing, type(None)),
    ],
)
def test_reply_type(request_class: type[Request[Any]], answer: Any) -> None:
    """The answer is found through inheritance and generic classes in between."""
    assert reply_type(request_class) == answer


@pytest.mark.parametrize("request_class", [Command, Query, Request, Listed, Both])
def test_open_reply_type_is_refused(request_class: type[Request[Any]]) -> None:
    """A class that leaves its answer open cannot be declared, and the message tells the cure."""
    with pytest.raises(TypeError, match=r"Command\[Answer\]"):
        reply_type(request_class)


def test_wire_name_takes_no_bytes() -> None:
    """The name belongs to the class: it is no field."""
    assert json.encode(Place(item="tea")) == b'{"item":"tea"}'
    assert json.encode(Event()) == b"{}"
