"""The digest of a request: whether two requests under one key are the same request."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Struct

__all__ = ["digest_of"]

_encode: Final = msgspec.json.Encoder(order="sorted").encode

_ABSENT: Final = object()


def digest_of(name: str, value: Struct) -> bytes:
    """16 bytes that are equal for equal names and data.

    It is of the decoded data, in one spelling: order, encoding and unknown fields do not matter. What equals its
    default is left out, so that a repeat is still the same request after the declaration has got a new field.
    """
    return blake2b(name.encode() + b"\0" + _encode(_plain(value)), digest_size=16).digest()


_defaults: dict[type, tuple[tuple[str, Any], ...]] = {}


def _defaults_of(cls: type[Struct]) -> tuple[tuple[str, Any], ...]:
    """A struct's fields with their defaults."""
    found = _defaults.get(cls)
    if found is None:
        found = _defaults[cls] = tuple(
            (
                field.name,
                field.default
                if field.default is not msgspec.NODEFAULT
                else _ABSENT
                if field.default_factory is msgspec.NODEFAULT
                else field.default_factory(),
            )
            for field in msgspec.structs.fields(cls)
        )
    return found


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int:
        return value
    if isinstance(value, Struct):
        plain: dict[str, Any] = {}
        config = value.__struct_config__
        if config.tag is not None:
            # It tells apart the members of a union.
            plain[f"{config.tag_field} "] = config.tag
        for name, default in _defaults_of(type(value)):
            held = getattr(value, name)
            if type(held) is not type(default) or held != default:
                plain[name] = _plain(held)
        return plain
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    return value
