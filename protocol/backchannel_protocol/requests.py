"""The bases of what an app declares: commands, queries and events.

A class knows its own wire name, which the app's decorator gives it, so that `client.call(Place(…))`
and `ctx.publish(channel, placed)` need no second spelling and are typed from end to end.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from msgspec import Struct

__all__ = ["Command", "Event", "Query", "Request", "reply_type"]

R_co = TypeVar("R_co", covariant=True)


class Request(Struct, Generic[R_co], omit_defaults=True):
    """A typed request whose answer is an `R`. Subclass `Command` or `Query`."""

    wire_name: ClassVar[str] = ""
    """`noun.verb`, set by the decorator that declares the class."""


class Command(Request[R_co]):
    """A request that may change something."""


class Query(Request[R_co]):
    """A request that changes nothing."""


class Event(Struct, omit_defaults=True):
    """A typed thing that happens on a channel."""

    wire_name: ClassVar[str] = ""
    """`noun.participle`, set by the decorator that declares the class."""


def reply_type(request: type[Request[Any]]) -> Any:
    """The `R` of a class that derives from `Command[R]` or `Query[R]`.

    Raises:
        TypeError: the class does not say what its answer is.
    """
    answer = _answer(request)
    if answer is None or isinstance(answer, TypeVar) or (get_origin(answer) and answer.__parameters__):
        raise TypeError(
            f"{request.__name__} does not say what it is answered with: "
            f"derive it from Command[Answer] or Query[Answer]."
        )
    return answer


def _answer(request: Any) -> Any:
    """What fills `Request`'s parameter, as seen from a class or from an alias like `Base[int]`."""
    origin = get_origin(request) or request
    if not (isinstance(origin, type) and issubclass(origin, Request)):
        return None
    if origin is Request:
        return (get_args(request) or (R_co,))[0]
    for base in origin.__dict__.get("__orig_bases__", origin.__bases__):
        answer = _answer(base)
        if answer is None:
            continue
        parameters = getattr(origin, "__parameters__", ())
        filled = dict(zip(parameters, get_args(request), strict=False))
        if isinstance(answer, TypeVar):
            return filled.get(answer, answer)
        if get_origin(answer) is not None and (inner := getattr(answer, "__parameters__", ())):
            return answer[tuple(filled.get(parameter, parameter) for parameter in inner)]
        return answer
    return None
