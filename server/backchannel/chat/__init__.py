"""Chat: channels, members, messages, typing, who is here. Written on the public API alone.

`app` holds everything; the names of the contract come without the server's libraries, for bots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contract import (
    AddedToChannel,
    ChannelInfo,
    ChannelList,
    CreateChannel,
    JoinChannel,
    LeaveChannel,
    Left,
    ListChannels,
    ListMembers,
    ListMessages,
    MemberInfo,
    MemberJoined,
    MemberLeft,
    MemberList,
    Message,
    MessageCreated,
    MessagePage,
    RemovedFromChannel,
    SendMessage,
    StartTyping,
    StopTyping,
    Typing,
    TypingStarted,
    TypingStopped,
)

if TYPE_CHECKING:
    from backchannel import App

    app: App

__all__ = [
    "AddedToChannel",
    "ChannelInfo",
    "ChannelList",
    "CreateChannel",
    "JoinChannel",
    "LeaveChannel",
    "Left",
    "ListChannels",
    "ListMembers",
    "ListMessages",
    "MemberInfo",
    "MemberJoined",
    "MemberLeft",
    "MemberList",
    "Message",
    "MessageCreated",
    "MessagePage",
    "RemovedFromChannel",
    "SendMessage",
    "StartTyping",
    "StopTyping",
    "Typing",
    "TypingStarted",
    "TypingStopped",
    "app",
]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'backchannel.chat' has no attribute {name!r}")
    from . import handlers

    return handlers.app
