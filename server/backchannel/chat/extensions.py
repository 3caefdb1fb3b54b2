"""What an app adds to chat in code, before the server starts: types of channels and of messages, a hook before a send.

from backchannel import chat

chat.channel_type(chat.ChannelType(name="support", permissions={…}))

@chat.message_type("order")
class OrderMessage(Struct):
    number: int

@chat.before_send
async def no_shouting(ctx: Context, message: chat.Outgoing) -> chat.Outgoing | None:
    return message.rewrite(text=message.text.lower()) if message.text.isupper() else None
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar, overload

import msgspec

from backchannel import Context, Refused, RegistrationError, Struct

from .rules import BUILT_IN_TYPES, ChannelType

__all__ = ["Hook", "Outgoing", "before_send", "channel_type", "hooks", "message_type", "payload_of", "type_of"]

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


class Outgoing(Struct, frozen=True, kw_only=True):
    """A message on its way, as a hook sees it before it is stored."""

    channel: str
    channel_type: str
    user: str
    """Who sends or edits it; empty: an operator."""
    role: str
    """Of that user in the channel."""
    purpose: Literal["send", "edit", "forward"]
    type: str
    text: str
    data: dict[str, Any] | None = None
    parent: int | None = None
    """The message in whose thread it is to stand."""
    silent: bool = False
    """It makes nothing unread."""
    shadow: bool = False
    """Nobody but its sender is to see it."""

    def rewrite(self, **changes: Any) -> Outgoing:
        """A copy with another `text`, `data`, `silent` or `shadow`; nothing else is the hook's to change.

        Raises:
            TypeError: something else is named.
        """
        if others := sorted(set(changes) - {"text", "data", "silent", "shadow"}):
            raise TypeError(f"rewrite: a hook cannot change {others[0]!r}, but text, data, silent and shadow.")
        return msgspec.structs.replace(self, **changes)


HookFunction = Callable[[Context, Outgoing], Awaitable[Outgoing | None]]
HookT = TypeVar("HookT", bound=HookFunction)


class Hook(NamedTuple):
    """A hook as registered."""

    function: HookFunction
    order: int
    timeout: float
    on_error: Literal["refuse", "send"]


_MAX_WAITING: Final = 0.8
"""Seconds; on SQLite a command that keeps the database for a second is rolled back."""

_hooks: list[Hook] = []


def hooks() -> Sequence[Hook]:
    """The hooks before a send, in their order."""
    return _hooks


@overload
def before_send(function: HookT, /) -> HookT: ...
@overload
def before_send(
    *, order: int = 0, timeout: float = 0.4, on_error: Literal["refuse", "send"] = "refuse"
) -> Callable[[HookT], HookT]: ...
def before_send(
    function: HookT | None = None,
    /,
    *,
    order: int = 0,
    timeout: float = 0.4,
    on_error: Literal["refuse", "send"] = "refuse",
) -> HookT | Callable[[HookT], HookT]:
    """Look at every message before it is stored: those that are sent, edited, forwarded, by whomever.

    The function, `async def hook(ctx, message) -> Outgoing | None`, returns `message.rewrite(…)`, or None to leave it
    as it is, and raises `Refused` to refuse it. It may run more than once for one message. A hook that waits for the
    outside world makes its message leave the batch and its channel wait (on SQLite, which has one writer, everybody);
    word lists look at what hooks return.

    Args:
        function: the hook, where nothing else is said.
        order: hooks with a lower one come first; among equals, the one that was registered first.
        timeout: seconds it may take; those of all hooks are 0.8 at most.
        on_error: what becomes of the message if the hook fails or takes too long: it is refused as `unavailable`, so
            that it can be sent again, or sent as it is. Either is logged.

    Raises:
        RegistrationError: it is no such function, or takes too long.
    """

    def register(function: HookT) -> HookT:
        is_async: bool = inspect.iscoroutinefunction(function)
        if not is_async:
            raise RegistrationError("before_send: make the hook `async def`.")
        if len(inspect.signature(function).parameters) != 2:
            raise RegistrationError("before_send: a hook takes the context and the message.")
        if on_error not in ("refuse", "send"):
            raise RegistrationError(f"before_send: on_error is {on_error!r}; make it 'refuse' or 'send'.")
        waiting = timeout + sum(hook.timeout for hook in _hooks)
        if timeout <= 0 or waiting > _MAX_WAITING + 1e-9:
            raise RegistrationError(
                f"before_send: hooks would take {waiting:.2g} s, and {_MAX_WAITING} s is the most of all together; "
                f"give each a shorter timeout, above 0."
            )
        _hooks.append(Hook(function, order, timeout, on_error))
        _hooks.sort(key=lambda hook: hook.order)
        return function

    return register if function is None else register(function)
