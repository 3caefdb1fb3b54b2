"""The contract of an app as JSON Schema."""

from __future__ import annotations

from typing import Any, Final

from backchannel_protocol import ERROR_CODES

from ..app import App, Namespace, RequestDeclaration
from .components import components
from .problem import APP_STATUS
from .words import doc_of, meaning

__all__ = ["DIALECT", "json_schema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema(app: App) -> dict[str, Any]:
    """One document: every struct in `$defs`, and below `commands`, `queries` and `events` what each name carries.

    `namespaces` tells the kinds of channel, `errors` every code that a request may be refused with.

    Names are sorted, so the same declarations give the same document.
    """
    requests = sorted(app.offered().items())
    events = sorted(app.events.items())
    wanted = [type_ for _, request in requests for type_ in (request.cls, request.reply)]
    wanted += [event.cls for _, event in events]
    schemas, definitions = components(wanted, "#/$defs/{name}")
    parts = iter(schemas)
    told = {name: _request(request, data=next(parts), reply=next(parts)) for name, request in requests}
    return {
        "$schema": DIALECT,
        "title": app.name,
        "commands": {name: told[name] for name, request in requests if request.kind == "command"},
        "queries": {name: told[name] for name, request in requests if request.kind == "query"},
        "events": {name: {"ephemeral": event.ephemeral, "data": next(parts)} for name, event in events},
        "namespaces": {name: _namespace(namespace.cls) for name, namespace in sorted(app.all_namespaces().items())},
        "errors": _errors(app),
        "$defs": definitions,
    }


def _namespace(cls: type[Namespace]) -> dict[str, Any]:
    told = {"description": doc} if (doc := doc_of(cls)) else {}
    return {
        **told,
        "kind": cls.kind,
        "presence": cls.presence,
        "slow": cls.slow,
        "clients_may_publish": cls.clients_may_publish,
    }


def _errors(app: App) -> dict[str, Any]:
    """Every code with what it means: the app's own, then the protocol's."""
    own = sorted({code for request in app.offered().values() for code in request.errors})
    told: dict[str, Any] = {code: {"status": APP_STATUS, "retry": False, "outcome": "none"} for code in own}
    for code, info in ERROR_CODES.items():
        told[code] = {
            "description": f"{info.meaning} {info.cure}",
            "status": info.status,
            "retry": info.retry,
            "outcome": info.outcome,
        }
    return told


def _request(request: RequestDeclaration, *, data: Any, reply: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"description": meaning(request), "data": data, "reply": reply}
    if request.errors:
        told["errors"] = sorted(request.errors)
    if request.kind == "command":
        told["lane"] = list(request.lane) or ["user"]
    return told
