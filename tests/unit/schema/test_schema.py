"""The contract of an app follows from its declarations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator

from backchannel import App, Command, Context, Event, Meta, Namespace, Query, Struct
from backchannel.demo import app as demo
from backchannel.schema import FORMS, json_schema, markdown

app = App("shop")


class Item(Struct):
    """What is sold.

    Over two lines.
    """

    name: str
    tags: tuple[str, ...] = ()


@app.event("order.placed")
class Placed(Event):
    """An order was placed."""

    id: str
    item: Item


@app.event("order.seen", ephemeral=True)
class Seen(Event):
    how: Literal["screen", "paper"]


@app.command("order.place", lane="shop", errors=["sold_out", "closed"])
class Place(Command[Placed]):
    shop: Annotated[str, Meta(max_length=20, description="Which shop | branch.")]
    quantity: Annotated[int, Meta(ge=1, le=100)]
    note: str | None = None


@app.query("order.list")
class ListOrders(Query[list[Item]]):
    """All orders."""


@app.handle(Place)
async def place(ctx: Context, order: Place) -> Placed:
    """Place an order."""
    raise NotImplementedError


@app.handle(ListOrders)
async def list_orders(ctx: Context, wish: ListOrders) -> list[Item]:
    """One statement, by index."""
    raise NotImplementedError


@app.namespace("orders")
class Orders(Namespace):
    kind = "live"
    slow = "latest"


def references(value: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            yield ref
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_a_command_tells_what_it_takes_and_how_it_answers() -> None:
    """Data, reply, lane and own errors, in the dialect 2020-12."""
    schema = json_schema(app)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "shop"
    assert schema["commands"] == {
        "order.place": {
            "description": "Place an order.",
            "data": {"$ref": "#/$defs/Place"},
            "reply": {"$ref": "#/$defs/Placed"},
            "errors": ["closed", "sold_out"],
            "lane": ["shop"],
        }
    }
    place = schema["$defs"]["Place"]
    assert place["required"] == ["shop", "quantity"]
    assert schema["$defs"]["Item"]["description"] == "What is sold.\n\nOver two lines."
    assert place["properties"]["quantity"] == {"type": "integer", "minimum": 1, "maximum": 100}


def test_a_query_tells_its_reply_and_speaks_by_its_declaration() -> None:
    """A query has no lane; the class's docstring is for callers, the handler's for its authors."""
    (query,) = json_schema(app)["queries"].values()
    assert query == {
        "description": "All orders.",
        "data": {"$ref": "#/$defs/ListOrders"},
        "reply": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
    }


def test_events_and_namespaces_are_told() -> None:
    """With what a listener must know of them; built-in namespaces are there too."""
    schema = json_schema(app)
    assert {name: event["ephemeral"] for name, event in schema["events"].items()} == {
        "order.placed": False,
        "order.seen": True,
    }
    assert schema["namespaces"]["orders"] == {
        "kind": "live",
        "presence": False,
        "slow": "latest",
        "clients_may_publish": False,
    }
    assert "user" in schema["namespaces"]


@pytest.mark.parametrize("name", ["shop", "demo", "everything"])
def test_the_schema_holds_together(everything: App, name: str) -> None:
    """Each reference leads somewhere, each definition is used, each declaration is there; it can be written as JSON."""
    which = {"shop": app, "demo": demo, "everything": everything}[name]
    schema = json_schema(which)
    Draft202012Validator.check_schema(schema)
    used = set(references(schema))
    assert used == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert {*schema["commands"], *schema["queries"]} == set(which.offered())
    assert set(schema["events"]) == set(which.events)
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema


def test_the_same_declarations_give_the_same_document() -> None:
    """Byte for byte, in any order of declaration, so that a committed file changes only with the contract."""
    other = App("shop")
    for part in ("requests", "events", "namespaces"):
        getattr(other, part).update(reversed(getattr(app, part).items()))
    for write in FORMS.values():
        assert write(other) == write(app)


def test_markdown_has_a_table_per_declaration() -> None:
    """Fields with type, need, bounds and meaning; a bar in a text does not end its cell."""
    text = markdown(app)
    assert "### `order.place`\n\nPlace an order.\n\nAnswer: Placed. Lane: `shop`. Refused with: `closed`, `" in text
    assert r"| `shop` | string | yes | at most 20 characters | Which shop \| branch. |" in text
    assert "| `quantity` | integer | yes | ≥ 1; ≤ 100 |  |" in text
    assert "| `note` | string or null | no, `null` |  |  |" in text
    assert "All orders.\n\nAnswer: array of Item. Over HTTP: `GET` or `POST /v1/order.list`.\n\nNo fields.\n" in text
    assert "### `order.seen`\n\nAn event. Ephemeral: it has no offset, and is heard at most once.\n" in text
    assert '| `how` | `"paper"` or `"screen"` | yes |  |  |' in text
    assert "### Item\n\nWhat is sold. Over two lines.\n" in text
    assert "| `tags` | array of string | no, `[]` |  |  |" in text
    assert "| `orders:…` | live | no | latest | no |" in text


def test_markdown_tells_who_refuses_with_what() -> None:
    """The app's own codes, each with its requests, and the protocol's."""
    text = markdown(app)
    assert "| `closed` | `order.place` |\n| `sold_out` | `order.place` |\n" in text
    assert "the protocol's own codes: `invalid`, `unauthenticated`" in text


def test_every_code_is_told_with_what_it_means() -> None:
    """The app's own mean: nothing happened, do not repeat; the protocol's have their row of the table."""
    errors = json_schema(app)["errors"]
    assert errors["sold_out"] == {"status": 409, "retry": False, "outcome": "none"}
    assert errors["rate_limited"]["retry"] is True
    assert errors["rate_limited"]["description"].endswith("Wait for `retry_after` seconds.")


def test_the_demo_can_be_told_as_markdown() -> None:
    """Every declaration of a real app has its heading."""
    text = markdown(demo)
    for name in [*demo.offered(), *demo.events]:
        assert f"\n### `{name}`\n" in text
