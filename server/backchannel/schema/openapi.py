"""The contract of an app's HTTP door as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any, Final

from backchannel_protocol import ERROR_CODES, PROTOCOL_VERSION
from backchannel_protocol.limits import KEY_PATTERN, USER_PATTERN

from ..app import App, RequestDeclaration
from .components import Schema, components
from .json_schema import DIALECT
from .problem import APP_STATUS, KEY_HEADER, POSITIONS_HEADER, PROBLEM_TYPE, USER_HEADER, Problem
from .query_string import QueryString
from .words import meaning

__all__ = ["openapi"]

_JSON: Final = "application/json"

_MORE: Final = {
    408: ("`invalid`: The body did not come in time.",),
    414: ("`too_large`: The URL is over its limit; ask with POST.",),
    415: ("`invalid`: The body is not declared as JSON.",),
}
"""Statuses of the door's own, beside those of the error codes."""

_UNHEARD: Final = 499
"""Of `cancelled`: nobody is there to read it."""

_ABOUT: Final = """\
Every command and query of the app over HTTP. A command is `POST`; a query is `GET`, with its fields in the query
string, or `POST`. Every refusal is problem details (RFC 9457), whose `code` is the same word as on the WebSocket."""


def openapi(app: App) -> dict[str, Any]:
    """One document with all operations; the same declarations give the same document."""
    requests = sorted(app.offered().items())
    wanted = [type_ for _, request in requests for type_ in (request.cls, request.reply)]
    schemas, definitions = components([*wanted, Problem], "#/components/schemas/{name}")
    problem = _named(schemas[-1])
    parts = iter(schemas)
    paths = {}
    for name, request in requests:
        operation = _Operation(request, next(parts), next(parts), definitions)
        if request.errors:
            definitions[operation.refused] = _refused(request, definitions[problem])
        paths[f"/v1/{name}"] = operation.methods()
    return {
        "openapi": "3.1.0",
        "info": {"title": app.name, "version": str(PROTOCOL_VERSION), "description": _ABOUT},
        "jsonSchemaDialect": DIALECT,
        "security": [{"userToken": []}, {"apiKey": []}, {"apiKey": [], "actingFor": []}],
        "tags": [{"name": noun} for noun in sorted({_noun(name) for name, _ in requests})],
        "paths": paths,
        "components": {
            "securitySchemes": _security(),
            "parameters": {"idempotencyKey": _key()},
            "headers": {"positions": _positions(), "retryAfter": _retry_after(), "authenticate": _authenticate()},
            "responses": _responses(problem),
            "schemas": dict(sorted(definitions.items())),
        },
    }


