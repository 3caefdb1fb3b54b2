"""What this process wants to hear, and whether it does: asks again wherever a connection was lost or a slot moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from backchannel_protocol import BackchannelError

from ..telemetry.logs import get_logger
from .errors import RedisReplyError, Undelivered, reply_failure, unavailable
from .hearing import HearingConnection, Receive

__all__ = ["SUBSCRIBE_TIMEOUT", "Subscriptions"]

log = get_logger(__name__)

SUBSCRIBE_TIMEOUT: Final = 5.0
"""Seconds that `subscribe` waits for Redis to confirm."""


class _Topic:
    """One wish to hear."""

    __slots__ = ("claimed", "confirmed", "connection", "denied", "known", "name", "receive", "waiters")

    def __init__(self, name: bytes, receive: Receive) -> None:
        self.name = name
        self.receive = receive
        self.connection: HearingConnection | None = None
        """Where it was asked for, whether confirmed or not."""
        self.confirmed = False
        self.known = False
        """It was confirmed before, so somebody relies on it."""
        self.denied = False
        """It was confirmed before and is forbidden now, which was told."""
        self.claimed = False
        """A `subscribe` has returned: the wish outlives whoever waits for a further confirmation."""
        self.waiters: set[asyncio.Future[None]] = set()


class Subscriptions:
    """All topics of one process, over all its hearing connections.

    Args:
        route: the connection that a topic is to be heard on now; None while there is none.
        changed: called when `complete` may have changed.
        misplaced: called with a server's refusal to let a topic be heard there (its slot lies elsewhere, or the
            cluster is down), so that the way to it is found anew.
    """

    def __init__(
        self,
        route: Callable[[bytes], HearingConnection | None],
        changed: Callable[[], None],
        misplaced: Callable[[RedisReplyError], None],
    ) -> None:
        self.receivers: dict[bytes, Receive] = {}
        """What a `HearingConnection` reads."""
        self._route = route
        self._changed = changed
        self._misplaced = misplaced
        self._topics: dict[bytes, _Topic] = {}
        self._unasked: dict[bytes, _Topic] = {}
        self._missing: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def complete(self) -> bool:
        """Whether every topic that was ever confirmed is confirmed now."""
        return not self._missing

    async def subscribe(self, topic: bytes, receive: Receive) -> None:
        """Return once Redis has confirmed the subscription.

        Cancelling withdraws the wish, unless an earlier call for the same topic has returned or still waits.

        Raises:
            ValueError: the topic is heard already, by another receiver.
            Refused: `unavailable`, after 5 s; the wish is withdrawn.
            RedisReplyError: Redis does not allow it; the wish is withdrawn.
        """
        wish = self._topics.get(topic)
        if wish is None:
            wish = self._topics[topic] = self._unasked[topic] = _Topic(topic, receive)
            self.receivers[topic] = receive
            self.settle()
        elif wish.receive != receive:
            raise ValueError(f"Topic {topic!r} has a receiver already: unsubscribe it first, or share that receiver.")
        if wish.confirmed:
            wish.claimed = True
            return
        waiter = asyncio.get_running_loop().create_future()
        wish.waiters.add(waiter)
        try:
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT):
                await waiter
            wish.claimed = True
        except TimeoutError:
            raise unavailable("none") from None
        finally:
            wish.waiters.discard(waiter)
            if not wish.claimed and not wish.waiters:
                self._withdraw(wish)

    def unsubscribe(self, topic: bytes) -> None:
        """Hear a topic no more: its receiver gets nothing after this. A topic that is not heard is left alone.

        Whoever still waits in `subscribe` for it is refused.
        """
        wish = self._topics.get(topic)
        if wish is not None:
            self._withdraw(wish)
            self._refuse(wish, unavailable("none"))

    def _withdraw(self, wish: _Topic) -> None:
        if self._topics.get(wish.name) is not wish:
            return
        del self._topics[wish.name]
        del self.receivers[wish.name]
        self._unasked.pop(wish.name, None)
        if wish.connection is not None:
            wish.connection.unsubscribe(wish.name)
        if wish.name in self._missing:
            self._missing.discard(wish.name)
            self._changed()

    # What happens to connections

    def settle(self) -> None:
        """Ask for every topic that is not asked for, where it is to be heard now."""
        for wish in list(self._unasked.values()):
            connection = self._route(wish.name)
            if connection is not None and connection.subscribe(wish.name, partial(self._answered, wish, connection)):
                wish.connection = connection
                del self._unasked[wish.name]

    def resettle(self) -> None:
        """Move what is heard on a connection that is no longer the one for it, and settle the rest."""
        for wish in self._topics.values():
            connection = wish.connection
            if connection is not None and connection is not self._route(wish.name):
                self._lose(wish)
                connection.unsubscribe(wish.name)
        self._changed()
        self.settle()

    def disconnected(self, connection: HearingConnection) -> None:
        """A connection is gone, and with it what was heard there."""
        for wish in self._topics.values():
            if wish.connection is connection:
                self._lose(wish)

    def ended(self, connection: HearingConnection, topic: bytes) -> None:
        """The server ended a subscription by itself."""
        wish = self._topics.get(topic)
        if wish is not None and wish.connection is connection:
            self._lose(wish)

    def _lose(self, wish: _Topic) -> None:
        wish.connection = None
        wish.confirmed = False
        self._unasked[wish.name] = wish
        if wish.known:
            self._missing.add(wish.name)

    def _answered(self, wish: _Topic, connection: HearingConnection, reply: Any) -> None:
        if wish.connection is not connection or self._topics.get(wish.name) is not wish:
            return  # it was withdrawn or moved in the meantime
        if isinstance(reply, Undelivered):
            return  # `disconnected` follows
        if isinstance(reply, RedisReplyError):
            self._refused(wish, reply)
            return
        wish.confirmed = wish.known = True
        wish.denied = False
        for waiter in wish.waiters:
            if not waiter.done():
                waiter.set_result(None)
        if wish.name in self._missing:
            self._missing.discard(wish.name)
            self._changed()

    def _refused(self, wish: _Topic, error: RedisReplyError) -> None:
        self._lose(wish)
        failure = reply_failure(error)
        if error.code in ("MOVED", "ASK") or failure is not error:
            self._misplaced(error)
        elif wish.known:
            # It was allowed once: asked again at every beat, for rights come back as they go.
            if wish.denied:
                return
            wish.denied = True
            log.error("redis refuses a subscription", topic=wish.name.decode(errors="replace"), error=str(error))
        else:
            self._withdraw(wish)
            self._refuse(wish, failure)

    def _refuse(self, wish: _Topic, failure: BackchannelError) -> None:
        for waiter in wish.waiters:
            if not waiter.done():
                waiter.set_exception(failure)
