"""The client: ask and listen over one connection that stays, whatever the network does."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import AsyncGenerator, Callable
from enum import Enum
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar, overload

from msgspec import Raw

from backchannel_protocol import JSON, CloseCode, Codec, Event, Limits, Query, Refused, Request
from backchannel_protocol.frames import (
    Call,
    ClientInfo,
    Connected,
    History,
    HistoryReply,
    Position,
    Presence,
    PresenceRequest,
    Publish,
    PublishReply,
    Reply,
)
from backchannel_protocol.limits import CHANNEL_RE, MAX_INTEGER, NAME_RE
from backchannel_protocol.requests import reply_type

from .clock import Clock, LoopClock, within
from .engine import Engine
from .errors import ConnectionClosed
from .lifecycle import ClientState
from .requests import Answerable
from .subscription import OnGap, OnPresence, OverflowPolicy, Subscription
from .token import Token, TokenSource
from .transport import ABNORMAL, Connector, open_websocket
from .typed import decode

__all__ = ["RANDOM_KEY", "Answer", "Client", "KeyChoice"]

log = logging.getLogger("backchannel_client")

T = TypeVar("T")
R = TypeVar("R")


class KeyChoice(Enum):
    """The type of `RANDOM_KEY`."""

    RANDOM = "random"


RANDOM_KEY: Final = KeyChoice.RANDOM
"""The default of `key`: a new random one, so that a request may be sent again and takes effect once."""


class Answer(NamedTuple, Generic[T]):
    """What a request was answered with."""

    data: T
    positions: dict[str, int]
    """For each channel the offset that `data` includes: drop its events at or below."""


class Client:
    """One user's connection to a Backchannel server.

    Use it as `async with Client(url, token=…) as client`. Entering waits for the first connection;
    after that the client reconnects by itself, resumes its subscriptions where they were, and sends
    requests again that were waiting, until their time is over. It belongs to one event loop.

    `token` is a token or a function that fetches one (also `async`): with a function the client
    refreshes before the token expires, and asks once more when the server turns a token down.
    Without one it is a guest, where the server has guests, and the same one after a reconnect.
    `timeout` is how many seconds a request waits by default, reconnects included. `open_timeout` is
    how many seconds entering tries to connect; None means for ever. `clock`, `random` and
    `connector` replace time, chance and network in tests.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        codec: Codec = JSON,
        name: str = "backchannel-python",
        timeout: float = 30.0,
        open_timeout: float | None = 10.0,
        connector: Connector = open_websocket,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
    ) -> None:
        self.url = url
        self.codec = codec
        self._timeout = timeout
        self._open_timeout = open_timeout
        self.random = random or random_module.SystemRandom()
        self.clock: Clock = clock or LoopClock()
        self._on_state: list[Callable[[ClientState], None]] = []
        self._tokens = TokenSource(token)
        self._engine = Engine(
            url=url,
            tokens=self._tokens,
            info=ClientInfo(name=name[:64]),
            codec=codec,
            clock=self.clock,
            random=self.random,
            connector=connector,
            changed=self._changed,
        )
        self._lifecycle = self._engine.lifecycle

    # Life

    @property
    def state(self) -> ClientState:
        """`connecting`, `connected`, or `disconnected` before the start and after the end."""
        return self._lifecycle.state

    @property
    def user(self) -> str:
        """Who the server says we are."""
        return self._told().user

    @property
    def guest_token(self) -> str | None:
        """What the server gave a guest, who has no token, to come back with.

        The client does so by itself while it lives; give it as `token` to be the same guest in the next run.
        """
        return self._tokens.guest

    @property
    def session(self) -> str:
        """The server's name for the present session; for logs and support."""
        return self._told().session

    @property
    def server_time(self) -> int:
        """What the server's clock showed when the session opened, Unix milliseconds; ours may be wrong."""
        return self._told().time

    @property
    def limits(self) -> Limits:
        """What the server allows on this connection."""
        return self._told().limits

    def on_state(self, callback: Callable[[ClientState], None]) -> Callable[[], None]:
        """Call `callback` with each new state; returns a function that stops it."""
        self._on_state.append(callback)
        return lambda: self._on_state.remove(callback) if callback in self._on_state else None

    async def states(self) -> AsyncGenerator[ClientState, None]:
        """The state as it is, then each new one, until the client is closed for good: `async for state in …`.

        Who takes them slowly is told the newest only.
        """
        changed = asyncio.Event()
        remove = self.on_state(lambda _state: changed.set())
        try:
            while True:
                changed.clear()
                is_last = self._lifecycle.end is not None
                yield self.state
                if is_last:
                    return
                await changed.wait()
        finally:
            remove()

    async def connect(self) -> None:
        """Connect for the first time. Cancelling closes the client.

        Raises:
            ConnectionClosed: the server refused for good, could not be reached within
                `open_timeout`, or the client was closed.
        """
        lifecycle = self._lifecycle
        lifecycle.start()
        try:
            await within(self.clock, self._open_timeout, lifecycle.settled.wait())
        except TimeoutError:
            failure = lifecycle.failure or ConnectionClosed(ABNORMAL, f"{self.url} did not answer.")
            await self.close()
            raise failure from None
        except asyncio.CancelledError:
            await self.close()
            raise
        if lifecycle.end is not None:
            raise lifecycle.end

    async def close(self) -> None:
        """Close for good: waiting requests fail, iterations of subscriptions stop."""
        await self._lifecycle.close(
            ConnectionClosed(CloseCode.NORMAL, "The client was closed.", final=True, asked_for=True)
        )

    async def wait_closed(self) -> ConnectionClosed:
        """Wait for the end; returns what it was: `close()`, or a final close by the server."""
        await self._lifecycle.closed.wait()
        assert self._lifecycle.end is not None
        return self._lifecycle.end

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Ask

    @overload
    async def call(
        self, request: Request[R], /, *, key: str | KeyChoice | None = ..., timeout: float | None = ...
    ) -> R: ...

    @overload
    async def call(
        self, name: str, data: Any = ..., /, *, key: str | KeyChoice | None = ..., timeout: float | None = ...
    ) -> Any: ...

    async def call(
        self,
        request: Request[Any] | str,
        data: Any = None,
        /,
        *,
        key: str | KeyChoice | None = RANDOM_KEY,
        timeout: float | None = None,
    ) -> Any:
        """Ask a command or a query, as a struct or by name; returns its answer.

        A struct's answer has the type that the struct declares, a name's is plain data. With a
        `key` the call survives a lost connection: it is sent again and still takes effect once.
        `key=None` sends it at most once. `timeout` is in seconds and includes reconnects; if it is
        given, the server is told too. Cancelling tells the server; the command may be done already.

        Raises:
            Refused: the server said no, or did not answer in time (`unavailable`); `outcome` tells
                whether it may have taken effect.
            Malformed: the answer is not what the struct declares.
            ConnectionClosed: the client is closed, or was while waiting.
        """
        return (await self.request(request, data, key=key, timeout=timeout)).data  # type: ignore[arg-type]

    @overload
    async def request(
        self, request: Request[R], /, *, key: str | KeyChoice | None = ..., timeout: float | None = ...
    ) -> Answer[R]: ...

    @overload
    async def request(
        self, name: str, data: Any = ..., /, *, key: str | KeyChoice | None = ..., timeout: float | None = ...
    ) -> Answer[Any]: ...

    async def request(
        self,
        request: Request[Any] | str,
        data: Any = None,
        /,
        *,
        key: str | KeyChoice | None = RANDOM_KEY,
        timeout: float | None = None,
    ) -> Answer[Any]:
        """Like `call`, and tells the positions that the answer includes.

        Snapshot and stream join without a seam: subscribe, ask, then drop the channel's events at
        or below `positions[channel]`.
        """
        form: Any = Any
        if isinstance(request, str):
            name, data = request, {} if data is None else data
        else:
            name, data, form = _wire_name(request), request, reply_type(type(request))
        # A query changes nothing, so it may be repeated without a key.
        is_query = isinstance(request, Query)
        chosen = None if is_query and isinstance(key, KeyChoice) else self._choose_key(key)
        _check_name(name)
        id_ = self._engine.next_id()
        frame = Call(id=id_, name=name, data=self._encode(data), key=chosen, timeout=None)
        reply = await self._ask(frame, repeatable=is_query or chosen is not None, timeout=timeout)
        assert isinstance(reply, Reply)
        return Answer(self._decode(form, reply.data), reply.positions or {})

    @overload
    async def publish(
        self, channel: str, event: Event, /, *, key: str | KeyChoice | None = ..., timeout: float | None = ...
    ) -> PublishReply: ...

    @overload
    async def publish(
        self,
        channel: str,
        name: str,
        data: Any = ...,
        /,
        *,
        key: str | KeyChoice | None = ...,
        timeout: float | None = ...,
    ) -> PublishReply: ...

    async def publish(
        self,
        channel: str,
        event: Event | str,
        data: Any = None,
        /,
        *,
        key: str | KeyChoice | None = RANDOM_KEY,
        timeout: float | None = None,
    ) -> PublishReply:
        """Publish an event on a live or ephemeral channel; returns where it stands.

        Raises like `call`.
        """
        _check_channel(channel)
        if isinstance(event, str):
            name, data = event, {} if data is None else data
        else:
            name, data = _wire_name(event), event
        _check_name(name)
        id_ = self._engine.next_id()
        chosen = self._choose_key(key)
        frame = Publish(id=id_, channel=channel, name=name, data=self._encode(data), key=chosen)
        reply = await self._ask(frame, repeatable=chosen is not None, timeout=timeout)
        assert isinstance(reply, Reply)
        return self._decode(PublishReply, reply.data)  # type: ignore[no-any-return]

    async def history(
        self,
        channel: str,
        *,
        since: Position | None = None,
        before: Position | None = None,
        limit: int = 100,
        timeout: float | None = None,
    ) -> HistoryReply:
        """A page of a channel's log: after `since` upwards, or below `before` downwards.

        Raises like `call`.
        """
        _check_channel(channel)
        id_ = self._engine.next_id()
        frame = History(id=id_, channel=channel, since=since, before=before, limit=limit)
        reply = await self._ask(frame, repeatable=True, timeout=timeout)
        assert isinstance(reply, Reply)
        return self._decode(HistoryReply, reply.data)  # type: ignore[no-any-return]

    async def presence(self, channel: str, *, timeout: float | None = None) -> Presence:
        """Who is present on a channel: `members`, `count`, `revision`. Raises like `call`."""
        _check_channel(channel)
        id_ = self._engine.next_id()
        frame = PresenceRequest(id=id_, channel=channel)
        answer = await self._ask(frame, repeatable=True, timeout=timeout)
        assert isinstance(answer, Presence)
        return answer

    # Listen

    def subscribe(
        self,
        channel: str,
        *,
        since: Position | None = None,
        queue: int = 1000,
        overflow: OverflowPolicy = "raise",
        on_gap: OnGap | None = None,
        on_presence: OnPresence | None = None,
    ) -> Subscription:
        """Listen to a channel, from now or from behind `since`.

        Use `async with client.subscribe(…) as sub`, which waits for the server's verdict, or call it
        plainly and `await sub.ready()`. `queue` is how many events may wait to be taken; what
        happens past that is `overflow`: `raise` ends the subscription with `Overflow`, and
        `drop_oldest` forgets events, which suits only those that the next one makes worthless.
        `on_gap` and `on_presence`: see `Subscription`.

        Raises:
            Refused: (`invalid`) that is no channel, or no position.
            ConnectionClosed: the client is closed.
        """
        _check_channel(channel)
        if since is not None and not (0 <= since.offset <= MAX_INTEGER and len(since.epoch) <= 64):
            raise Refused("invalid", f"{since} is no position: take one from an event or a subscription.")
        if queue < 1:
            raise ValueError("queue must be at least 1.")
        if self._lifecycle.end is not None:
            raise self._lifecycle.end
        sub = Subscription(
            channel,
            since=since,
            queue=queue,
            overflow=overflow,
            on_gap=on_gap,
            on_presence=on_presence,
            detach=self._engine.channels.detach,
        )
        self._engine.channels.attach(sub)
        return sub

    # Inside

    def _told(self) -> Connected:
        if self._engine.connected is None:
            raise ConnectionClosed(ABNORMAL, "Not connected yet: use `async with client`, or await client.connect().")
        return self._engine.connected

    def _changed(self, state: ClientState) -> None:
        for callback in list(self._on_state):
            try:
                callback(state)
            except Exception:
                log.exception("on_state failed")

    def _choose_key(self, key: str | KeyChoice | None) -> str | None:
        return f"{self.random.getrandbits(128):032x}" if isinstance(key, KeyChoice) else key

    def _encode(self, data: Any) -> Raw:
        return Raw(self.codec.encode(data))

    def _decode(self, form: Any, data: Raw) -> Any:
        return self.codec.decode_any(data) if form is Any else decode(self.codec, form, data)

    async def _ask(self, frame: Answerable, *, repeatable: bool, timeout: float | None) -> Reply | Presence:
        return await self._engine.ask(
            frame,
            repeatable=repeatable,
            timeout=self._timeout if timeout is None else timeout,
            timed=timeout is not None,
        )


def _wire_name(value: Request[Any] | Event) -> str:
    name = type(value).wire_name
    if not name:
        raise TypeError(
            f"{type(value).__name__} has no wire name: declare it with the app's decorator, "
            'or give the class `wire_name: ClassVar[str] = "noun.verb"`.'
        )
    return name


def _check_name(name: str) -> None:
    if len(name) > 64 or not NAME_RE.match(name):
        raise Refused("invalid", f"{name!r} is no name: write noun.verb in lower case, at most 64 characters.")


def _check_channel(channel: str) -> None:
    if not CHANNEL_RE.match(channel):
        raise Refused("invalid", f"{channel!r} is no channel: write namespace:name, as in chat:lobby.")
