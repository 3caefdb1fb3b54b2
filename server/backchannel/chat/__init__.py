"""Chat: channels, members, messages, and all that people expect around them. Written on the public API alone.

`app` holds everything; the names of the contract come without the server's libraries, for bots. What an app adds to
chat in code is in `extensions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .channels.contract import *
from .extensions import channel_type as channel_type
from .extensions import message_type as message_type
from .messages.contract import *
from .people.contract import *
from .rules import ChannelType as ChannelType
from .rules import Features as Features

if TYPE_CHECKING:
    from backchannel import App

    app: App


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'backchannel.chat' has no attribute {name!r}")
    from . import handlers

    return handlers.app
