"""Bots: programs that listen wherever they are a member, and answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from backchannel_protocol import JSON, Codec, Event, Refused
from backchannel_protocol.frames import Gap

from .backoff import Backoff
from .bot_event import BotEvent
from .client import Client
from .clock import sleep, within
from .commands import Commands
from .errors import ConnectionClosed
from .listener import Listener
from .received import Received
from .state_file import StateFile
from .token import Token

__all__ = ["Bot"]

log = logging.getLogger("backchannel_client.bot")

EventT = TypeVar("EventT", bound=Event)
StartT = TypeVar("StartT", bound=Callable[[], Awaitable[None]])
GapT = TypeVar("GapT", bound=Callable[[Gap], Awaitable[None]])
CommandT = TypeVar("CommandT", bound=Callable[..., Awaitable[None]])

Handler = Callable[[BotEvent[EventT]], Awaitable[None]]

# How long handlers that are at work may go on when the bot stops.
_STOP_SECONDS: Final = 5.0

_MESSAGE: Final = "message.created"


class Bot:
    """Runs handlers for what happens on every channel that the bot's user is a member of.

    Events of one channel are handled one after another, in order; channels do not wait for each
    other, as far as `at_once` allows. What the bot itself caused is not handled. An exception in a
    handler is logged, and the next event comes. `client` is an ordinary `Client`, for calls of any
    kind.

    With `state`, a file, the bot remembers how far it came: an event counts as handled once its
    handlers have returned, which is on disk before the channel's next one. A bot that starts again
    handles what it missed; an event that it was killed at is handled once more, and `reply` then
    has the same key, so that there is one answer.

    Membership comes from the query `channel.list` and the events `channel.added` and
    `channel.removed` of the bot's own channel `user:<id>`.
    """

    def __init__(
        self,
        url: str = "",
        *,
        token: Token | None = None,
        codec: Codec = JSON,
        join: Sequence[str] = (),
        channels: Sequence[str] = (),
        state: str | os.PathLike[str] | StateFile | None = None,
        at_once: int = 64,
        queue: int = 1000,
        help_command: str | None = "help",
        client: Client | None = None,
    ) -> None:
        """Make a bot that connects to `url`, or lives on a `client` made by the app.

        Of the chat channels in `join` it becomes a member first; `channels` are listened to whatever
        `channel.list` says. At most `at_once` channels have an
        event handled at the same time. `queue` is how many events of a channel may wait here; past
        that they wait in the channel's log, and are asked for again. `help_command` is the command
        that tells what the bot can do; None: there is none.
        """
        if not url and client is None:
            raise ValueError("A bot needs a url, as in ws://127.0.0.1:8000/ws, or a client.")
        if at_once < 1 or queue < 1:
            raise ValueError("at_once and queue must be at least 1.")
        self.client = client or Client(url, token=token, codec=codec, name="backchannel-python-bot", open_timeout=None)
        self._join = tuple(join)
        self._always = frozenset(channels)
        self._state = StateFile(state) if isinstance(state, str | os.PathLike) else state
        self._at_once = asyncio.Semaphore(at_once)
        self._queue = queue
        self._handlers: list[tuple[str, Callable[[str, Received], Awaitable[None] | None]]] = []
        self._commands = Commands(help_command)
        self._identities: set[str] = set()
        self._starters: list[Callable[[], Awaitable[None]]] = []
        self._gap_handlers: list[Callable[[Gap], Awaitable[None]]] = []
        self._listeners: dict[str, Listener] = {}
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None

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

            self._handlers.append((self._identity(handler), run))
            return handler

        return register

    def command(self, name: str) -> Callable[[CommandT], CommandT]:
        """Handle messages that begin with `/name`, with arguments as the handler's signature declares them.

        `async def roll(event, dice: str = "1d6", times: Annotated[int, Meta(ge=1, le=9)] = 1)` takes a
        word per parameter, and quotation marks keep words together. Types are str, int, float, bool,
        Decimal, a date, a Literal, an Enum, also with `| None` or Annotated with bounds and a
        description. `*words: str` takes all further words, `*, text: str` all further text as it
        was written. Instead, a single struct may declare the arguments by its fields. Who writes
        something else is told what to write; `/help` shows the docstring.

        Raises:
            TypeError: a parameter cannot be read from words; the message tells the cure.
            ValueError: the name is none, or is taken.
        """

        def register(handler: CommandT) -> CommandT:
            self._commands.add(name, self._identity(handler), handler)
            return handler

        self._commands.check(name)
        return register

    def on_gap(self, function: GapT) -> GapT:
        """Tell a function of events that the server does not have any more: `async def missed(gap: Gap)`.

        It is called at that place in the channel's order; when it returns, the bot goes on behind the
        gap. Without one, gaps are logged.
        """
        self._gap_handlers.append(function)
        return function

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
            Refused: the server will not let the bot join, or not say what it is a member of.
            StateError: the state file is another bot's, is in use, or cannot be written.
        """
        if self._state is not None:
            await self._state.open()
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
            await self._end(tasks)
        if self._failure is not None:
            raise self._failure

    async def _end(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Let go of everything, whatever happens meanwhile."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._stop_listening()
        finally:
            try:
                await self.client.close()
            finally:
                if self._state is not None:
                    await self._state.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        # Where the loop knows no signals (Windows), Ctrl-C is a KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):  # what asyncio raises there
            for number in signals:
                loop.add_signal_handler(number, self.stop)
        try:
            await self.serve()
        finally:
            with contextlib.suppress(NotImplementedError):  # Windows, as above
                for number in signals:
                    loop.remove_signal_handler(number)

    async def _work(self) -> None:
        await self.client.connect()
        log.info("Connected as %s", self.user)
        if self._state is not None:
            await self._state.claim(self.user, self.client.url)
        for start in self._starters:
            await start()
        for channel in self._join:
            await self._ask_patiently("channel.join", {"channel": channel})
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
                return
            joined.update(info["channel"] for info in page["channels"] if info["joined"])
            if not page.get("next"):
                break
            request = {"cursor": page["next"]}
        kept = joined | self._always | {f"user:{self.user}"}
        for channel in self._listeners.keys() - kept:
            self._leave(channel)
        if self._state is not None:
            # The bot was taken out while it did not run.
            for channel in self._state.positions.keys() - kept:
                self._state.note(channel, None)
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
        if before is not None and not before.stopped:
            return
        listener = self._listeners[channel] = Listener(
            self.client,
            channel,
            queue=self._queue,
            handle=self._handle,
            missed=self._tell_gap,
            state=self._state,
            after=before.task if before else None,
        )
        listener.task.add_done_callback(self._listener_ended)

    def _leave(self, channel: str) -> None:
        listener = self._listeners.get(channel)
        if listener is not None and not listener.stopped:
            listener.stop(forget=True)

    def _listener_ended(self, task: asyncio.Task[None]) -> None:
        # A listener tells what it can live with; this is a state file that cannot be written.
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
            self.stop()

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

    def _identity(self, handler: Callable[..., Awaitable[None]]) -> str:
        # The name of the function, because it must stay the same when the program starts again.
        name = getattr(handler, "__qualname__", type(handler).__qualname__)
        same = sum(1 for identity in self._identities if identity.partition("#")[0] == name)
        identity = f"{name}#{same}" if same else name
        self._identities.add(identity)
        return identity

    async def _handle(self, received: Received) -> bool:
        """Run the handlers of an event; returns whether there were any."""
        if received.user == self.user:
            return False
        async with self._at_once:
            handled = False
            for identity, run in self._handlers:
                handled |= await self._guarded(identity, received, run)
            return handled | await self._guarded("a command", received, self._run_command)

    async def _guarded(
        self, identity: str, received: Received, run: Callable[[str, Received], Awaitable[None] | None]
    ) -> bool:
        try:
            work = run(identity, received)
            if work is None:
                return False
            await work
        except Exception as exc:
            if isinstance(exc, ConnectionClosed) and self.client.state == "disconnected":
                # The event was not handled: it is for the bot that starts next.
                raise
            log.exception("The handler %s failed on %r", identity, received)
        return True

    def _run_command(self, _identity: str, received: Received) -> Awaitable[None] | None:
        if received.name != _MESSAGE or not isinstance(received.data, dict):
            return None
        text = received.data.get("text")
        found = self._commands.find(text) if isinstance(text, str) else None
        if found is None:
            return None
        command, rest = found
        return command.run(BotEvent(self.client, received, received.data, command.identity), rest)

    async def _tell_gap(self, gap: Gap) -> None:
        log.warning("Events up to %d of %s were missed (%s)", gap.to, gap.channel, gap.reason)
        async with self._at_once:
            for function in self._gap_handlers:
                try:
                    await function(gap)
                except Exception:
                    log.exception("on_gap failed on %r", gap)
