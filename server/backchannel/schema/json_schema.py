"""The contract of an app as JSON Schema."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from ..app import App, RequestDeclaration
from .words import meaning

__all__ = ["DIALECT", "json_schema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema(app: App) -> dict[str, Any]:
    """One document: every struct in `$defs`, and below `commands`, `queries` and `events` what each name carries.

    Names are sorted, so the same declarations give the same document.
    """
    requests = sorted(app.requests.items())
    events = sorted(app.events.items())
    wanted = [type_ for _, request in requests for type_ in (request.cls, request.reply)]
    wanted += [event.cls for _, event in events]
    schemas, definitions = msgspec.json.schema_components(wanted, ref_template="#/$defs/{name}")
    parts = iter(schemas)
    told = {name: _request(request, data=next(parts), reply=next(parts)) for name, request in requests}
    document = {
        "$schema": DIALECT,
        "title": app.name,
        "commands": {name: told[name] for name, request in requests if request.kind == "command"},
        "queries": {name: told[name] for name, request in requests if request.kind == "query"},
        "events": {name: {"ephemeral": event.ephemeral, "data": next(parts)} for name, event in events},
        "namespaces": {
            name: {
                "kind": namespace.cls.kind,
                "presence": namespace.cls.presence,
                "slow": namespace.cls.slow,
                "clients_may_publish": namespace.cls.clients_may_publish,
            }
            for name, namespace in sorted(app.all_namespaces().items())
        },
        "$defs": {name: _clean(definition) for name, definition in sorted(definitions.items())},
    }
    # Defaults are Python's values until they are written.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return plain


def _clean(definition: dict[str, Any]) -> dict[str, Any]:
    """Without the indentation of the docstring that became the description."""
    if "description" in definition:
        return {**definition, "description": inspect.cleandoc(definition["description"])}
    return definition


def _request(request: RequestDeclaration, *, data: Any, reply: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"description": meaning(request), "data": data, "reply": reply}
    if request.errors:
        told["errors"] = sorted(request.errors)
    if request.kind == "command":
        told["lane"] = list(request.lane) or ["user"]
    return told
