"""The HTTP door as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from backchannel import App
from backchannel.demo import app as demo
from backchannel.schema import openapi
from backchannel_protocol import ERROR_CODES


@pytest.fixture(scope="module")
def document(everything: App) -> dict[str, Any]:
    """The document of an app with everything."""
    return openapi(everything)


@pytest.mark.parametrize("name", ["everything", "demo"])
def test_it_is_valid(everything: App, name: str) -> None:
    """By the official schema of OpenAPI 3.1; references lead somewhere, defaults are what their schemas say."""
    OpenAPIV31SpecValidator(openapi(everything if name == "everything" else demo)).validate()


def test_a_command_is_a_post(document: dict[str, Any]) -> None:
    """With its data as body, its reply as answer, its key as a header, and its docstring."""
    path = document["paths"]["/v1/order.place"]
    assert set(path) == {"post"}
    post = path["post"]
    assert post["operationId"] == "order.place"
    assert post["description"].startswith("Place an order.")
    assert post["x-backchannel-lane"] == ["shop"]
    assert post["parameters"] == [{"$ref": "#/components/parameters/idempotencyKey"}]
    assert post["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Place"}}},
    }
    answer = post["responses"]["200"]
    assert answer["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Placed"}}}
    assert set(answer["headers"]) == {"Backchannel-Positions"}


def test_a_query_is_a_get_and_a_post(document: dict[str, Any]) -> None:
    """By GET its fields are parameters: plain ones once, lists repeated, everything else as JSON; null is left out."""
    path = document["paths"]["/v1/item.find"]
    assert set(path) == {"get", "post"}
    assert (path["get"]["operationId"], path["post"]["operationId"]) == ("item.find", "item.find.post")
    parameters = {parameter["name"]: parameter for parameter in path["get"]["parameters"]}
    assert all(parameter["in"] == "query" for parameter in parameters.values())
    assert [name for name, parameter in parameters.items() if parameter["required"]] == ["text"]
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    assert parameters["sizes"]["explode"] is True
    assert parameters["sizes"]["schema"]["items"] == {"$ref": "#/components/schemas/Size"}
    assert parameters["levels"]["schema"]["type"] == "array"
    assert parameters["kind"]["schema"] == {"enum": ["a", "b"]}
    for name in ("either", "near", "filter"):
        assert set(parameters[name]["content"]) == {"application/json"}
    assert "requestBody" not in path["get"]
    assert "parameters" not in path["post"]


def test_declared_errors_are_listed_by_code(document: dict[str, Any]) -> None:
    """With status 409, beside the protocol's `conflict`; a request without any refers to what all share."""
    refused = document["paths"]["/v1/order.place"]["post"]["responses"]["409"]
    assert "`closed`, `sold_out`" in refused["description"]
    (media,) = refused["content"].values()
    assert media["schema"] == {"$ref": "#/components/schemas/order.place.refused"}
    schema = document["components"]["schemas"]["order.place.refused"]
    assert schema["properties"]["code"]["enum"] == ["conflict", "closed", "sold_out"]
    assert schema["required"] == document["components"]["schemas"]["Problem"]["required"]
    assert document["paths"]["/v1/item.find"]["get"]["responses"]["409"] == {
        "$ref": "#/components/responses/refused409"
    }


def test_every_status_of_the_protocol_is_an_answer(document: dict[str, Any]) -> None:
    """Whatever is refused has its response in problem+json, but for 499, which nobody is there to read."""
    for path in document["paths"].values():
        for operation in path.values():
            told = set(operation["responses"])
            assert {str(info.status) for info in ERROR_CODES.values()} - {"499"} <= told
    for response in document["components"]["responses"].values():
        assert set(response["content"]) == {"application/problem+json"}
    assert "Retry-After" in document["components"]["responses"]["refused503"]["headers"]
    assert "WWW-Authenticate" in document["components"]["responses"]["refused401"]["headers"]


def test_who_may_ask(document: dict[str, Any]) -> None:
    """A user's token, or an API key, as itself or for a user."""
    assert document["security"] == [{"userToken": []}, {"apiKey": []}, {"apiKey": [], "actingFor": []}]
    schemes = document["components"]["securitySchemes"]
    assert schemes["userToken"]["scheme"] == schemes["apiKey"]["scheme"] == "bearer"
    assert (schemes["actingFor"]["in"], schemes["actingFor"]["name"]) == ("header", "Backchannel-User")


def test_integers_are_what_every_client_holds(document: dict[str, Any]) -> None:
    """An integer without bounds has those of the data model."""
    count = document["components"]["schemas"]["Place"]["properties"]["count"]
    assert count == {"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1}


def test_texts_below_fields_describe_them(document: dict[str, Any]) -> None:
    """On one line, and before what their types say."""
    schemas = document["components"]["schemas"]
    assert schemas["Item"]["properties"]["name"]["description"] == "What it is called, over two lines."
    assert schemas["Place"]["properties"]["shop"]["description"] == "Which shop."
