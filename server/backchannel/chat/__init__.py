"""Chat: channels, members, messages, and all that people expect around them. Written on the public API alone.

`app` holds everything; the names of the contract come without the server's libraries, for bots. What an app adds to
chat in code is in `extensions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .channels.contract import *
from .channels.member_contract import *
from .channels.permission_contract import *
from .counts.contract import *
from .data.contract import *
from .data.policy import DataRules as DataRules
from .data.policy import data_rules as data_rules
from .extensions import Outgoing as Outgoing
from .extensions import before_send as before_send
from .extensions import channel_type as channel_type
from .extensions import message_type as message_type
from .files.contract import *
from .files.limits import FileLimits as FileLimits
from .files.limits import file_limits as file_limits
from .messages.contract import *
from .messages.mark_contract import *
from .moderation.contract import *
from .people.contract import *
from .people.presence_contract import *
from .people.typing_contract import *
from .personal.contract import *
from .personal.poll_contract import *
from .rules import ChannelType as ChannelType
from .rules import Features as Features
from .search.contract import *

if TYPE_CHECKING:
    from backchannel import App

    app: App


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'backchannel.chat' has no attribute {name!r}")
    from . import handlers

    return handlers.app
