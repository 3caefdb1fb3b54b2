"""What the doors and the gateway know of each other.

A *door* (`websocket.py` on the transport itself, `asgi.py` on any ASGI server) speaks RFC 6455 and knows no frame of
Backchannel. A *connection* knows frames and no framing. Both live on one event loop and call each other directly:

    door ── accept ──▶ gateway          once per handshake, before it is answered
    door ── receive*, flush ──▶ connection    once per read: every message, then one flush
    connection ── write, close ──▶ door

All methods are synchronous and return at once. None raises unless it says so.
"""

from __future__ import annotations

from typing import Protocol

from backchannel_protocol import Codec

from ..auth.principal import Principal
from ..relay.relay import Reply

__all__ = ["Connection", "Gateway", "HttpGateway", "OriginPolicy", "Transport"]


class Transport(Protocol):
    """What a door gives to a connection."""

    def write(self, data: bytes) -> None:
        """Send whole server-to-client WebSocket frames, one or more, already framed.

        Within one read (`receive` … `flush`) all writes leave together. A transport that is closing or gone swallows
        them. It may call `Connection.paused` before it returns.
        """

    def queued(self) -> int:
        """Bytes that the kernel (behind ASGI: the server) has not taken yet."""

    def close(self, code: int, reason: str) -> None:
        """Send what was written, then a close frame; close when the peer has answered.

        Nothing is received or written any more, and `Connection.lost` follows. A peer that has not answered, or not
        even read, within `CLOSE_TIMEOUT` is aborted.
        """

    def abort(self) -> None:
        """Drop the connection now, without a close frame and what is still queued. `Connection.lost` follows."""


class Connection(Protocol):
    """What a gateway gives to a door: one open connection."""

    def receive(self, message: bytes) -> None:
        """Take the payload of one WebSocket message. Text has been checked to be UTF-8."""

    def flush(self) -> None:
        """Write what the messages of this read caused, in one `Transport.write`."""

    def paused(self) -> None:
        """The transport's buffer is above its high mark. May come from within `Transport.write`."""

    def resumed(self) -> None:
        """The transport's buffer is below its low mark again."""

    def lost(self) -> None:
        """The transport is gone. Called exactly once, whatever ended it, and nothing is called after it."""


class OriginPolicy(Protocol):
    """Which browser pages may connect."""

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a page of this `Origin` may connect to this `Host`. No origin: not a browser."""


class Gateway(OriginPolicy, Protocol):
    """What the WebSocket doors need of the gateway."""

    @property
    def frame_limit(self) -> int:
        """Bytes in the largest message that a client may send."""

    @property
    def max_queued(self) -> int:
        """Bytes that may wait to be sent to one connection."""

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Connection:
        """Take a new connection, whose frames travel in `codec`, from the client at `address`.

        `token` is what the handshake's `Authorization` header carried; a `connect` frame's token counts before it.
        `compress_from`: where compression was agreed, bytes from which a message is written in compressed form.
        What it writes at once leaves behind the answer to the handshake.

        Raises:
            Refused: `limit_exceeded` (this address holds too many), `unavailable` (the gateway drains).
        """


class HttpGateway(Protocol):
    """What the HTTP door needs of the gateway."""

    async def ask(self, principal: Principal, name: str, data: bytes, key: str | None, timeout: float) -> Reply:
        """Ask a command or query, JSON in and out, on the way that a `call` frame takes.

        Raises:
            Refused: it got no further than this gateway. What a worker refused is in `Reply.failure`.
        """

    async def authenticate(self, token: str) -> Principal:
        """Who holds this user token.

        Raises:
            Refused: `unauthenticated`.
        """

    async def api_key(self, secret: str, user: str) -> Principal:
        """Who holds this API key (`bk_…`), acting for `user`, or as the key itself where that is empty.

        Raises:
            Refused: `unauthenticated`, or `forbidden` where the key may not act for the user.
        """

    def readiness(self) -> dict[str, str]:
        """What keeps this process from serving, part by part; empty: it is ready."""
