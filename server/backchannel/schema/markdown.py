"""The contract of an app as readable tables."""

from __future__ import annotations

import msgspec
from msgspec import NODEFAULT, UNSET
from msgspec import inspect as types

from backchannel_protocol import ERROR_CODES

from ..app import App, RequestDeclaration
from .reach import Fielded, fields_of, name_of, named_types
from .words import constraints, doc_of, meaning, type_words

__all__ = ["markdown"]


def markdown(app: App) -> str:
    """A page: the app's commands, queries, events, channels and errors, and the types that they share."""
    requests = sorted(app.offered().items())
    events = sorted(app.events.items())
    lines = [f"# {app.name}", ""]
    for title, kind in (("Commands", "command"), ("Queries", "query")):
        if chosen := [(name, request) for name, request in requests if request.kind == kind]:
            lines += [f"## {title}", ""]
            for name, request in chosen:
                lines += _request(name, request)
    if events:
        lines += ["## Events", ""]
        for name, event in events:
            note = " Ephemeral: it has no offset, and is heard at most once." if event.ephemeral else ""
            lines += [f"### `{name}`", "", f"{doc_of(event.cls) or 'An event.'}{note}", ""]
            lines += _fields(_fielded(event.cls))
    lines += ["## Channels", "", "| channels | kind | presence | slow listeners | clients may publish |"]
    lines += ["|---|---|---|---|---|"]
    for name, namespace in sorted(app.all_namespaces().items()):
        cls = namespace.cls
        row = (f"`{name}:…`", cls.kind, _yes(cls.presence), cls.slow, _yes(cls.clients_may_publish))
        lines.append(f"| {' | '.join(row)} |")
    lines.append("")
    lines += _errors(app)
    named = {request.cls for _, request in requests} | {event.cls for _, event in events}
    reached = named_types([*named, *(request.reply for _, request in requests)])
    shared = {name_of(kind.cls): kind for kind in reached if isinstance(kind, Fielded) and kind.cls not in named}
    if shared:
        lines += ["## Types", ""]
        for name, type_ in sorted(shared.items()):
            lines += [f"### {name}", "", *([doc, ""] if (doc := doc_of(type_.cls)) else []), *_fields(type_)]
    return "\n".join(lines).rstrip() + "\n"


def _errors(app: App) -> list[str]:
    refusing: dict[str, list[str]] = {}
    for name, request in sorted(app.offered().items()):
        for code in request.errors:
            refusing.setdefault(code, []).append(f"`{name}`")
    lines = ["## Errors", ""]
    if refusing:
        lines += ["| the app's own code | refused by |", "|---|---|"]
        lines += [f"| `{code}` | {', '.join(names)} |" for code, names in sorted(refusing.items())]
        lines += ["", "They mean: nothing happened, and the same request will be refused again; over HTTP, status 409."]
    protocol = ", ".join(f"`{code}`" for code in ERROR_CODES)
    return [*lines, f"Any request may be refused with the protocol's own codes: {protocol}.", ""]


def _request(name: str, request: RequestDeclaration) -> list[str]:
    lines = [f"### `{name}`", ""]
    if said := meaning(request):
        lines += [said, ""]
    lines += [f"Answer: {type_words(types.type_info(request.reply))}.", ""]
    if request.kind == "command":
        user = f"the user in `{request.lane_of}`" if request.lane_of else "the user"
        lane = f"`{'`, `'.join(request.lane)}`" if request.lane else user
        lines[-2] += f" Lane: {lane}."
    if request.errors:
        lines[-2] += f" Refused with: {', '.join(f'`{code}`' for code in sorted(request.errors))}."
    methods = "`POST" if request.kind == "command" else "`GET` or `POST"
    lines[-2] += f" Over HTTP: {methods} /v1/{name}`."
    return [*lines, *_fields(_fielded(request.cls))]


def _fielded(cls: type[object]) -> Fielded:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    return info


def _fields(kind: Fielded) -> list[str]:
    if not kind.fields:
        return ["No fields.", ""]
    lines = ["| field | type | required | bounds | meaning |", "|---|---|---|---|---|"]
    for field, said in fields_of(kind):
        if field.required:
            needed = "yes"
        elif field.default is UNSET:
            needed = "no"
        elif field.default is NODEFAULT:
            needed = f"no, `{msgspec.json.encode(field.default_factory()).decode()}`"
        else:
            needed = f"no, `{msgspec.json.encode(field.default).decode()}`"
        row = (
            f"`{field.encode_name}`",
            type_words(field.type),
            needed,
            "; ".join(constraints(field.type)),
            said,
        )
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |")
    return [*lines, ""]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
