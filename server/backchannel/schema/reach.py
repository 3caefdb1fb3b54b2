"""Which types with a name of their own an app's declarations hold, and what their fields mean."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, get_origin

from msgspec import inspect as types

__all__ = ["Fielded", "Named", "class_of", "field_docs", "fields_of", "name_of", "named_types"]

Fielded = types.StructType | types.DataclassType | types.TypedDictType | types.NamedTupleType
"""A type with fields."""
Named = Fielded | types.EnumType
"""A type with a name of its own."""


def named_types(roots: Iterable[Any]) -> Iterator[Named]:
    """All types with a name that these hold, themselves too, each once."""
    seen: set[Any] = set()
    waiting = [types.type_info(root) for root in roots]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, Named):
            if kind.cls in seen:
                continue
            seen.add(kind.cls)
            yield kind
        waiting += _inside(kind)


def _inside(kind: types.Type) -> list[types.Type]:
    match kind:
        case types.StructType() | types.DataclassType() | types.TypedDictType() | types.NamedTupleType():
            return [field.type for field in kind.fields]
        case types.Metadata(type=inner):
            return [inner]
        case types.UnionType(types=members):
            return list(members)
        case types.DictType(value_type=value):
            return [value]
        case types.TupleType(item_types=items):
            return list(items)
        case types.ListType() | types.SetType() | types.FrozenSetType() | types.VarTupleType() | types.CollectionType():
            return [kind.item_type]
    return []


def class_of(cls: Any) -> Any:
    """The class itself of what may be one with its parameters filled in."""
    return get_origin(cls) or cls


def name_of(cls: Any) -> str:
    """What a class is called; `Page[Item]` keeps what fills it."""
    if get_origin(cls) is None:
        return str(getattr(cls, "__name__", cls))
    return f"{get_origin(cls).__name__}[{', '.join(name_of(argument) for argument in cls.__args__)}]"


def fields_of(kind: Fielded) -> Iterator[tuple[types.Field, str]]:
    """The fields of a type, each with what it means: the text below it, else its type's description."""
    docs = field_docs(kind.cls)
    for field in kind.fields:
        yield field, docs.get(field.name) or _description(field.type)


def _description(kind: types.Type) -> str:
    if isinstance(kind, types.Metadata):
        return str((kind.extra_json_schema or {}).get("description", ""))
    if isinstance(kind, types.UnionType):
        return next(filter(None, map(_description, kind.types)), "")
    return ""


def field_docs(cls: Any) -> Mapping[str, str]:
    """The texts that stand below a class's fields, by field, those of its bases too; empty without the source."""
    found: dict[str, str] = {}
    for base in reversed(class_of(cls).__mro__):
        found.update(_texts(base.__module__).get(base.__qualname__, {}))
    return found


@cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    """Per class of a module the texts below its fields."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (KeyError, OSError, TypeError):
        return {}
    found: dict[str, dict[str, str]] = {}
    waiting: list[tuple[str, list[ast.stmt]]] = [("", ast.parse(source).body)]
    while waiting:
        prefix, body = waiting.pop()
        for statement in body:
            match statement:
                case ast.ClassDef(name=name, body=inner):
                    found[prefix + name] = dict(_texts_below(inner))
                    waiting.append((f"{prefix}{name}.", inner))
                case ast.FunctionDef(name=name, body=inner) | ast.AsyncFunctionDef(name=name, body=inner):
                    waiting.append((f"{prefix}{name}.<locals>.", inner))
    return found


def _texts_below(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, below in pairwise(body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
