"""The WebSocket as AsyncAPI 3.0. Its official schema is asked in tests/integration/contract_documents/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from backchannel import App
from backchannel.demo import app as demo
from backchannel.schema import asyncapi


@pytest.fixture(scope="module")
def document(everything: App) -> dict[str, Any]:
    """The document of an app with everything."""
    return asyncapi(everything)


def references(node: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(node, dict):
        if isinstance(ref := node.get("$ref"), str):
            yield ref
        for item in node.values():
            yield from references(item)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def found(document: Any, reference: str) -> Any:
    """What a reference leads to."""
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


@pytest.mark.parametrize("name", ["everything", "demo"])
def test_it_holds_together(everything: App, name: str) -> None:
    """Each reference leads somewhere, and each definition, message and channel is used."""
    document = asyncapi(everything if name == "everything" else demo)
    used = set(references(document))
    for reference in used:
        assert found(document, reference)
    for part in ("messages", "schemas"):
        assert {f"#/components/{part}/{key}" for key in document["components"][part]} <= used
    assert {f"#/channels/{key}" for key in document["channels"]} <= used


def test_a_call_is_received_and_answered(document: dict[str, Any]) -> None:
    """By its reply, its own refusals, or the protocol's errors, with the same `id`."""
    operation = document["operations"]["call.order.place"]
    assert operation["action"] == "receive"
    assert operation["channel"] == {"$ref": "#/channels/webSocket"}
    answers = [found(document, ref["$ref"])["$ref"] for ref in operation["reply"]["messages"]]
    assert answers == [
        "#/components/messages/reply.order.place",
        "#/components/messages/refused.order.place",
        "#/components/messages/error",
    ]
    messages = document["components"]["messages"]
    assert messages["refused.order.place"]["payload"]["properties"]["code"] == {
        "enum": ["closed", "sold_out"],
        "description": "Why, as a word of the table of error codes or of the app.",
    }
    for name in ("call.order.place", "reply.order.place", "error"):
        assert messages[name]["correlationId"] == {"location": "$message.payload#/id"}


def test_a_message_is_a_frame(document: dict[str, Any]) -> None:
    """What the WebSocket carries is what the payload says: envelope, name and data."""
    schema = {
        **document["components"]["messages"]["event.order.placed"]["payload"],
        "components": document["components"],
    }
    validator = Draft7Validator(schema)
    frame = {"type": "event", "channel": "orders:acme", "name": "order.placed", "data": {"id": "7"}, "offset": 3}
    validator.validate(frame)
    assert not validator.is_valid({**frame, "name": "order.seen"})
    assert not validator.is_valid({**frame, "data": {"id": 7}})
    assert not validator.is_valid({**frame, "type": "reply"})


def test_commands_have_keys_and_ephemeral_events_no_offsets(document: dict[str, Any]) -> None:
    """What a frame cannot have in this place, its message does not list."""
    messages = document["components"]["messages"]
    assert "key" in messages["call.order.place"]["payload"]["properties"]
    assert "key" not in messages["call.item.find"]["payload"]["properties"]
    assert "offset" in messages["event.order.placed"]["payload"]["properties"]
    assert "offset" not in messages["event.order.seen"]["payload"]["properties"]


def test_a_namespace_is_a_channel_with_a_parameter(document: dict[str, Any]) -> None:
    """The server sends its events; it receives what clients may publish."""
    channel = document["channels"]["orders"]
    assert channel["address"] == "orders:{name}"
    assert set(channel["parameters"]) == {"name"}
    assert channel["description"] == "The orders of a shop."
    assert channel["x-backchannel"] == {"kind": "durable", "presence": True, "slow": "disconnect"}
    assert document["operations"]["event.orders"]["action"] == "send"
    assert document["operations"]["publish.cursors-2"]["action"] == "receive"
    assert "publish.orders" not in document["operations"]


def test_nothing_is_left_of_newer_json_schema(document: dict[str, Any]) -> None:
    """AsyncAPI extends draft 7, which knows neither `prefixItems` nor a `discriminator` with a mapping."""
    exact = document["components"]["schemas"]["Place"]["properties"]["exact"]
    assert [item["type"] for item in exact["items"]] == ["integer", "string"]
    assert exact["additionalItems"] is False
    assert "prefixItems" not in str(document)
    assert "discriminator" not in str(document)
