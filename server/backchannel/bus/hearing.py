"""The connection that subscriptions live on: published messages beside the answers to what was asked on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import hiredis

from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .connection import Connection, ReplyCallback
from .target import Address

__all__ = ["HearingConnection", "Receive"]

log = get_logger(__name__)

Receive: TypeAlias = Callable[[list[bytes]], None]
"""Gets the payloads of consecutive messages, in order."""


class HearingConnection(Connection):
    """A connection in subscribed state (RESP2).

    Args:
        address, part, lost: as in `Connection`.
        receivers: who gets a topic's messages; read for each message, and belongs to the caller.
        ended: called with a topic whose subscription the server ended by itself, because its slot moved away.
        sharded: whether it hears sharded pub/sub (SSUBSCRIBE).
    """

    def __init__(
        self,
        address: Address,
        part: str,
        lost: Callable[[str], None],
        receivers: Mapping[bytes, Receive],
        ended: Callable[[HearingConnection, bytes], None],
        *,
        sharded: bool,
    ) -> None:
        super().__init__(address, part, lost)
        self._receivers = receivers
        self._ended = ended
        self._message = b"smessage" if sharded else b"message"
        self._subscribe = "SSUBSCRIBE" if sharded else "SUBSCRIBE"
        self._unsubscribe = "SUNSUBSCRIBE" if sharded else "UNSUBSCRIBE"
        self._ending: Counter[bytes] = Counter()

    def subscribe(self, topic: bytes, reply: ReplyCallback) -> bool:
        """Ask for a topic's messages; `reply` gets the confirmation. One command per topic, since an error reply stands
        for a whole command. Returns as `send` does."""
        return self.send((self._subscribe, topic), reply)

    def unsubscribe(self, topic: bytes) -> None:
        """Ask for a topic's messages no more."""
        if self.send((self._unsubscribe, topic)):
            self._ending[topic] += 1

    def data_received(self, data: bytes) -> None:
        """Hand out messages, in runs that go to the same receiver, and answers to whoever waits for them."""
        self._silent = 0
        metrics.bus_bytes_in += len(data)
        reader = self._reader
        gets = reader.gets
        receivers = self._receivers
        message = self._message
        run: list[bytes] = []
        receive: Receive | None = None
        count = 0
        try:
            reader.feed(data)
            while (reply := gets()) is not False:
                if type(reply) is list and reply[0] == message:
                    count += 1
                    receiver = receivers.get(reply[1])
                    if receiver is not receive:
                        if receive is not None:
                            self._hand_over(receive, run)
                            run = []
                        receive = receiver
                    if receiver is not None:
                        run.append(reply[2])
                else:
                    # In order: what came before a confirmation is received before it is told.
                    if receive is not None:
                        self._hand_over(receive, run)
                        run = []
                        receive = None
                    self._answered(reply)
        except (hiredis.ProtocolError, IndexError) as exc:
            self._broken(exc)
            return
        finally:
            metrics.bus_messages_in += count
            if receive is not None:
                self._hand_over(receive, run)
        if self._idle is not None and not self._replies and not self._idle.done():
            self._idle.set_result(None)

    def _answered(self, reply: Any) -> None:
        if type(reply) is list and reply[0] == b"sunsubscribe":
            topic = reply[1]
            if not self._ending[topic]:
                del self._ending[topic]
                self._ended(self, topic)
                return
            self._ending[topic] -= 1
            if not self._ending[topic]:
                del self._ending[topic]
        callback = self._replies.popleft()
        if callback is not None:
            callback(reply)

    def _hand_over(self, receive: Receive, run: list[bytes]) -> None:
        try:
            receive(run)
        except Exception:
            # One receiver's fault must not cost the others their messages.
            log.exception("a receiver failed", server=str(self.address), messages=len(run))
