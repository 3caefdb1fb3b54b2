"""Codes: why a request was refused, why a subscription ended, why a connection was closed.

Error codes are words and the same on WebSocket, HTTP and in Python. Close codes are numbers whose
range is the instruction: 4000-4499 means *reconnect*, 4500-4999 means *do not*. A code is never
reused for another meaning; a removed one stays in PROTOCOL.md, under Removed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

from msgspec import Struct

__all__ = [
    "CLOSE_CODES",
    "CODE_PATTERN",
    "ERROR_CODES",
    "CloseCode",
    "CloseInfo",
    "ErrorInfo",
    "Outcome",
    "is_final",
]

Outcome = Literal["none", "unknown"]
"""`none`: nothing happened. `unknown`: the request may have taken effect."""

CODE_PATTERN: Final = r"^[a-z][a-z0-9_]{0,63}$(?!\n)"
"""The grammar of an error code, the protocol's and an app's own."""


class ErrorInfo(Struct, frozen=True):
    """One row of the table of error codes."""

    code: str
    status: int
    """The HTTP status that carries this code."""
    retry: bool
    """Whether the same request can succeed later, unchanged."""
    outcome: Outcome
    meaning: str
    cure: str


def _table(*rows: ErrorInfo) -> dict[str, ErrorInfo]:
    return {row.code: row for row in rows}


ERROR_CODES: Final[dict[str, ErrorInfo]] = _table(
    ErrorInfo(
        "invalid",
        400,
        False,
        "none",
        "The frame or its data breaks the contract.",
        "Read `message`: it names the field and the rule; correct the request.",
    ),
    ErrorInfo(
        "unauthenticated",
        401,
        False,
        "none",
        "There is no valid token or key.",
        "Fetch a fresh token, then connect or refresh with it.",
    ),
    ErrorInfo(
        "forbidden",
        403,
        False,
        "none",
        "The user may not do or hear this.",
        "Ask somebody who may; the same request will be refused again.",
    ),
    ErrorInfo(
        "not_found",
        404,
        False,
        "none",
        "No such name, channel or thing.",
        "Check the name; what cannot be seen is reported as not found too.",
    ),
    ErrorInfo(
        "conflict",
        409,
        False,
        "none",
        "The request contradicts what is there, or its key was used for something else.",
        "Load the present state and decide again; use a new key for a new request.",
    ),
    ErrorInfo(
        "too_large",
        413,
        False,
        "none",
        "A frame, reply or field is over its limit.",
        "Send less: the limits are told in `connected.limits`.",
    ),
    ErrorInfo(
        "limit_exceeded",
        403,
        False,
        "none",
        "A limit on how many (channels, connections, open requests) is reached.",
        "Let go of some first: the limits are told in `connected.limits`.",
    ),
    ErrorInfo(
        "rate_limited", 429, True, "none", "Too many requests in too short a time.", "Wait for `retry_after` seconds."
    ),
    ErrorInfo(
        "cancelled",
        499,
        False,
        "unknown",
        "The client cancelled this call.",
        "Nothing to do; send it again with the same key to learn its outcome.",
    ),
    ErrorInfo(
        "unavailable",
        503,
        True,
        "unknown",
        "No worker answered in time, or a part that is needed is down.",
        "Wait for `retry_after` seconds and send it again, a command with the same key.",
    ),
    ErrorInfo(
        "internal",
        500,
        True,
        "unknown",
        "The server failed; its log has the reason.",
        "Send it again, a command with the same key; then tell the operator.",
    ),
)
"""Every error code that the protocol itself uses. An app's own codes are declared beside these."""


class CloseCode(IntEnum):
    """WebSocket close codes (RFC 6455 section 7.4 below 4000, Backchannel's own from 4000)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    TOO_BIG = 1009
    INTERNAL = 1011
    MOVED = 4000
    SLOW = 4001
    SILENT = 4002
    CONNECT_TIMEOUT = 4003
    UNAVAILABLE = 4004
    EXPIRED = 4005
    RATE_LIMITED = 4006
    UNAUTHENTICATED = 4500
    REVOKED = 4501
    TOO_MANY_CONNECTIONS = 4502


class CloseInfo(Struct, frozen=True):
    """One row of the table of close codes."""

    code: CloseCode
    meaning: str
    cure: str


CLOSE_CODES: Final[dict[int, CloseInfo]] = {
    row.code: row
    for row in (
        CloseInfo(CloseCode.NORMAL, "Either side is done.", "Connect again when wanted."),
        CloseInfo(CloseCode.GOING_AWAY, "The server stops or the page is left.", "Reconnect."),
        CloseInfo(CloseCode.PROTOCOL_ERROR, "The framing breaks RFC 6455.", "Reconnect once; then repair the client."),
        CloseInfo(
            CloseCode.UNSUPPORTED_DATA,
            "A text message on a binary subprotocol, or the reverse.",
            "Repair the client: JSON is text, MessagePack is binary.",
        ),
        CloseInfo(
            CloseCode.INVALID_TEXT,
            "A text message is not UTF-8, or a compressed one cannot be inflated.",
            "Repair the client.",
        ),
        CloseInfo(CloseCode.TOO_BIG, "A message is over the frame limit.", "Send less: see `connected.limits.frame`."),
        CloseInfo(CloseCode.INTERNAL, "The server failed.", "Reconnect with backoff."),
        CloseInfo(CloseCode.MOVED, "This gateway drains and the time in `move` is over.", "Reconnect and resume."),
        CloseInfo(
            CloseCode.SLOW,
            "More than the limit was queued for this connection.",
            "Reconnect and resume; read faster or listen to less.",
        ),
        CloseInfo(CloseCode.SILENT, "No sign of life for longer than ping + grace.", "Reconnect and resume."),
        CloseInfo(CloseCode.CONNECT_TIMEOUT, "No `connect` frame came in time.", "Reconnect and send `connect` first."),
        CloseInfo(CloseCode.UNAVAILABLE, "The server cannot serve connections now.", "Reconnect with backoff."),
        CloseInfo(CloseCode.EXPIRED, "The token expired and was not refreshed.", "Fetch a fresh token and reconnect."),
        CloseInfo(
            CloseCode.RATE_LIMITED,
            "The client kept sending far over its rate.",
            "Reconnect with backoff and send less.",
        ),
        CloseInfo(
            CloseCode.UNAUTHENTICATED,
            "The token or key is missing, broken or unknown.",
            "Do not reconnect before there is another token.",
        ),
        CloseInfo(CloseCode.REVOKED, "The user's access was taken away.", "Do not reconnect."),
        CloseInfo(
            CloseCode.TOO_MANY_CONNECTIONS,
            "This user or address holds as many connections as it may.",
            "Close another connection first.",
        ),
    )
}
"""Every close code with its meaning and what the client does about it."""


def is_final(code: int) -> bool:
    """Whether a client must not reconnect by itself after this close code."""
    return 4500 <= code <= 4999
