"""What all of chat shares: the app, and the types that its declarations are made of. Free of the server's libraries."""

from __future__ import annotations

from typing import Annotated, Any

from backchannel import App, Meta

__all__ = [
    "ChatChannel",
    "ChannelId",
    "Cursor",
    "Data",
    "MessageText",
    "PageLimit",
    "Role",
    "Seq",
    "Title",
    "UserName",
    "app",
]

app = App("chat")

# In Python `$` also matches before a final newline; `(?!\n)` closes that and means the same in every dialect.
ChatChannel = Annotated[str, Meta(pattern=r"^chat:[A-Za-z0-9_.@-]{1,128}$(?!\n)", description="A chat channel.")]
ChannelId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@-]{1,64}$(?!\n)", description="What follows `chat:`.")]
UserName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@-]{1,128}$(?!\n)")]
Title = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S")]
MessageText = Annotated[str, Meta(max_length=20_000)]
"""The rules of the channel's type say how long it may be (`Features.max_length`)."""
Role = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9_-]{1,32}$(?!\n)", description="owner, moderator, member, guest, or one of the app's own."),
]
Seq = Annotated[int, Meta(ge=1, description="A message's number in its channel.")]
Cursor = Annotated[str, Meta(max_length=600, description="From `next` or `previous` of a page; opaque.")]
PageLimit = Annotated[int, Meta(ge=1, le=200)]
Data = dict[str, Any]
"""An object of the app's own; `limits.check_data` bounds its size."""