class _Operation:
    """One command or query."""

    def __init__(
        self, request: RequestDeclaration, data: Schema, reply: Schema, definitions: dict[str, Schema]
    ) -> None:
        self._request = request
        self._data = data
        self._reply = reply
        self._definition = definitions[_named(data)]
        self.refused = f"{request.name}.refused"

    def methods(self) -> dict[str, Any]:
        """The path's operations."""
        if self._request.kind == "command":
            return {"post": self._post(self._request.name)}
        return {"get": self._get(), "post": self._post(f"{self._request.name}.post")}

    def _post(self, operation: str) -> dict[str, Any]:
        is_command = self._request.kind == "command"
        return {
            **self._said(operation),
            **({"parameters": [{"$ref": "#/components/parameters/idempotencyKey"}]} if is_command else {}),
            "requestBody": {
                "required": bool(self._definition.get("required")),
                "content": {_JSON: {"schema": self._data}},
            },
            "responses": self._responses(without=(414,)),
        }

    def _get(self) -> dict[str, Any]:
        return {
            **self._said(self._request.name),
            "parameters": [
                self._parameter(name, how) for name, how in QueryString(self._request.cls).spellings.items()
            ],
            "responses": self._responses(without=(408, 415)),
        }

    def _said(self, operation: str) -> dict[str, Any]:
        request = self._request
        said = {"operationId": operation, "tags": [_noun(request.name)], "summary": request.name}
        if told := meaning(request):
            said["description"] = told
        if request.kind == "command":
            said["x-backchannel-lane"] = list(request.lane) or ["user"]
        return said

    def _parameter(self, name: str, how: str) -> dict[str, Any]:
        schema = _without_null(self._definition["properties"][name])
        parameter: dict[str, Any] = {"name": name, "in": "query"}
        if description := schema.pop("description", None):
            parameter["description"] = description
        parameter["required"] = name in self._definition.get("required", ())
        if how == "json":
            return {**parameter, "content": {_JSON: {"schema": schema}}}
        return {**parameter, **({"style": "form", "explode": True} if how == "many" else {}), "schema": schema}

    def _responses(self, *, without: tuple[int, ...]) -> dict[str, Any]:
        answer = {
            "description": "The reply.",
            "headers": {POSITIONS_HEADER: {"$ref": "#/components/headers/positions"}},
            "content": {_JSON: {"schema": self._reply}},
        }
        responses: dict[str, Any] = {"200": answer}
        responses |= {
            str(status): {"$ref": f"#/components/responses/refused{status}"}
            for status in _statuses()
            if status not in without
        }
        if self._request.errors:
            codes = ", ".join(f"`{code}`" for code in sorted(self._request.errors))
            responses[str(APP_STATUS)] = {
                "description": f"The app's own: {codes}. {_meaning(APP_STATUS)}",
                "content": {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{self.refused}"}}},
            }
        return responses


def _refused(request: RequestDeclaration, problem: Schema) -> Schema:
    """The problem whose code is one of a request's own."""
    codes = [code for code, info in ERROR_CODES.items() if info.status == APP_STATUS]
    code = {**problem["properties"]["code"], "enum": [*codes, *sorted(request.errors)]}
    return {
        **problem,
        "title": f"{request.name}.refused",
        "description": f"Why `{request.name}` was refused with {APP_STATUS}.",
        "properties": {**problem["properties"], "code": code},
    }


def _statuses() -> list[int]:
    return sorted({info.status for info in ERROR_CODES.values()} - {_UNHEARD} | set(_MORE))


def _meaning(status: int) -> str:
    codes = [f"`{info.code}`: {info.meaning}" for info in ERROR_CODES.values() if info.status == status]
    return " ".join([*codes, *_MORE.get(status, ())])


def _responses(problem: str) -> dict[str, Any]:
    responses = {}
    for status in _statuses():
        headers = {}
        if any(info.retry for info in ERROR_CODES.values() if info.status == status):
            headers["Retry-After"] = {"$ref": "#/components/headers/retryAfter"}
        if status == ERROR_CODES["unauthenticated"].status:
            headers["WWW-Authenticate"] = {"$ref": "#/components/headers/authenticate"}
        responses[f"refused{status}"] = {
            "description": _meaning(status),
            **({"headers": headers} if headers else {}),
            "content": {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{problem}"}}},
        }
    return responses


def _security() -> dict[str, Any]:
    return {
        "userToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A user's token."},
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "bk_…",
            "description": f"An API key, for servers. It acts as itself, or for the user in `{USER_HEADER}`.",
        },
        "actingFor": {
            "type": "apiKey",
            "in": "header",
            "name": USER_HEADER,
            "description": f"The user that an API key acts for; matches `{_plain(USER_PATTERN)}`.",
        },
    }


def _key() -> dict[str, Any]:
    return {
        "name": KEY_HEADER,
        "in": "header",
        "required": False,
        "description": "The same key has one effect, however often it is sent; the first reply is told again.",
        "schema": {"type": "string", "pattern": _plain(KEY_PATTERN)},
    }


def _positions() -> dict[str, Any]:
    return {
        "description": "JSON: for each channel the offset that the reply includes. Absent where it names none.",
        "schema": {"type": "string", "contentMediaType": _JSON},
    }


def _retry_after() -> dict[str, Any]:
    return {"description": "Whole seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 0}}


def _authenticate() -> dict[str, Any]:
    return {"description": "The scheme to authenticate with.", "schema": {"type": "string"}}


def _plain(pattern: str) -> str:
    """A pattern without what only Python needs to mean the same by `$`."""
    return pattern.removesuffix(r"(?!\n)")


def _without_null(schema: Schema) -> Schema:
    """What a parameter may be: where it has nothing to say it is left out."""
    schema = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" in schema:
        members = [member for member in schema["anyOf"] if member != {"type": "null"}]
        if len(members) == 1:
            del schema["anyOf"]
            return {**members[0], **schema}
        schema["anyOf"] = members
    return schema


def _named(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _noun(name: str) -> str:
    return name.partition(".")[0]
