"""What an app adds to chat in code, before the server starts: types of channels and of messages, a hook before a send.

from backchannel import chat

chat.channel_type(chat.ChannelType(name="support", permissions={…}))

@chat.message_type("order")
class OrderMessage(Struct):
    number: int
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from backchannel import Refused, RegistrationError, Struct

from .rules import BUILT_IN_TYPES, ChannelType

__all__ = ["channel_type", "message_type", "payload_of", "type_of"]

StructClass = TypeVar("StructClass", bound=type[Struct])

_BUILT_IN_MESSAGES: Final = ("text", "file", "system", "poll")

_channel_types: dict[str, ChannelType] = {type_.name: type_ for type_ in BUILT_IN_TYPES}
_message_types: dict[str, type[Struct]] = {}


def channel_type(type_: ChannelType) -> ChannelType:
    """Declare a type of channels of the app's own.

    Raises:
        RegistrationError: there is one of this name.
    """
    if type_.name in _channel_types:
        raise RegistrationError(f"channel_type: {type_.name!r} is there already; choose another name.")
    _channel_types[type_.name] = type_
    return type_


def type_of(name: str) -> ChannelType:
    """The type of channels of this name.

    Raises:
        Refused: `invalid`, there is none; the message lists them.
    """
    found = _channel_types.get(name)
    if found is None:
        raise Refused("invalid", f"There is no channel type {name!r}; there are: {', '.join(_channel_types)}.")
    return found


def message_type(name: str) -> Callable[[StructClass], StructClass]:
    """Declare a type of messages of the app's own: a struct, by which `message.send` checks `data`.

    Raises:
        RegistrationError: there is one of this name.
    """

    def declare(cls: StructClass) -> StructClass:
        if name in _message_types or name in _BUILT_IN_MESSAGES:
            raise RegistrationError(f"message_type: {name!r} is there already; choose another name.")
        _message_types[name] = cls
        return cls

    return declare


def payload_of(type_: str, data: Any) -> Any:
    """The payload of a message of an app's own type, checked and in its declared form.

    Raises:
        Refused: `invalid`, there is no such type, or the data is not what it declares; the message says where.
    """
    cls = _message_types.get(type_)
    if cls is None:
        known = ", ".join([*_BUILT_IN_MESSAGES, *_message_types])
        raise Refused("invalid", f"There is no message type {type_!r}; there are: {known}.")
    try:
        return msgspec.to_builtins(msgspec.convert({} if data is None else data, cls))
    except msgspec.ValidationError as exc:
        raise Refused("invalid", f"The data of a message of type {type_!r}: {exc}.") from None
