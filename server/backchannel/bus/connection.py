"""One connection that speaks RESP: what one loop tick sends leaves in one write; replies are matched in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import hiredis

from ..telemetry.metrics import metrics
from .errors import LOST, NOT_WRITTEN, RedisReplyError, connect_failure
from .target import Address

__all__ = ["BEAT", "MAX_QUEUED", "SILENT_BEATS", "Connection", "ReplyCallback", "Word"]

Word: TypeAlias = bytes | str | int | float
ReplyCallback: TypeAlias = Callable[[Any], None]
"""Gets the reply, a `RedisReplyError`, or an `Undelivered` when none will come. Must not raise."""

BEAT: Final = 0.9
"""Seconds between two PINGs."""

SILENT_BEATS: Final = 3
"""A connection on which nothing arrived between so many beats is dead: after 2.7 s at the latest. Beats are counted
instead of seconds because a process that was stopped itself must read what waits before it judges."""

MAX_QUEUED: Final = 64 * 1024 * 1024
"""Bytes that may wait unsent; what comes on top is refused."""

# The stub declares a tuple of one item.
pack_command: Final = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)


class Connection(asyncio.Protocol):
    """A connection for commands. It is used once: when it is lost, another one is made.

    Args:
        address: the server.
        part: what the connection is for, as the log names it.
        lost: called once, with the reason, as soon as the connection is known to be gone, after every waiting callback
            got its `Undelivered`. Not called before `live`.
    """

    def __init__(self, address: Address, part: str, lost: Callable[[str], None]) -> None:
        self.address = address
        self.part = part
        self.closed = False
        self.lost_because: BaseException | None = None
        """What the transport told when it was lost, before `live`."""
        self._lost = lost
        self._live = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=RedisReplyError)
        self._out: list[bytes] = []
        self._queued = 0
        self._replies: deque[ReplyCallback | None] = deque()
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    # Sending

    def send(self, words: tuple[Word, ...], reply: ReplyCallback | None = None) -> bool:
        """Queue a command; it leaves with everything else of this loop tick.

        Returns:
            False: the connection is gone, or too much waits already; the command will not leave, and `reply` is not
            called.
        """
        packed = pack_command(words)
        queued = self._queued + len(packed)
        if queued > MAX_QUEUED or self.closed:
            if self.closed or not self._room_for(len(packed)):
                return False
            queued = self._queued + len(packed)
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(packed)
        self._queued = queued
        self._replies.append(reply)
        return True

    def ask(self, words: tuple[Word, ...]) -> asyncio.Future[Any]:
        """Send a command; the future gets what a `ReplyCallback` would."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def answered(reply: Any) -> None:
            if not future.done():
                future.set_result(reply)

        if not self.send(words, answered):
            future.set_result(NOT_WRITTEN)
        return future

    def _room_for(self, size: int) -> bool:
        """Measure anew how much waits: what the socket has taken since the last write counts no more."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        self._queued = waiting + sum(map(len, self._out))
        return self._queued + size <= MAX_QUEUED

    def _flush(self) -> None:
        out, transport = self._out, self._transport
        if not out or transport is None or transport.is_closing():
            return  # what stays here counts as not written
        self._out = []
        data = out[0] if len(out) == 1 else b"".join(out)
        transport.write(data)
        self._queued = transport.get_write_buffer_size()
        metrics.bus_bytes_out += len(data)

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        metrics.bus_bytes_in += len(data)
        reader = self._reader
        gets = reader.gets
        replies = self._replies
        try:
            reader.feed(data)
            # RESP2 has no booleans: False means that the rest is still to come.
            while (reply := gets()) is not False:
                callback = replies.popleft()
                if callback is not None:
                    callback(reply)
        except (hiredis.ProtocolError, IndexError) as exc:
            self._broken(exc)
            return
        if self._idle is not None and not replies and not self._idle.done():
            self._idle.set_result(None)

    def _broken(self, exc: Exception) -> None:
        if self.closed:  # by a callback, which leaves the rest of this read without its callbacks
            return
        self.abort(f"sent what cannot be read ({exc!r})")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_because = exc
        self._gone("was closed by the other side" if exc is None else str(connect_failure(exc)))

    # Life

    def live(self) -> None:
        """The greeting is done: begin the heartbeat, and tell when the connection is lost."""
        self._live = True
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _beat(self) -> None:
        self._silent += 1
        if self._silent >= SILENT_BEATS:
            self.abort(f"gave no sign of life for {BEAT * SILENT_BEATS:.1f} s")
            return
        self.send(("PING",), self._ponged)
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _ponged(self, reply: Any) -> None:
        # A server that loads its data, or lost its master, answers and cannot serve.
        if isinstance(reply, RedisReplyError) and not self.closed:
            self._loop.call_soon(self.abort, f"answered {reply}")

    def abort(self, reason: str) -> None:
        """Give the connection up at once. Safe to call at any time."""
        self._gone(reason)
        if self._transport is not None:
            self._transport.abort()

    async def close(self, timeout: float) -> None:
        """Send what waits, hear the replies that are due (at most `timeout` seconds), and close.

        Closing earlier would let the kernel answer late replies with a reset, and Redis would then drop commands that
        it has not read yet. Cancelling closes at once.
        """
        if self.closed:
            return
        self._live = False
        self._stop_beat()
        try:
            self._flush()
            if self._replies:
                self._idle = self._loop.create_future()
                async with asyncio.timeout(timeout):
                    await self._idle
        except TimeoutError:
            pass
        finally:
            self.abort("was closed by this process")

    def _gone(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._stop_beat()
        unwritten = len(self._out)
        self._out = []
        replies = list(self._replies)
        self._replies.clear()
        written = len(replies) - unwritten
        for index, callback in enumerate(replies):
            if callback is not None:
                callback(LOST if index < written else NOT_WRITTEN)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        if self._live:
            self._live = False
            self._lost(reason)

    def _stop_beat(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
