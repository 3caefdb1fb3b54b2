"""What a bot's handler gets: an event that can be answered, once."""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Final, Generic, TypeVar

from backchannel_protocol import Refused

from .backoff import Backoff
from .client import RANDOM_KEY, Client
from .clock import sleep
from .received import Received

__all__ = ["BotEvent"]

log = logging.getLogger("backchannel_client.bot")

DataT = TypeVar("DataT")

# A busy server is asked this often; with one key, the answer appears once all the same.
_REPLY_ATTEMPTS: Final = 5


class BotEvent(Generic[DataT]):
    """An event, as a bot's handler gets it."""

    __slots__ = ("_client", "_handler", "_replies", "data", "received")

    def __init__(self, client: Client, received: Received, data: DataT, handler: str) -> None:
        self.data = data
        """What happened, as the struct that the handler asked for; plain data for a command."""
        self.received = received
        """The event as the client received it."""
        self._client = client
        self._handler = handler
        self._replies = 0

    def __repr__(self) -> str:
        return repr(self.received)

    @property
    def channel(self) -> str:
        """Where it happened."""
        return self.received.channel

    @property
    def name(self) -> str:
        """Its name on the wire."""
        return self.received.name

    @property
    def offset(self) -> int | None:
        """Its place in the channel's log; None for an ephemeral event."""
        return self.received.offset

    @property
    def epoch(self) -> str | None:
        """The incarnation of the log that `offset` counts in."""
        return self.received.epoch

    @property
    def user(self) -> str | None:
        """Who caused it."""
        return self.received.user

    @property
    def key(self) -> str | None:
        """The key of the command that caused it, where the server tells it."""
        return self.received.key

    @property
    def time(self) -> int:
        """When it happened, Unix milliseconds by the server's clock."""
        return self.received.time

    async def reply(self, text: str) -> Any:
        """Send a message to the event's channel; returns the message, or None if it was sent before.

        The command's key follows from the bot, the event, the handler and how many replies came
        before. So an event that is handled again, after a crash or a reconnect, is not answered
        again: the first answer stands, even where the text would be another now. (An ephemeral
        event has no identity; replies to it have random keys.)

        It waits for as long as there is no connection.

        Raises:
            Refused: the server said no; a busy server was asked several times.
            ConnectionClosed: the bot was closed.
        """
        self._replies += 1
        key = self._key(self._replies)
        backoff = Backoff(self._client.random.random)
        data = {"channel": self.channel, "text": text}
        attempts = 0
        while True:
            try:
                return await self._send(data, key)
            except Refused as exc:
                if not exc.retry or (key is None and exc.outcome == "unknown"):
                    raise
                # Without a connection the server has not even been asked.
                attempts += self._client.state == "connected"
                if attempts == _REPLY_ATTEMPTS:
                    raise
                await sleep(self._client.clock, (exc.retry_after or 0.0) + backoff.next())

    async def _send(self, data: dict[str, str], key: str | None) -> Any:
        try:
            return await self._client.call("message.send", data, key=key or RANDOM_KEY)
        except Refused as exc:
            if key is None or exc.code != "conflict":
                raise
            # The key was used, for another text: the event has its answer.
            log.info("%r has been answered before", self)
            return None

    def _key(self, number: int) -> str | None:
        position = self.received.position
        if position is None:
            return None
        identity = (
            self._client.user,
            self.channel,
            position.epoch,
            str(position.offset),
            self._handler,
            str(number),
        )
        return hashlib.sha256("\n".join(identity).encode()).hexdigest()
