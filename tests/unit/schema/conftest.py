"""An app that declares one of everything that can be declared."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import pytest

from backchannel import App, Command, Event, Meta, Namespace, Query, Struct

T = TypeVar("T")


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Item(Struct):
    """What is sold."""

    name: str
    """What it is called, over
    two lines."""
    tags: tuple[str, ...] = ()


class Page(Struct, Generic[T]):
    """A page of something."""

    items: list[T]
    next: str | None = None


class Circle(Struct, tag="circle"):
    radius: float


class Square(Struct, tag="square"):
    side: float


class Point(Struct, array_like=True):
    x: int
    y: int


@dataclass
class Address:
    street: str
    number: int = 1


class Extra(TypedDict, total=False):
    note: str


class Pair(NamedTuple):
    left: int
    right: str


class Placed(Event):
    """An order was placed."""

    id: str
    note: str | None = None


class Seen(Event):
    how: Literal["screen", "paper"]


class Place(Command[Placed]):
    """Place an order. A text that ends a comment, */, does no harm."""

    shop: Annotated[str, Meta(max_length=20, description="Which shop.")]
    quantity: Annotated[int, Meta(ge=1, le=100)]
    count: int
    shape: Circle | Square
    point: Point
    address: Address
    extra: Extra
    pair: Pair
    size: Size
    level: Level
    at: datetime.datetime
    ident: uuid.UUID
    price: decimal.Decimal
    lasts: datetime.timedelta
    exact: tuple[int, str]
    either: list[int | str]
    anything: Any
    by_name: dict[str, Item]
    item: Item | None = None


class Find(Query[Page[Item]]):
    """Find items."""

    text: str
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    ratio: float = 0.5
    open: bool = False
    sizes: list[Size] = []  # noqa: RUF012  # msgspec copies a struct's defaults
    levels: set[Level] | None = None
    kind: Literal["a", "b"] | None = None
    since: datetime.date | None = None
    either: int | str = 0
    near: Point | None = None
    filter: Item | None = None


@pytest.fixture(scope="session")
def everything() -> App:
    """One of everything."""
    app = App("every.thing")
    app.event("order.placed")(Placed)
    app.event("order.seen", ephemeral=True)(Seen)
    app.command("order.place", lane="shop", errors=["sold_out", "closed"])(Place)
    app.query("item.find")(Find)

    @app.namespace("orders")
    class Orders(Namespace):
        """The orders of a shop."""

        presence = True

    @app.namespace("cursors-2")
    class Cursors(Namespace):
        kind = "ephemeral"
        clients_may_publish = True

    return app
