"""The documents are what their official schemas say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from backchannel import App, chat, demo
from backchannel.schema import asyncapi, json_schema, openapi

pytestmark = pytest.mark.timeout(300)  # the tools may have to be installed


@pytest.fixture(params=["chat", "demo", "todo"])
def app(request: pytest.FixtureRequest, todo: App) -> App:
    """Apps that there are."""
    return {"chat": chat.app, "demo": demo.app, "todo": todo}[request.param]


def test_asyncapi(app: App, tools: Any) -> None:
    """AsyncAPI 3.0, by the schema that its makers publish."""
    path = tools.node_modules / "@asyncapi" / "specs" / "schemas" / "3.0.0-without-$id.json"
    validator = Draft7Validator(json.loads(path.read_text()))
    validator.validate(asyncapi(app))
    assert not validator.is_valid({**asyncapi(app), "channels": 1})


def test_openapi(app: App) -> None:
    """OpenAPI 3.1."""
    OpenAPIV31SpecValidator(openapi(app)).validate()


def test_json_schema(app: App) -> None:
    """JSON Schema 2020-12, each definition too."""
    document = json_schema(app)
    for schema in (document, *document["$defs"].values()):
        Draft202012Validator.check_schema(schema)
