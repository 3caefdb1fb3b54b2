"""Registration: what a declaration must be, checked when it is made, with messages that tell the cure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_type_hints

import msgspec
from msgspec import inspect as inspect_types

from backchannel_protocol import ERROR_CODES, BackchannelError, Request
from backchannel_protocol.codes import CODE_PATTERN
from backchannel_protocol.limits import NAME_RE

__all__ = [
    "RegistrationError",
    "check_code",
    "check_handler",
    "check_job",
    "check_lane",
    "check_name",
    "check_spelling",
    "check_travels",
    "derives",
    "name_of",
]


# How alike two names are that are meant to be the same, of 1.
_ALMOST = 0.8

_NAMES_A_LANE = (
    inspect_types.EnumType,
    inspect_types.IntType,
    inspect_types.LiteralType,
    inspect_types.NoneType,
    inspect_types.StrType,
)


class RegistrationError(BackchannelError):
    """Something was declared wrongly; the message tells the cure."""


def name_of(thing: Any) -> str:
    """What to call a thing in a message."""
    return getattr(thing, "__qualname__", repr(thing))


def derives(cls: Any, base: type) -> bool:
    """Whether what a decorator was put on is a class of this kind; it may be anything."""
    return isinstance(cls, type) and issubclass(cls, base)


def check_name(name: str, form: str) -> None:
    """Fail for what is no name of a request or an event."""
    if not NAME_RE.match(name) or "." not in name or len(name) > 64:
        raise RegistrationError(f"{name!r} is not a name: use `{form}`, lower case, at most 64 characters.")


def check_spelling(name: str, cls: type, rules: type) -> None:
    """Fail for an attribute that is almost one of the rules that a namespace may set.

    A class may have names of its own, but a misspelt rule would silently not hold.
    """
    known = [attribute for attribute in vars(rules) if not attribute.startswith("_")]
    for attribute in dir(cls):
        if attribute.startswith("_") or attribute in known:
            continue
        if near := get_close_matches(attribute, known, 1, _ALMOST):
            raise RegistrationError(f"Namespace {name!r}: {attribute} is no rule; did you mean {near[0]}?")


def check_code(name: str, code: str) -> None:
    """Fail for what an app may not use as an error code of its own."""
    if not re.match(CODE_PATTERN, code):
        raise RegistrationError(f"{name}: error code {code!r} must be lower-case words joined by _.")
    if code in ERROR_CODES:
        raise RegistrationError(f"{name}: {code!r} is one of the protocol's codes and needs no declaration.")


def check_lane(name: str, field: str, type_: Any) -> None:
    """Fail for a field that cannot name a lane: only equal text or whole numbers are surely one lane."""
    kinds = [inspect_types.type_info(type_)]
    while kinds:
        kind = kinds.pop()
        if isinstance(kind, inspect_types.Metadata):
            kinds.append(kind.type)
        elif isinstance(kind, inspect_types.UnionType):
            kinds.extend(kind.types)
        elif not isinstance(kind, _NAMES_A_LANE):
            raise RegistrationError(f"{name}: lane {field!r} must be text or a whole number, not {name_of(type_)}.")


def check_travels(name: str, type_: Any) -> None:
    """Fail for a type that has no form on the wire."""
    try:
        msgspec.json.Decoder(type_)
        _, components = msgspec.json.schema_components([type_])
    except (TypeError, NameError, ValueError) as exc:
        raise RegistrationError(f"{name}: {name_of(type_)} cannot travel: {exc}") from None
    if "contentEncoding" in repr(components):
        raise RegistrationError(f"{name}: {name_of(type_)} has a `bytes` field; declare it `str` and carry base64url.")


def check_handler(name: str, function: Any, cls: type[Request[Any]], reply: Any) -> None:
    """Fail for a function whose annotations are not those of the request that it is to handle."""
    if not inspect.iscoroutinefunction(function):
        raise RegistrationError(f"{name}: {name_of(function)} must be `async def`.")
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 2:
        raise RegistrationError(f"{name}: {name_of(function)} must take (ctx, request), and nothing else.")
    try:
        hints: Mapping[str, Any] = get_type_hints(function)
    except NameError as exc:
        raise RegistrationError(f"{name}: {name_of(function)}: {exc}; import it at module level.") from None
    taken = hints.get(parameters[1].name)
    if taken is not cls:
        raise RegistrationError(
            f"{name}: {name_of(function)} takes {name_of(taken)}; annotate its second parameter as {cls.__name__}."
        )
    if hints.get("return") != reply:
        raise RegistrationError(
            f"{name}: {name_of(function)} must return {name_of(reply)}, as {cls.__name__} declares."
        )


def check_job(what: str, function: Any) -> None:
    """Fail for what is no `async def f(publisher)`."""
    if not inspect.iscoroutinefunction(function) or len(inspect.signature(function).parameters) != 1:
        raise RegistrationError(f"{what}: {name_of(function)} must be `async def f(publisher)`.")
