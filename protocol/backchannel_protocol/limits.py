"""Limits and grammars: what may be sent, how long and how often.

The defaults are those of protocol version 1; an operator may change them, so a client reads the
values that hold for it from `connected.limits`.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

__all__ = [
    "CHANNEL_PATTERN",
    "CHANNEL_RE",
    "KEY_PATTERN",
    "MAX_INTEGER",
    "NAME_PATTERN",
    "NAME_RE",
    "PROTOCOL_VERSION",
    "SUBPROTOCOL_JSON",
    "SUBPROTOCOL_MSGPACK",
    "Channel",
    "Epoch",
    "Id",
    "Key",
    "Limits",
    "Name",
    "Offset",
    "User",
]

PROTOCOL_VERSION: Final = 1
SUBPROTOCOL_JSON: Final = "backchannel.v1.json"
SUBPROTOCOL_MSGPACK: Final = "backchannel.v1.msgpack"

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every client can hold exactly (an IEEE 754 double)."""

# In Python `$` also matches before a final newline; `(?!\n)` closes that and means the same in every dialect.
CHANNEL_PATTERN: Final = r"^[a-z0-9_-]{1,64}:[A-Za-z0-9_.@-]{1,128}$(?!\n)"
NAME_PATTERN: Final = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$(?!\n)"
KEY_PATTERN: Final = r"^[\x21-\x7e]{8,64}$(?!\n)"
USER_PATTERN: Final = r"^[A-Za-z0-9_.@-]{1,128}$(?!\n)"

CHANNEL_RE: Final = re.compile(CHANNEL_PATTERN)
NAME_RE: Final = re.compile(NAME_PATTERN)
USER_RE: Final = re.compile(USER_PATTERN)

Id = Annotated[int, Meta(ge=1, le=MAX_INTEGER, description="The request's id, unique while open.")]
Offset = Annotated[int, Meta(ge=0, le=MAX_INTEGER, description="A position in a channel's log.")]
Epoch = Annotated[str, Meta(max_length=64, description="The incarnation of a channel's log.")]
Channel = Annotated[str, Meta(pattern=CHANNEL_PATTERN, description="`namespace:name`.")]
Name = Annotated[str, Meta(max_length=64, pattern=NAME_PATTERN)]
Key = Annotated[str, Meta(pattern=KEY_PATTERN, description="The client-made idempotency key.")]
User = Annotated[str, Meta(pattern=USER_PATTERN)]


class Limits(Struct, frozen=True, kw_only=True):
    """The limits that hold for one connection, as told in `connected.limits`.

    Sizes are bytes, spans are seconds.
    """

    frame: int = 64 * 1024
    """The largest frame a client may send."""
    nesting: int = 32
    """How deep maps and arrays may nest in a frame."""
    token: int = 8 * 1024
    """The largest token."""
    channels: int = 512
    """Channels that one connection may listen to."""
    calls: float = 50.0
    """Requests per second, refilled steadily."""
    burst: int = 200
    """Requests that may come at once after a pause."""
    open_requests: int = 256
    """Requests that may wait for their answer at the same time."""
    queued: int = 1024 * 1024
    """Bytes that may wait to be sent to this connection."""
    history: int = 1000
    """Events in one page of `history`."""
    recovery: int = 500
    """Missed events per channel that a resume brings; past it the verdict is `gap`."""
    connect: float = 10.0
    """How soon after the handshake `connect` must come."""
    call: float = 10.0
    """How long a handler may take, and the default of a call's `timeout`."""
