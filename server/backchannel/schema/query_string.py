"""How a query's data is written into a URL: `GET /v1/message.list?channel=chat:lobby&limit=20`.

A plain value (text, number, switch, instant, one of several words) is one parameter, a list of plain values repeats
it, and a field of any other type carries JSON. A field that is left out has its default; there is no way to write null.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, UnsetType
from msgspec import inspect as types

from backchannel_protocol import JSON, Malformed, Refused
from backchannel_protocol.scan import scan_json

__all__ = ["QueryString", "Spelling"]

Spelling = Literal["one", "many", "json"]
"""How a field is written: once, repeated, or as JSON."""

_PLAIN: Final = (
    types.BoolType,
    types.DateTimeType,
    types.DateType,
    types.DecimalType,
    types.FloatType,
    types.IntType,
    types.StrType,
    types.TimeDeltaType,
    types.TimeType,
    types.UUIDType,
)

_encode: Final = msgspec.json.Encoder().encode


class QueryString:
    """Reads the data of one query from a query string."""

    def __init__(self, cls: type[Any]) -> None:
        info = types.type_info(cls)
        assert isinstance(info, types.StructType)
        self.spellings: dict[str, Spelling] = {field.encode_name: _spelling(field.type) for field in info.fields}
        """How each field is written, by its name on the wire."""
        # Only what is text in a URL is converted here; whoever takes the data checks it as it checks a body.
        field: Any = msgspec.field  # its stub knows no UNSET
        self._data = msgspec.defstruct(
            "Data",
            [
                (
                    f.name,
                    Any if how == "json" else _without_none(f.type) | UnsetType,
                    field(default=UNSET, name=f.encode_name),
                )
                for f, how in zip(msgspec.structs.fields(cls), self.spellings.values(), strict=True)
            ],
            kw_only=True,
            forbid_unknown_fields=info.forbid_unknown_fields,
        )

    def data(self, query_string: bytes, nesting: int) -> bytes:
        """The query's data in JSON.

        Args:
            query_string: what follows the `?`, percent-encoded.
            nesting: how deep JSON may nest.

        Raises:
            Refused: `invalid`; the message names the parameter.
        """
        try:
            given = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError:
            raise Refused("invalid", "The query string is not percent-encoded UTF-8.") from None
        values: dict[str, Any] = {}
        for name, text in given:
            how = self.spellings.get(name, "one")
            if how == "many":
                values.setdefault(name, []).append(text)
            elif name in values:
                raise Refused("invalid", f"There are two parameters {name[:64]!r}; send one.")
            else:
                values[name] = _json(name, text, nesting) if how == "json" else text
        try:
            data = _encode(msgspec.convert(values, self._data, strict=False))
        except msgspec.ValidationError as exc:
            raise Refused("invalid", f"{exc}.") from None
        scan_json(data, nesting)
        return data


def _without_none(type_: Any) -> Any:
    """A type as a parameter has it: null is to leave it out, and the text `null` is no number and no truth."""
    if get_origin(type_) in (Union, UnionType):
        return reduce(or_, [one for one in get_args(type_) if one is not NoneType])
    return type_


def _json(name: str, text: str, nesting: int) -> Any:
    data = text.encode()
    try:
        scan_json(data, nesting)
        return JSON.decode_any(data)
    except Malformed as exc:
        raise Refused("invalid", f"Parameter {name!r} carries JSON: {exc.message}") from None


def _spelling(kind: types.Type) -> Spelling:
    if isinstance(kind, types.Metadata):
        return _spelling(kind.type)
    if isinstance(kind, types.UnionType):
        members = [member for member in kind.types if not isinstance(member, types.NoneType)]
        # What a text stands for must be plain to see: `1` may be a number or a text.
        return _spelling(members[0]) if len(members) == 1 else "json"
    if _is_plain(kind):
        return "one"
    if isinstance(kind, types.ListType | types.SetType | types.FrozenSetType | types.VarTupleType):
        item = kind.item_type
        while isinstance(item, types.Metadata):
            item = item.type
        return "many" if _is_plain(item) else "json"
    return "json"


def _is_plain(kind: types.Type) -> bool:
    if isinstance(kind, types.LiteralType):
        return len({type(value) for value in kind.values if value is not None}) == 1
    if isinstance(kind, types.EnumType):
        return len({type(member.value) for member in kind.cls}) == 1
    return isinstance(kind, _PLAIN)
