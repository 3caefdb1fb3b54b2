"""One connection: a transport that carries frames, with its greeting and its signs of life."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from backchannel_protocol import CloseCode, Codec, Malformed
from backchannel_protocol.frames import ClientFrame, Connect, Connected, Error, Move, Ping, Pong, ServerFrame

from .clock import Clock, Timer
from .errors import ConnectionClosed
from .evolution import decode_frame
from .transport import ABNORMAL, Transport

__all__ = ["Connection"]

log = logging.getLogger("backchannel_client")

# So much may wait to be sent, in bytes; past it requests wait where they can still be taken back.
_MOST_OUTGOING: Final = 256 * 1024

# How a refused `connect` ends the connection, where the code alone does not say so.
_REFUSED_WITH = {
    "unauthenticated": CloseCode.UNAUTHENTICATED,
    "forbidden": CloseCode.REVOKED,
    "limit_exceeded": CloseCode.TOO_MANY_CONNECTIONS,
    "rate_limited": CloseCode.RATE_LIMITED,
}


class Connection:
    """Sends and receives frames over one transport until that ends.

    `on_frame` gets every frame that is not the connection's own business, in order; `on_lost` is
    called once when a connection that was open has ended, by either side.
    """

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        clock: Clock,
        on_frame: Callable[[Connection, ServerFrame], None],
        on_lost: Callable[[Connection, ConnectionClosed], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.connected: Connected | None = None
        self.since = 0.0
        """When the session opened, by the clock."""
        self.over: asyncio.Future[ConnectionClosed | None] = loop.create_future()
        """Done when this connection is of no more use: how it ended, or None for *move*."""
        self.move_by: float | None = None
        """By when, by the clock, the client must have left it; None without a *move*."""
        self.gone: asyncio.Future[ConnectionClosed] = loop.create_future()
        """Done when it has ended: how."""
        self.resumed: set[str] = set()
        """Channels named in `connect.resume` that have no verdict yet."""
        self.unwanted: set[str] = set()
        """Channels that the app left before the verdict of their resume came."""
        self.on_drained: Callable[[], None] = lambda: None
        """Called when it is not `full` any more."""
        self._transport = transport
        self._codec = codec
        self._clock = clock
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._connect_id = 0
        self._greeting: asyncio.Future[ConnectionClosed | None] = loop.create_future()
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._more = asyncio.Event()
        self._heard = 0.0
        self._silence: Timer | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._ended = False

    @property
    def alive(self) -> bool:
        """Whether frames can still go out."""
        return not self._ended

    @property
    def full(self) -> bool:
        """Whether the peer does not take what we send: nothing but signs of life should follow."""
        return self._outgoing_bytes >= _MOST_OUTGOING

    async def open(self, connect: Connect) -> None:
        """Introduce the client. `connected` has passed `on_frame` when this returns.

        Raises:
            ConnectionClosed: the server refused, or the transport ended.
        """
        self._connect_id = connect.id
        self._tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._write()))
        self.send(connect)
        refusal = await self._greeting
        if refusal is not None:
            raise refusal

    def send(self, frame: ClientFrame) -> None:
        """Send a frame, behind those already sent; does nothing once the connection has ended."""
        self.send_encoded(self._codec.encode(frame))

    def send_encoded(self, message: bytes) -> None:
        """Send an encoded frame, likewise."""
        if not self._ended:
            self._outgoing.append(message)
            self._outgoing_bytes += len(message)
            self._more.set()

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and end. Cancelling ends it without the goodbye."""
        self._lose(ConnectionClosed(code, reason))
        try:
            await self._transport.close(code, reason)
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        finally:
            self._stop()

    def abort(self, exc: ConnectionClosed) -> None:
        """End at once: the peer is dead, or nobody needs this connection."""
        self._lose(exc)
        self._transport.abort()
        self._stop()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _lose(self, exc: ConnectionClosed) -> None:
        if self._ended:
            return
        self._ended = True
        if self._silence is not None:
            self._silence.cancel()
        self.gone.set_result(exc)
        for future in (self._greeting, self.over):
            if not future.done():
                future.set_result(exc)
        if self.connected is not None:
            self._on_lost(self, exc)

    async def _write(self) -> None:
        try:
            while True:
                while self._outgoing:
                    was_full = self.full
                    message = self._outgoing.popleft()
                    await self._transport.send(message)
                    self._outgoing_bytes -= len(message)
                    if was_full and not self.full:
                        self.on_drained()
                self._more.clear()
                await self._more.wait()
        except ConnectionClosed:
            return  # The reader meets the same end, behind what is still to be read.

    async def _read(self) -> None:
        try:
            while True:
                message = await self._transport.receive()
                self._heard = self._clock.time()
                try:
                    frame = decode_frame(self._codec, message)
                except Malformed as exc:
                    # A later version of the protocol may have more frames (evolution rule).
                    log.debug("Ignored a frame: %s", exc)
                    continue
                if not self._ended:
                    self._receive(frame)
        except ConnectionClosed as exc:
            self._lose(exc)
        except Exception:
            log.exception("Receiving failed; the connection is dropped")
            self._transport.abort()
            self._lose(ConnectionClosed(ABNORMAL, "Receiving failed; the log has the reason."))
        finally:
            self._stop()

    def _receive(self, frame: ServerFrame) -> None:
        if isinstance(frame, Ping):
            self.send(Pong())
        elif isinstance(frame, Move):
            self.move_by = self._clock.time() + frame.after
            if not self.over.done():
                self.over.set_result(None)
        elif self.connected is not None:
            self._on_frame(self, frame)
        elif isinstance(frame, Connected) and frame.id == self._connect_id:
            self.connected = frame
            self.since = self._clock.time()
            self._listen_for_silence(frame.ping + frame.grace)
            self._on_frame(self, frame)
            if not self._greeting.done():
                self._greeting.set_result(None)
        elif isinstance(frame, Error) and frame.id in (self._connect_id, None):
            self.abort(_refusal(frame))

    def _listen_for_silence(self, patience: float) -> None:
        left = self._heard + patience - self._clock.time()
        if left > 0:
            # One timer for the whole connection, not one per frame: it looks again when it is due.
            self._silence = self._clock.call_later(left, lambda: self._listen_for_silence(patience))
        else:
            self.abort(ConnectionClosed(CloseCode.SILENT, f"Nothing was heard for {patience:g} s."))


def _refusal(frame: Error) -> ConnectionClosed:
    code = _REFUSED_WITH.get(frame.code, CloseCode.UNAVAILABLE)
    return ConnectionClosed(
        code,
        frame.message,
        # What the table of codes calls hopeless (`invalid`, `too_large` …) stays so.
        final=None if code != CloseCode.UNAVAILABLE else not frame.retry,
        retry_after=frame.retry_after,
    )
