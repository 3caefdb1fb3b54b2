"""The opening handshake of a WebSocket (RFC 6455 section 4.2) from the bytes of its request, sans-I/O.

Strict where leniency has hurt others: a head that two parsers could read differently is refused (RFC 9112 sections 2.2,
5.1 and 5.2). The query is ignored and never kept: a token in a URL ends up in logs.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Any, Final

from msgspec import Struct

from backchannel_protocol import CODECS, JSON, Codec, Refused

from .transport import OriginPolicy

__all__ = [
    "MAX_HEAD",
    "MAX_HEADERS",
    "WEBSOCKET_PATH",
    "Handshake",
    "HandshakeRefused",
    "accept_response",
    "bearer_token",
    "check_origin",
    "choose_codec",
    "end_of_head",
    "parse_head",
]

WEBSOCKET_PATH: Final = "/ws"
MAX_HEAD: Final = 8 * 1024
"""Bytes in the request line and headers of a handshake."""
MAX_HEADERS: Final = 100
"""Header lines in one request."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_TOKEN: Final = rb"!#$%&'*+.^_`|~0-9A-Za-z-"
_REQUEST_LINE: Final = re.compile(rb"([%b]+) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_USUAL_LINE: Final = b"GET %b HTTP/1.1" % WEBSOCKET_PATH.encode()
# What a name consists of, and what is in no line: to be deleted, which is several times faster than a pattern.
_NAME_BYTES: Final = bytes(byte for byte in range(128) if re.match(rb"[%b]" % _TOKEN, bytes((byte,))))
_CONTROL: Final = bytes((*range(0x09), *range(0x0A, 0x20), 0x7F))
# 22 digits of 6 bits are 16 bytes, whatever they are.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_CODECS: Final = {name.encode(): codec for name, codec in CODECS.items()}

# One value each; a second one is a sign of somebody who wants two parties to read different things.
_SINGULAR: Final = frozenset(
    (
        b"authorization",
        b"content-length",
        b"host",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"upgrade",
    )
)
_LISTS: Final = frozenset(
    (
        b"connection",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"transfer-encoding",
        b"x-forwarded-for",
    )
)


class HandshakeRefused(Exception):
    """A handshake is answered with a problem instead of a switch of protocols."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        reason: str,
        headers: dict[str, str] | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.reason = reason
        """One word, for the metric."""
        self.headers = headers or {}
        self.refused = Refused(code, message, details=details)


class Handshake(Struct, frozen=True):
    """A request that may become a WebSocket."""

    key: bytes
    codec: Codec
    subprotocol: str | None
    """What the answer names; None where nothing was offered."""
    origin: str | None
    host: str
    forwarded: str | None
    """`X-Forwarded-For`, unverified."""
    token: str | None
    """What `Authorization: Bearer` carries, unverified."""
    extensions: bytes | None
    """`Sec-WebSocket-Extensions`, as it came: the offers of all such headers."""


def end_of_head(data: bytes) -> int:
    """The position behind the head's empty line, or -1 if it has not come yet.

    Raises:
        HandshakeRefused: the head is, or will be, larger than `MAX_HEAD`.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end < 0 and len(data) >= MAX_HEAD:
        raise HandshakeRefused(
            431, "too_large", f"The request's head is larger than {MAX_HEAD} bytes; send fewer or shorter headers.",
            reason="head_size",
        )  # fmt: skip
    return end + 4 if end >= 0 else -1


def parse_head(head: bytes) -> Handshake:
    """Read the head of a handshake, up to and including its empty line.

    Raises:
        HandshakeRefused: it is no request for a WebSocket at `WEBSOCKET_PATH`; says which rule and the cure.
    """
    lines = head[:-4].split(b"\r\n")
    if len(head) - len(head.translate(None, _CONTROL)) != 2 * len(lines) + 2:
        raise _malformed("A header holds a control character, or a line ends in CR or LF alone; end lines in CRLF.")
    if len(lines) - 1 > MAX_HEADERS:
        raise HandshakeRefused(
            431, "too_large", f"The request has more than {MAX_HEADERS} headers; send fewer.", reason="head_size"
        )
    if lines[0] != _USUAL_LINE:
        _check_request_line(lines[0])
    headers = _headers(lines[1:])
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        raise _malformed("A handshake has no body; leave Content-Length and Transfer-Encoding out.")
    host = headers.get(b"host")
    if not host or len(host.translate(None, b",@/")) != len(host):
        raise _malformed("Send exactly one Host header, `host` or `host:port`.")
    connection = headers.get(b"connection", b"").lower()
    if headers.get(b"upgrade", b"").lower() != b"websocket" or (
        connection != b"upgrade" and b"upgrade" not in _tokens(connection)
    ):
        raise HandshakeRefused(
            426, "invalid", "This is a WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`.",
            reason="no_upgrade", headers={"upgrade": "websocket"},
        )  # fmt: skip
    if headers.get(b"sec-websocket-version") != b"13":
        raise HandshakeRefused(
            426, "invalid", "Only version 13 of the WebSocket protocol is spoken: send `Sec-WebSocket-Version: 13`.",
            reason="version", headers={"sec-websocket-version": "13", "upgrade": "websocket"},
        )  # fmt: skip
    key = headers.get(b"sec-websocket-key", b"")
    if _KEY.fullmatch(key) is None:
        raise _malformed("Sec-WebSocket-Key must be 16 random bytes in base64.", "key")
    offered = headers.get(b"sec-websocket-protocol")
    codec, subprotocol = choose_codec(None if offered is None else _tokens(offered))
    origin = headers.get(b"origin")
    forwarded = headers.get(b"x-forwarded-for")
    authorization = headers.get(b"authorization")
    return Handshake(
        key=key,
        codec=codec,
        subprotocol=subprotocol,
        origin=None if origin is None else origin.decode("latin-1"),
        host=host.decode("latin-1"),
        forwarded=None if forwarded is None else forwarded.decode("latin-1"),
        token=None if authorization is None else bearer_token(authorization.decode("latin-1")),
        extensions=headers.get(b"sec-websocket-extensions"),
    )


def bearer_token(authorization: str) -> str | None:
    """The token of an `Authorization` header (RFC 6750 section 2.1); None if it carries none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def choose_codec(offered: list[bytes] | None) -> tuple[Codec, str | None]:
    """The codec for the subprotocols that a client offers, its favourite first, and the name to answer with.

    Raises:
        HandshakeRefused: it offers some, and none that is known.
    """
    if offered is None:
        return JSON, None
    for token in offered:
        codec = _CODECS.get(token)
        if codec is not None:
            return codec, codec.subprotocol
    known = list(CODECS)
    raise HandshakeRefused(
        400, "invalid", f"None of the offered subprotocols is known; offer one of {', '.join(known)}, or none at all.",
        reason="subprotocol", details={"subprotocols": known},
    )  # fmt: skip


def check_origin(policy: OriginPolicy, origin: str | None, host: str | None) -> None:
    """Refuse a browser page from elsewhere (CWE-1385).

    Raises:
        HandshakeRefused: the page's origin is not on the operator's list.
    """
    if not policy.allows_origin(origin, host):
        raise HandshakeRefused(
            403, "forbidden", "Pages of this origin may not connect; the operator can allow it in `origins`.",
            reason="origin",
        )  # fmt: skip


def accept_response(handshake: Handshake, extensions: bytes | None = None) -> bytes:
    """The answer that switches protocols (section 4.2.2); `extensions` are those that are agreed to."""
    digest = binascii.b2a_base64(hashlib.sha1(handshake.key + _GUID, usedforsecurity=False).digest(), newline=False)
    answer = _SWITCH + digest + b"\r\n"
    if handshake.subprotocol is not None:
        answer += b"Sec-WebSocket-Protocol: " + handshake.subprotocol.encode() + b"\r\n"
    if extensions is not None:
        answer += b"Sec-WebSocket-Extensions: " + extensions + b"\r\n"
    return answer + b"\r\n"


def _check_request_line(line: bytes) -> None:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _malformed("The request line must be `GET /ws HTTP/1.1`.")
    method, target, major, minor = match.groups()
    if major != b"1" or minor != b"1":
        raise HandshakeRefused(
            505, "invalid", "A WebSocket needs HTTP/1.1.", reason="http_version", headers={"upgrade": "websocket"}
        )
    if target.partition(b"?")[0] != WEBSOCKET_PATH.encode():
        raise HandshakeRefused(
            404, "not_found", f"There is no WebSocket here; connect to {WEBSOCKET_PATH}.", reason="path"
        )
    if method != b"GET":
        raise HandshakeRefused(
            405, "invalid", "A WebSocket is opened by GET.", reason="method", headers={"allow": "GET"}
        )


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """The headers that matter, by lower-case name; lists joined by commas."""
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if name in _SINGULAR and colon:
            if name in found:
                raise _malformed(f"There are two {name.decode()} headers; send one.")
            found[name] = value.strip(b" \t")
        elif name in _LISTS and colon:
            value = value.strip(b" \t")
            found[name] = found[name] + b"," + value if name in found else value
        elif not colon or not name or name.translate(None, _NAME_BYTES):
            raise _malformed("A header line is not `Name: value`; do not fold lines or put spaces before the colon.")
    return found


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.split(b",") if (token := part.strip(b" \t"))]


def _malformed(message: str, reason: str = "malformed") -> HandshakeRefused:
    return HandshakeRefused(400, "invalid", message, reason=reason)
