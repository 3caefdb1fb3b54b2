"""A field's type and its bounds in words."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from ..app import RequestDeclaration
from .reach import class_of, name_of

__all__ = ["constraints", "doc_of", "meaning", "type_words"]

_PLAIN: Final[dict[type[types.Type], str]] = {
    types.AnyType: "anything",
    types.RawType: "anything",
    types.NoneType: "null",
    types.BoolType: "boolean",
    types.IntType: "integer",
    types.FloatType: "number",
    types.StrType: "string",
    types.DateTimeType: "date and time (RFC 3339)",
    types.DateType: "date (RFC 3339)",
    types.TimeType: "time (RFC 3339)",
    types.TimeDeltaType: "duration (ISO 8601)",
    types.UUIDType: "UUID",
    types.DecimalType: "decimal number, as a string",
}


def doc_of(cls: type[Any]) -> str:
    """A class's own docstring, on one line."""
    of = class_of(cls)
    # Dataclasses and named tuples without a docstring get their signature as one.
    if not of.__doc__ or of.__doc__.startswith(f"{of.__name__}("):
        return ""
    return " ".join(inspect.cleandoc(of.__doc__).split())


def meaning(request: RequestDeclaration) -> str:
    """What a request is for. Its declaration speaks to callers; its handler's docstring counts where that is silent."""
    return doc_of(request.cls) or request.summary


def type_words(kind: types.Type) -> str:
    """What a type is called in the tables; structs by their names.

    Raises:
        TypeError: there are no words for it; an app's registration refuses what has no form on the wire.
    """
    match kind:
        case types.Metadata(type=inner):
            return type_words(inner)
        case types.UnionType(types=members):
            return " or ".join(type_words(member) for member in members)
        case types.LiteralType(values=values):
            return " or ".join(f"`{_json(value)}`" for value in values)
        case types.EnumType(cls=cls):
            return " or ".join(f"`{_json(member.value)}`" for member in cls)
        case types.StructType() | types.TypedDictType() | types.NamedTupleType() | types.DataclassType():
            return name_of(kind.cls)
        case types.DictType(value_type=value):
            return f"map of {type_words(value)}"
        case types.TupleType(item_types=items):
            return f"array of exactly ({', '.join(type_words(item) for item in items)})"
        case types.ListType(item_type=item) | types.SetType(item_type=item) | types.FrozenSetType(item_type=item):
            return f"array of {type_words(item)}"
        case types.VarTupleType(item_type=item) | types.CollectionType(item_type=item):
            return f"array of {type_words(item)}"
    try:
        return _PLAIN[type(kind)]
    except KeyError:
        raise TypeError(f"no words for {kind!r}: add them here.") from None


def constraints(kind: types.Type) -> list[str]:
    """What bounds a type's values, each bound in words; those of an array's items too."""
    match kind:
        case types.Metadata(type=inner):
            return constraints(inner)
        case types.UnionType(types=members):
            return [words for member in members for words in constraints(member)]
        case types.IntType() | types.FloatType():
            bounds = {"≥": kind.ge, ">": kind.gt, "≤": kind.le, "<": kind.lt, "a multiple of": kind.multiple_of}
            return [f"{sign} {value}" for sign, value in bounds.items() if value is not None]
        case types.StrType():
            words = _length(kind.min_length, kind.max_length, "characters")
            return [*words, f"matches `{kind.pattern}`"] if kind.pattern is not None else words
        case types.DictType():
            return _length(kind.min_length, kind.max_length, "entries")
        case types.ListType() | types.SetType() | types.FrozenSetType() | types.VarTupleType() | types.CollectionType():
            items = [f"each {words}" for words in constraints(kind.item_type)]
            return [*_length(kind.min_length, kind.max_length, "items"), *items]
    return []


def _length(least: int | None, most: int | None, what: str) -> list[str]:
    if least is not None and most is not None:
        return [f"{least} to {most} {what}"]
    if least is not None:
        return [f"at least {least} {what}"]
    return [f"at most {most} {what}"] if most is not None else []


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
