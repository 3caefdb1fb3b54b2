"""The client's inside: one lifecycle, its open requests and its channels, wired together."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random as random_module
from collections.abc import Callable

from backchannel_protocol import Codec, Limits, frames
from backchannel_protocol.frames import (
    ClientInfo,
    Connected,
    Error,
    Gap,
    Position,
    Presence,
    Refresh,
    RefreshReply,
    Reply,
    ServerFrame,
    Subscribed,
    Unsubscribed,
)

from .backoff import Backoff
from .channels import Channels
from .clock import Clock
from .connection import Connection
from .errors import ConnectionClosed
from .lifecycle import ClientState, Lifecycle
from .requests import Answerable, Requests
from .token import TokenSource, keep_fresh
from .transport import ABNORMAL, Connector
from .typed import decode

__all__ = ["Engine"]

log = logging.getLogger("backchannel_client")


class Engine:
    """Passes frames between the connections and whoever waits for them."""

    def __init__(
        self,
        *,
        url: str,
        tokens: TokenSource,
        info: ClientInfo,
        codec: Codec,
        clock: Clock,
        random: random_module.Random,
        connector: Connector,
        changed: Callable[[ClientState], None],
    ) -> None:
        self.connected: Connected | None = None
        """What the server said of the present session, or of the last one."""
        self.changed = changed
        self._tokens = tokens
        self._codec = codec
        self._clock = clock
        self._random = random
        self._ids = itertools.count(1)
        self.channels = Channels(codec, clock, self.next_id, lambda: Backoff(random.random))
        self._requests = Requests(
            codec,
            clock,
            others=lambda: self.channels.asked,
            backoff=lambda: Backoff(random.random),
            ready=self._pump,
        )
        self.lifecycle = Lifecycle(
            self,
            url=url,
            tokens=tokens,
            info=info,
            codec=codec,
            clock=clock,
            random=random,
            connector=connector,
        )
        self._refreshing: asyncio.Task[None] | None = None

    def next_id(self) -> int:
        """A request id that this client has not used, on any connection."""
        return next(self._ids)

    async def ask(
        self, frame: Answerable, *, repeatable: bool, timeout: float, timed: bool = False
    ) -> Reply | Presence:
        """Send a request, now or when there is a connection, and wait for its answer.

        Raises:
            Refused: the server said no, or nothing in time.
            ConnectionClosed: the client is closed, or was while waiting.
        """
        lifecycle = self.lifecycle
        if lifecycle.end is not None:
            raise lifecycle.end.for_request("none")
        if lifecycle.state == "disconnected":
            raise ConnectionClosed(
                ABNORMAL, "The client is not connected: use `async with client`, or await client.connect()."
            )
        request = self._requests.add(frame, repeatable=repeatable, timeout=timeout, timed=timed)
        self._pump()
        try:
            return await request.future
        except asyncio.CancelledError:
            self._requests.abandon(request)
            raise
        finally:
            # One answer less that a connection which is being left owes us.
            lifecycle.review()

    # For the lifecycle

    def positions(self, token: str | None) -> dict[str, Position]:
        """What a `connect` frame with this token can resume."""
        limits = self.connected.limits if self.connected else Limits()
        return self.channels.positions(limits.frame - len(token or ""), limits.channels)

    def opened(self, connection: Connection) -> None:
        """Everything goes over this connection from now on."""
        assert connection.connected is not None
        self.connected = connection.connected
        self._tokens.keep(connection.connected.token)
        self.channels.adopt(connection)
        connection.on_drained = self._pump
        self._requests.pump(connection)
        self._keep_token_fresh(connection.connected)

    def received(self, connection: Connection, frame: ServerFrame) -> None:
        """Hand a frame to whom it concerns."""
        if isinstance(frame, frames.Event):
            self.channels.event(connection, frame)
        elif isinstance(frame, Reply) or (isinstance(frame, Presence) and frame.id is not None):
            self._answer(frame)
        elif isinstance(frame, Error):
            self._error(frame)
        elif isinstance(frame, Subscribed):
            self.channels.subscribed(connection, frame)
            self._pump()
        elif isinstance(frame, Gap):
            self.channels.gap(connection, frame)
        elif isinstance(frame, Presence):
            self.channels.presence(connection, frame)
        elif isinstance(frame, Unsubscribed):
            self.channels.unsubscribed(connection, frame)

    def lost(self, connection: Connection) -> None:
        """What this connection carried waits for another, or has failed."""
        self.channels.lost(connection)
        self._requests.lost(connection)
        self._pump()
        if self.lifecycle.current is None:
            self._stop_refreshing()

    def is_needed(self, connection: Connection) -> bool:
        """Whether an answer or a channel's events are still to come from this connection."""
        return self.channels.carried_by(connection) or self._requests.waiting_on(connection)

    def ended(self, reason: ConnectionClosed) -> None:
        """Nothing will come any more; a close that the app asked for ends iterations quietly."""
        self._stop_refreshing()
        self._requests.fail_all(reason)
        self.channels.end_all(None if reason.asked_for else reason)

    # Inside

    def _pump(self) -> None:
        if self.lifecycle.current is not None:
            self._requests.pump(self.lifecycle.current)

    def _answer(self, frame: Reply | Presence | Error) -> bool:
        known = self._requests.answer(frame)
        # Its place among the open requests is free.
        self._pump()
        return known

    def _error(self, frame: Error) -> None:
        if frame.id is None:
            log.warning("The server could not read a request: %s: %s", frame.code, frame.message)
        elif not self._answer(frame):
            self.channels.refused(frame)

    def _keep_token_fresh(self, connected: Connected) -> None:
        self._stop_refreshing()
        if connected.expires is not None and self._tokens.renewable:
            self._refreshing = asyncio.create_task(
                keep_fresh(self._tokens, connected, self._clock, self._random.random, self._refresh)
            )

    def _stop_refreshing(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._refreshing = None

    async def _refresh(self, token: str) -> RefreshReply:
        # Never on another connection than this one: that one connects with a token of its own.
        reply = await self.ask(Refresh(id=self.next_id(), token=token), repeatable=False, timeout=10.0)
        assert isinstance(reply, Reply)
        return decode(self._codec, RefreshReply, reply.data)  # type: ignore[no-any-return]
