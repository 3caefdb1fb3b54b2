"""Transports: how frames, as bytes, reach a server. The client knows nothing else of the network."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed as WebSocketClosed
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.typing import Subprotocol

from backchannel_protocol import CloseCode, Codec

from .errors import ConnectionClosed

__all__ = ["ABNORMAL", "Connector", "Transport", "open_websocket"]

ABNORMAL: Final = 1006
"""What RFC 6455 section 7.4.1 calls a connection that ended without a close frame."""

# Pages of history and big replies are larger than what a client may send; past this, the peer is
# not one of ours.
_MOST_BYTES: Final = 16 * 1024 * 1024

# A refused handshake with one of these will be refused again: the address or the settings are wrong.
_HOPELESS: Final = frozenset({400, 401, 403, 404, 405, 426})


class Transport(Protocol):
    """One open, ordered, reliable way for whole messages in both directions."""

    async def send(self, message: bytes) -> None:
        """Send one message.

        Raises:
            ConnectionClosed: the connection has ended.
        """

    async def receive(self) -> bytes:
        """The next message. Cancelling loses none.

        Raises:
            ConnectionClosed: the connection has ended.
        """

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and end; it takes a few seconds at most and raises nothing."""

    def abort(self) -> None:
        """End at once, without a goodbye: the peer is taken for dead."""


Connector = Callable[[str, Codec], Awaitable[Transport]]
"""Opens a transport to a URL, for frames of a codec; raises `ConnectionClosed` where it cannot."""


class _WebSocket:
    def __init__(self, connection: ClientConnection, codec: Codec) -> None:
        self._connection = connection
        self._text = not codec.binary

    async def send(self, message: bytes) -> None:
        try:
            await self._connection.send(message, text=self._text)
        except WebSocketClosed as exc:
            raise _closed(exc) from exc

    async def receive(self) -> bytes:
        try:
            return await self._connection.recv(decode=False)
        except WebSocketClosed as exc:
            raise _closed(exc) from exc

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        await self._connection.close(code, reason)

    def abort(self) -> None:
        self._connection.transport.abort()


async def open_websocket(url: str, codec: Codec, *, compression: bool = False) -> Transport:
    """Open a WebSocket (RFC 6455) that speaks the codec's subprotocol.

    `compression` offers permessage-deflate (RFC 7692), which a server may decline: it saves bytes on a slow line, for
    CPU at both ends. `Client(url, connector=partial(open_websocket, compression=True))` uses it.

    Raises:
        ConnectionClosed: the server cannot be reached or refused the handshake; `final` where the
            same attempt can never succeed.
    """
    try:
        connection = await connect(
            url,
            subprotocols=[Subprotocol(codec.subprotocol)],
            compression="deflate" if compression else None,
            # The protocol has its own signs of life, and the client its own patience.
            ping_interval=None,
            open_timeout=None,
            close_timeout=2,
            max_size=_MOST_BYTES,
            # A proxy from the environment never leads to this machine itself.
            proxy=None if _is_loopback(url) else True,
        )
    except InvalidStatus as exc:
        status = exc.response.status_code
        text = exc.response.body.decode(errors="replace").strip()[:200] if exc.response.body else ""
        raise ConnectionClosed(
            ABNORMAL,
            f"{url} refused the connection with HTTP {status}{': ' + text if text else ''}.",
            final=status in _HOPELESS,
        ) from exc
    except InvalidURI as exc:
        raise ConnectionClosed(
            ABNORMAL, f"{url!r} is no WebSocket address: write ws://host:port/ws or wss://…", final=True
        ) from exc
    except (OSError, WebSocketException) as exc:
        raise ConnectionClosed(ABNORMAL, f"Cannot connect to {url}: {exc}. Is the server running?") from exc
    if connection.subprotocol != codec.subprotocol:
        await connection.close(CloseCode.PROTOCOL_ERROR)
        raise ConnectionClosed(
            CloseCode.PROTOCOL_ERROR,
            f"{url} does not speak {codec.subprotocol}: is it a Backchannel server?",
            final=True,
        )
    return _WebSocket(connection, codec)


def _closed(exc: WebSocketClosed) -> ConnectionClosed:
    if exc.rcvd is None:
        return ConnectionClosed(ABNORMAL, "The connection broke off.")
    return ConnectionClosed(exc.rcvd.code, exc.rcvd.reason)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
