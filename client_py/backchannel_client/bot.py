"""Bots: programs that listen wherever they are a member, and answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from backchannel_protocol import JSON, Codec, Event, Refused
from backchannel_protocol.frames import Gap, Position

from .backoff import Backoff
from .bot_event import BotEvent
from .client import Client
from .clock import sleep, within
from .errors import ConnectionClosed, Overflow
from .received import Received
from .subscription import Subscription
from .token import Token

__all__ = ["Bot"]

log = logging.getLogger("backchannel_client.bot")

EventT = TypeVar("EventT", bound=Event)
StartT = TypeVar("StartT", bound=Callable[[], Awaitable[None]])

Handler = Callable[[BotEvent[EventT]], Awaitable[None]]
CommandHandler = Callable[[BotEvent[Any], str], Awaitable[None]]

# How long handlers that are at work may go on when the bot stops.
_STOP_SECONDS: Final = 5.0

_MESSAGE: Final = "message.created"


class Bot:
    """Runs handlers for what happens on every channel that the bot's user is a member of.

    Events of one channel are handled one after another, in order; channels do not wait for each
    other. What the bot itself caused is not handled. An exception in a handler is logged, and the
    next event comes. `client` is an ordinary `Client`, for calls of any kind.

    Membership comes from the query `channel.list` and the events `channel.added` and
    `channel.removed` of the bot's own channel `user:<id>`.
    """

    def __init__(
        self,
        url: str = "",
        *,
        token: Token | None = None,
        codec: Codec = JSON,
        channels: Sequence[str] = (),
        client: Client | None = None,
    ) -> None:
        """Make a bot that connects to `url`, or lives on a `client` made by the app.

        `channels` are listened to whatever `channel.list` says.
        """
        if not url and client is None:
            raise ValueError("A bot needs a url, as in ws://127.0.0.1:8000/ws, or a client.")
        self.client = client or Client(url, token=token, codec=codec, name="backchannel-python-bot", open_timeout=None)
        self._always = frozenset(channels)
        self._handlers: list[tuple[str, Callable[[str, Received], Awaitable[None] | None]]] = []
        self._starters: list[Callable[[], Awaitable[None]]] = []
        self._listeners: dict[str, _Listener] = {}
        self._stopping = asyncio.Event()

    @property
    def user(self) -> str:
        """Who the bot is, as the server says."""
        return self.client.user

    # What the bot does

    def on(self, event: type[EventT]) -> Callable[[Handler[EventT]], Handler[EventT]]:
        """Handle events of a type: `@bot.on(MessageCreated)` over `async def hello(event)`.

        The type is a struct below `backchannel_protocol.Event` that has a `wire_name`.
        """
        name = event.wire_name
        if not name:
            raise TypeError(
                f'{event.__name__} has no wire name: give it `wire_name: ClassVar[str] = "noun.participle"`, '
                "or declare it with the app's decorator."
            )

        def register(handler: Handler[EventT]) -> Handler[EventT]:
            def run(identity: str, received: Received) -> Awaitable[None] | None:
                if received.name != name:
                    return None
                return handler(BotEvent(self.client, received, received.decode(event), identity))

            self._register(handler, run)
            return handler

        return register

    def command(self, name: str) -> Callable[[CommandHandler], CommandHandler]:
        """Handle messages that begin with `/name`: `async def roll(event, args: str)`.

        `args` is the text behind the command, without the spaces around it.
        """
        word = "/" + name.removeprefix("/")
        if len(word.split()) != 1 or word == "/":
            raise ValueError(f"{name!r} is no command: give one word, as in @bot.command('roll').")

        def register(handler: CommandHandler) -> CommandHandler:
            def run(identity: str, received: Received) -> Awaitable[None] | None:
                if received.name != _MESSAGE or not isinstance(received.data, dict):
                    return None
                text = received.data.get("text")
                if not isinstance(text, str):
                    return None
                first, *rest = text.split(maxsplit=1) or [""]
                if first != word:
                    return None
                event = BotEvent(self.client, received, received.data, identity)
                return handler(event, rest[0].strip() if rest else "")

            self._register(handler, run)
            return handler

        return register

    def on_start(self, function: StartT) -> StartT:
        """Run a function once, when the bot is connected and before it listens."""
        self._starters.append(function)
        return function

    # Its life

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM. The way to start a bot from a script.

        Raises what `serve` raises.
        """
        asyncio.run(self._run())

    def stop(self) -> None:
        """Make `serve` return: handlers at work may finish, no other is started."""
        self._stopping.set()

    async def serve(self) -> None:
        """Connect, listen and handle events until `stop` is called. Cancelling stops as well.

        Raises:
            ConnectionClosed: the server ended the bot's access for good.
            Refused: the server will not say what the bot is a member of.
        """
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._stopping.wait())
        closed = asyncio.create_task(self.client.wait_closed())
        tasks = (work, stop, closed)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            if closed.done() and not closed.result().asked_for:
                raise closed.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_listening()
            await self.client.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        # Where the loop knows no signals (Windows), Ctrl-C is a KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            for number in signals:
                loop.add_signal_handler(number, self.stop)
        try:
            await self.serve()
        finally:
            with contextlib.suppress(NotImplementedError):
                for number in signals:
                    loop.remove_signal_handler(number)

    async def _work(self) -> None:
        await self.client.connect()
        log.info("Connected as %s", self.user)
        for start in self._starters:
            await start()
        for channel in self._always:
            self._listen(channel)
        own = f"user:{self.user}"
        self._listen(own)

        async def resync(gap: Gap) -> None:
            await self._listen_where_joined()
            sub.dismiss_gap(gap)

        # Before the list is read: whoever adds the bot meanwhile is not missed.
        sub = self.client.subscribe(own, on_gap=resync)
        async with sub:
            await self._listen_where_joined()
            async for received in sub:
                if received.name == "channel.added":
                    self._listen(received.data["channel"])
                elif received.name == "channel.removed":
                    self._leave(received.data["channel"])

    # Listening

    async def _listen_where_joined(self) -> None:
        joined: set[str] = set()
        request: dict[str, Any] = {}
        while True:
            try:
                page = await self._ask_patiently("channel.list", request)
            except Refused as exc:
                if exc.code != "not_found":
                    raise
                log.info("This server has no channel.list: the bot hears the channels that it was given")
                break
            joined.update(info["channel"] for info in page["channels"] if info["joined"])
            if not page.get("next"):
                break
            request = {"cursor": page["next"]}
        for channel in self._listeners.keys() - joined - self._always - {f"user:{self.user}"}:
            self._leave(channel)
        for channel in sorted(joined):
            self._listen(channel)

    async def _ask_patiently(self, name: str, data: dict[str, Any]) -> Any:
        backoff = Backoff(self.client.random.random)
        while True:
            try:
                return await self.client.call(name, data)
            except Refused as exc:
                if not exc.retry:
                    raise
                log.warning("%s: %s; asking again", name, exc)
                await sleep(self.client.clock, (exc.retry_after or 0.0) + backoff.next())

    def _listen(self, channel: str) -> None:
        before = self._listeners.get(channel)
        if before is None or before.stopped:
            self._listeners[channel] = _Listener(self.client, channel, self._handle, before.task if before else None)

    def _leave(self, channel: str) -> None:
        listener = self._listeners.get(channel)
        if listener is not None:
            listener.stop()

    async def _stop_listening(self) -> None:
        for listener in self._listeners.values():
            listener.stop()
        tasks = [listener.task for listener in self._listeners.values()]
        if not tasks:
            return
        try:
            await within(self.client.clock, _STOP_SECONDS, asyncio.wait(tasks))
        except TimeoutError:
            log.warning("Handlers were cut off after %g s", _STOP_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # Handling

    def _register(
        self,
        handler: Callable[..., Awaitable[None]],
        run: Callable[[str, Received], Awaitable[None] | None],
    ) -> None:
        # The name of the function, because it must stay the same when the program starts again.
        name = getattr(handler, "__qualname__", type(handler).__qualname__)
        same = sum(1 for identity, _ in self._handlers if identity.partition("#")[0] == name)
        self._handlers.append((f"{name}#{same}" if same else name, run))

    async def _handle(self, received: Received) -> None:
        if received.user == self.user:
            return
        for identity, run in self._handlers:
            try:
                work = run(identity, received)
                if work is not None:
                    await work
            except Exception:
                log.exception("The handler %s failed on %r", identity, received)


class _Listener:
    """One channel's task: takes its events and has them handled in order."""

    def __init__(
        self,
        client: Client,
        channel: str,
        handle: Callable[[Received], Awaitable[None]],
        after: asyncio.Task[None] | None,
    ) -> None:
        self.stopped = False
        self._client = client
        self._channel = channel
        self._handle = handle
        self._sub = self._subscribe(None)
        self.task = asyncio.create_task(self._run(after))

    def stop(self) -> None:
        """Take no other event; the one at work is finished."""
        self.stopped = True
        self._sub.close()

    def _subscribe(self, since: Position | None) -> Subscription:
        def missed(gap: Gap) -> None:
            log.warning("Events up to %d of %s were missed (%s)", gap.to, self._channel, gap.reason)
            sub.dismiss_gap(gap)

        sub = self._client.subscribe(self._channel, since=since, on_gap=missed)
        return sub

    async def _run(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            # The bot left and came back while an event was being handled.
            await asyncio.wait([after])
        while not self.stopped:
            try:
                async for received in self._sub:
                    await self._handle(received)
            except Overflow:
                # Handlers are slower than events for a while: the log keeps what the queue cannot.
                with contextlib.suppress(ConnectionClosed):
                    self._sub = self._subscribe(self._sub.position)
                    continue
            except Refused as exc:
                log.warning("Not listening to %s: %s", self._channel, exc)
            except ConnectionClosed as exc:
                log.info("Listening to %s ends: %s", self._channel, exc)
            self.stopped = True
