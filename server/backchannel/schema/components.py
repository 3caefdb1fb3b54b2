"""JSON Schema of an app's types, as every document carries it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from backchannel_protocol.limits import MAX_INTEGER

from .reach import Fielded, fields_of, named_types

__all__ = ["Schema", "components", "mapped"]

Schema = dict[str, Any]

# What stands in these is a value and no schema.
_VALUES: Final = frozenset({"const", "default", "enum", "examples"})


def components(wanted: Sequence[Any], ref: str) -> tuple[list[Schema], dict[str, Schema]]:
    """The schema of each type, and the definitions that they refer to, by name, sorted.

    Docstrings are descriptions, and integers have the bounds of the data model (ENC-3).

    Args:
        wanted: the types.
        ref: how a definition is referred to, with `{name}`.
    """
    named = list(named_types(wanted))
    schemas, definitions = msgspec.json.schema_components([*wanted, *(kind.cls for kind in named)], ref_template=ref)
    names = [schema["$ref"].removeprefix(ref.format(name="")) for schema in schemas[len(wanted) :]]
    for kind, name in zip(named, names, strict=True):
        definition = definitions[name]
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
        if isinstance(kind, Fielded) and "properties" in definition:
            for field, meaning in fields_of(kind):
                if meaning:
                    definition["properties"][field.encode_name]["description"] = meaning
    # Defaults are Python's values until they are written.
    plain: Any = msgspec.json.decode(msgspec.json.encode([schemas[: len(wanted)], definitions]))
    shown, defined = mapped(plain, _bounded)
    return shown, dict(sorted(defined.items()))


def mapped(node: Any, change: Any) -> Any:
    """A document in which `change` replaced every map that may be a schema, from the inside out."""
    if isinstance(node, list):
        return [mapped(item, change) for item in node]
    if isinstance(node, dict):
        return change({key: value if key in _VALUES else mapped(value, change) for key, value in node.items()})
    return node


def _bounded(schema: Schema) -> Schema:
    if schema.get("type") != "integer":
        return schema
    bounds = {}
    if not {"minimum", "exclusiveMinimum"} & schema.keys():
        bounds["minimum"] = -MAX_INTEGER
    if not {"maximum", "exclusiveMaximum"} & schema.keys():
        bounds["maximum"] = MAX_INTEGER
    return {**schema, **bounds}
