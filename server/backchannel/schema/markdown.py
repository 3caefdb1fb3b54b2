"""The contract of an app as readable tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import NODEFAULT
from msgspec import inspect as types

from ..app import App, RequestDeclaration
from .words import constraints, doc_of, meaning, type_words

__all__ = ["markdown"]


def markdown(app: App) -> str:
    """A page: the app's commands, queries, events, channels, and the types that they share."""
    requests = sorted(app.requests.items())
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
            lines += _fields(event.cls)
    lines += ["## Channels", "", "| channels | kind | presence | slow listeners | clients may publish |"]
    lines += ["|---|---|---|---|---|"]
    for name, namespace in sorted(app.all_namespaces().items()):
        cls = namespace.cls
        row = (f"`{name}:…`", cls.kind, _yes(cls.presence), cls.slow, _yes(cls.clients_may_publish))
        lines.append(f"| {' | '.join(row)} |")
    lines.append("")
    named = {request.cls for _, request in requests} | {event.cls for _, event in events}
    reached = _structs([*named, *(request.reply for _, request in requests)])
    if shared := sorted((cls for cls in reached if cls not in named), key=lambda cls: cls.__name__):
        lines += ["## Types", ""]
        for cls in shared:
            lines += [f"### {cls.__name__}", "", *([doc, ""] if (doc := doc_of(cls)) else []), *_fields(cls)]
    return "\n".join(lines).rstrip() + "\n"


def _request(name: str, request: RequestDeclaration) -> list[str]:
    lines = [f"### `{name}`", ""]
    if said := meaning(request):
        lines += [said, ""]
    lines += [f"Answer: {type_words(types.type_info(request.reply))}.", ""]
    if request.kind == "command":
        lane = f"`{'`, `'.join(request.lane)}`" if request.lane else "the user"
        lines[-2] += f" Lane: {lane}."
    if request.errors:
        lines[-2] += f" Refused with: {', '.join(f'`{code}`' for code in sorted(request.errors))}."
    return [*lines, *_fields(request.cls)]


def _fields(cls: type[Any]) -> list[str]:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    if not info.fields:
        return ["No fields.", ""]
    lines = ["| field | type | required | bounds | meaning |", "|---|---|---|---|---|"]
    for field in info.fields:
        if field.required:
            needed = "yes"
        elif field.default is NODEFAULT:
            needed = f"no, `{msgspec.json.encode(field.default_factory()).decode()}`"
        else:
            needed = f"no, `{msgspec.json.encode(field.default).decode()}`"
        row = (
            f"`{field.encode_name}`",
            type_words(field.type),
            needed,
            "; ".join(constraints(field.type)),
            _description(field.type),
        )
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |")
    return [*lines, ""]


def _description(kind: types.Type) -> str:
    if isinstance(kind, types.Metadata):
        return str((kind.extra_json_schema or {}).get("description", ""))
    if isinstance(kind, types.UnionType):
        return next(filter(None, map(_description, kind.types)), "")
    return ""


def _structs(roots: Iterable[Any]) -> Iterator[type[Any]]:
    """All structs that these types hold, each once."""
    seen: set[Any] = set()
    waiting = [types.type_info(root) for root in roots]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, types.StructType):
            if kind.cls in seen:
                continue
            seen.add(kind.cls)
            yield kind.cls
            waiting += [field.type for field in kind.fields]
        else:
            waiting += _inside(kind)


def _inside(kind: types.Type) -> list[types.Type]:
    match kind:
        case types.Metadata(type=inner):
            return [inner]
        case types.UnionType(types=members):
            return list(members)
        case types.DictType(value_type=value):
            return [value]
        case types.TupleType(item_types=items):
            return list(items)
        case types.ListType(item_type=item) | types.SetType(item_type=item) | types.FrozenSetType(item_type=item):
            return [item]
        case types.VarTupleType(item_type=item) | types.CollectionType(item_type=item):
            return [item]
    return []


def _yes(value: bool) -> str:
    return "yes" if value else "no"
