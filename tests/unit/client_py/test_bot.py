"""Bots: where they listen, in which order they answer, and that they answer once.

One file, though long: everything happens on one stage, a bot before a scripted server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from backchannel_client import Bot, BotEvent, Client, ConnectionClosed, Event, Position, Refused
from backchannel_protocol import frames

if TYPE_CHECKING:
    from tests.unit.client_py.conftest import FakeClock, Peer, Server


class MessageCreated(Event):
    wire_name: ClassVar[str] = "message.created"
    text: str


class Stage:
    """A bot that serves, and the peer that plays its server."""

    def __init__(self, bot: Bot, server: Server, clock: FakeClock) -> None:
        self.bot = bot
        self.server = server
        self.clock = clock
        self.peer: Peer
        self.serving: asyncio.Task[None] | None = None

    async def start(self, *channels: str) -> None:
        """Bring the bot, as user `bot`, to listen to these channels."""
        self.serving = asyncio.create_task(self.bot.serve())
        self.peer = await self.server.next()
        await self.peer.greet(user="bot")
        self.peer.subscribed("user:bot", 0)
        await self.list_channels(*channels)
        for _ in channels:
            request = await self.peer.expect(frames.Subscribe)
            self.peer.subscribed(request.channel, 0, id=request.id)

    async def list_channels(self, *channels: str) -> None:
        """Answer the `channel.list` that comes next, and the subscribe to `user:bot` before it."""
        request = await self.peer.receive()
        if isinstance(request, frames.Subscribe):
            assert request.channel == "user:bot"
            self.peer.subscribed("user:bot", 0, id=request.id)
            request = await self.peer.receive()
        assert isinstance(request, frames.Call)
        assert request.name == "channel.list"
        infos = [{"channel": channel, "joined": True} for channel in channels]
        self.peer.reply(request, {"channels": [*infos, {"channel": "chat:other", "joined": False}]})

    async def stop(self) -> None:
        """Let the bot finish."""
        self.bot.stop()
        assert self.serving is not None
        async with asyncio.timeout(5):
            await self.serving

    def say(self, channel: str, offset: int, text: str, user: str = "alice") -> None:
        self.peer.event(channel, offset, name="message.created", data={"text": text}, user=user)

    async def sent(self) -> tuple[str, str, frames.Call]:
        """The bot's next message: channel, text and frame; it is answered."""
        call = await self.peer.expect(frames.Call)
        assert call.name == "message.send"
        data = self.peer.codec.decode_any(call.data)
        self.peer.reply(call, {"id": "m"})
        return data["channel"], data["text"], call


@pytest.fixture
async def stage(make_client: Callable[..., Client], server: Server, clock: FakeClock) -> AsyncIterator[Stage]:
    bot = Bot(client=make_client(open_timeout=None))
    stage = Stage(bot, server, clock)
    yield stage
    if stage.serving is not None:
        bot.stop()
        async with asyncio.timeout(5):
            await asyncio.wait([stage.serving])


def echo(bot: Bot) -> None:
    @bot.on(MessageCreated)
    async def answer(event: BotEvent[MessageCreated]) -> None:
        await event.reply(f"echo {event.data.text}")


async def test_a_typed_handler_gets_the_event_and_answers(stage: Stage) -> None:
    """`event.data` is the struct; the reply goes to the event's channel with a key."""
    seen: list[BotEvent[MessageCreated]] = []

    @stage.bot.on(MessageCreated)
    async def hello(event: BotEvent[MessageCreated]) -> None:
        seen.append(event)
        await event.reply("hi")

    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "hello")
    channel, text, call = await stage.sent()
    assert (channel, text) == ("chat:lobby", "hi")
    assert call.key is not None
    assert 8 <= len(call.key) <= 64
    (event,) = seen
    assert event.epoch == "e1"
    assert (event.data, event.name, event.channel, event.offset, event.user, event.key, event.time) == (
        MessageCreated("hello"),
        "message.created",
        "chat:lobby",
        1,
        "alice",
        None,
        1,
    )


async def test_every_page_of_channels_is_listened_to(stage: Stage) -> None:
    """`channel.list` is read to its end, and only where the bot has joined."""
    stage.serving = asyncio.create_task(stage.bot.serve())
    stage.peer = await stage.server.next()
    await stage.peer.greet(user="bot")
    await stage.peer.accept("user:bot", 0)
    for data, page in (
        ({}, {"channels": [{"channel": "chat:a", "joined": True}], "next": "c1"}),
        ({"cursor": "c1"}, {"channels": [{"channel": "chat:b", "joined": True}]}),
    ):
        call = await stage.peer.expect(frames.Call)
        assert stage.peer.codec.decode_any(call.data) == data
        stage.peer.reply(call, page)
    assert [(await stage.peer.expect(frames.Subscribe)).channel for _ in range(2)] == ["chat:a", "chat:b"]


async def test_a_bot_is_deaf_to_itself(stage: Stage) -> None:
    """Its own messages come back to it and are not handled."""
    echo(stage.bot)
    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "mine", user="bot")
    stage.say("chat:lobby", 2, "theirs")
    assert (await stage.sent())[1] == "echo theirs"


async def test_a_repeated_event_has_the_same_key(
    make_client: Callable[..., Client], server: Server, clock: FakeClock
) -> None:
    """A bot that starts anew and meets an event again cannot answer it twice; other events differ."""
    keys: list[list[str | None]] = []
    for _ in range(2):
        bot = Bot(client=make_client())

        @bot.on(MessageCreated)
        async def twice(event: BotEvent[MessageCreated]) -> None:
            await event.reply("one")
            await event.reply("two")

        stage = Stage(bot, server, clock)
        await stage.start("chat:lobby")
        stage.say("chat:lobby", 1, "a")
        stage.say("chat:lobby", 2, "b")
        keys.append([(await stage.sent())[2].key for _ in range(4)])
        bot.stop()
        assert stage.serving is not None
        await stage.serving
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 4


async def test_two_handlers_of_one_name_have_keys_of_their_own(stage: Stage) -> None:
    """Otherwise the second answer would be taken for a repetition of the first."""
    echo(stage.bot)
    echo(stage.bot)
    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "a")
    assert (await stage.sent())[2].key != (await stage.sent())[2].key


async def test_an_event_answered_before_is_left_as_it_is(stage: Stage) -> None:
    """The key is known with another text (dice fall differently the second time): no error, None."""
    results: list[Any] = []

    @stage.bot.on(MessageCreated)
    async def answer(event: BotEvent[MessageCreated]) -> None:
        results.append(await event.reply("4"))
        await event.reply("done")

    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "roll")
    stage.peer.error(await stage.peer.expect(frames.Call), "conflict")
    await stage.sent()
    assert results == [None]


async def test_a_busy_server_gets_the_answer_again(stage: Stage) -> None:
    """`rate_limited` and `unavailable` are waited out, with the same key."""
    echo(stage.bot)
    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "a")
    first = await stage.peer.expect(frames.Call)
    stage.peer.error(first, "rate_limited", retry=True, retry_after=2.0)
    await stage.clock.elapse(2.25)
    assert (await stage.sent())[2].key == first.key


async def test_a_reply_to_an_ephemeral_event_has_a_random_key(stage: Stage) -> None:
    """It has no offset, so there is nothing to derive a key from."""
    echo(stage.bot)
    await stage.start("chat:lobby")
    stage.peer.event("chat:lobby", None, name="message.created", data={"text": "a"})
    assert len((await stage.sent())[2].key or "") == 32


async def test_commands_get_their_arguments(stage: Stage) -> None:
    """`/roll` at the beginning, as a word of its own; who writes something else is told what to write, once."""
    calls: list[int] = []

    @stage.bot.command("roll")
    async def roll(event: BotEvent[Any], times: int = 1) -> None:
        calls.append(times)
        await event.reply(event.data["text"])

    await stage.start("chat:lobby")
    texts = ["/roll", "/rolling", "roll", "  /roll  2  ", "/roll six", "", "/other"]
    for offset, text in enumerate(texts, start=1):
        stage.say("chat:lobby", offset, text)
    for _ in range(2):
        await stage.sent()
    _, told, call = await stage.sent()
    assert told == "times: write a whole number, not “six”. Usage: /roll [times]"
    assert call.key is not None
    assert len(call.key) == 64
    assert calls == [1, 2]


async def test_one_channel_is_handled_in_order_and_does_not_hold_up_another(stage: Stage) -> None:
    """Per-channel order, channels at the same time."""
    go_on = asyncio.Event()
    order: list[tuple[str, int | None]] = []

    @stage.bot.on(MessageCreated)
    async def slow(event: BotEvent[MessageCreated]) -> None:
        if event.data.text == "wait":
            await go_on.wait()
        order.append((event.channel, event.offset))
        await event.reply("done")

    await stage.start("chat:a", "chat:b")
    stage.say("chat:a", 1, "wait")
    stage.say("chat:a", 2, "x")
    stage.say("chat:b", 1, "x")
    assert (await stage.sent())[0] == "chat:b"
    go_on.set()
    await stage.sent()
    await stage.sent()
    assert order == [("chat:b", 1), ("chat:a", 1), ("chat:a", 2)]


async def test_so_many_channels_are_handled_at_once(
    make_client: Callable[..., Client], server: Server, clock: FakeClock
) -> None:
    """`at_once` bounds it: the third channel's event begins when one of two handlers is done."""
    bot = Bot(client=make_client(), at_once=2)
    stage = Stage(bot, server, clock)
    at_work: set[str] = set()
    begun: asyncio.Queue[str] = asyncio.Queue()
    go_on = {f"chat:{letter}": asyncio.Event() for letter in "abc"}

    @bot.on(MessageCreated)
    async def slow(event: BotEvent[MessageCreated]) -> None:
        at_work.add(event.channel)
        assert len(at_work) <= 2
        begun.put_nowait(event.channel)
        await go_on[event.channel].wait()
        at_work.remove(event.channel)
        await event.reply("done")

    await stage.start(*go_on)
    for channel in go_on:
        stage.say(channel, 1, "x")
    assert {await begun.get(), await begun.get()} == {"chat:a", "chat:b"}
    stage.peer.send(frames.Ping())
    await stage.peer.expect(frames.Pong)
    assert begun.empty()
    go_on["chat:b"].set()
    assert (await stage.sent())[0] == "chat:b"
    assert await begun.get() == "chat:c"
    for event in go_on.values():
        event.set()
    await stage.sent()
    await stage.sent()
    await stage.stop()


async def test_a_failing_handler_is_logged_and_the_next_event_comes(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in a handler, or data of another shape, stops nothing."""

    @stage.bot.on(MessageCreated)
    async def fragile(event: BotEvent[MessageCreated]) -> None:
        raise RuntimeError("broken")

    echo(stage.bot)
    await stage.start("chat:lobby")
    with caplog.at_level(logging.ERROR, logger="backchannel_client.bot"):
        stage.peer.event("chat:lobby", 1, name="message.created", data={"text": 5})
        stage.say("chat:lobby", 2, "x")
        assert (await stage.sent())[1] == "echo x"
    assert "broken" in caplog.text
    assert "fragile" in caplog.text


async def test_membership_changes_start_and_stop_listening(stage: Stage) -> None:
    """`channel.added` and `channel.removed` on the bot's own channel."""
    echo(stage.bot)
    await stage.start()
    stage.peer.event("user:bot", 1, name="channel.added", data={"channel": "chat:new"})
    await stage.peer.accept("chat:new", 0)
    stage.say("chat:new", 1, "x")
    assert (await stage.sent())[0] == "chat:new"
    stage.peer.event("user:bot", 2, name="channel.removed", data={"channel": "chat:new"})
    assert (await stage.peer.expect(frames.Unsubscribe)).channel == "chat:new"
    stage.peer.event("user:bot", 3, name="channel.added", data={"channel": "chat:new"})
    await stage.peer.accept("chat:new", 1)
    stage.say("chat:new", 2, "y")
    assert (await stage.sent())[1] == "echo y"


async def test_leaving_and_coming_back_keeps_the_order(stage: Stage) -> None:
    """An event of the second membership waits for the handler that is still at one of the first."""
    started, go_on = asyncio.Event(), asyncio.Event()
    order: list[int | None] = []

    @stage.bot.on(MessageCreated)
    async def slow(event: BotEvent[MessageCreated]) -> None:
        started.set()
        if event.offset == 1:
            await go_on.wait()
        order.append(event.offset)
        await event.reply("done")

    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "x")
    await started.wait()
    stage.peer.event("user:bot", 1, name="channel.removed", data={"channel": "chat:lobby"})
    await stage.peer.expect(frames.Unsubscribe)
    stage.peer.event("user:bot", 2, name="channel.added", data={"channel": "chat:lobby"})
    await stage.peer.accept("chat:lobby", 1)
    stage.say("chat:lobby", 2, "y")
    stage.peer.send(frames.Ping())
    await stage.peer.expect(frames.Pong)
    go_on.set()
    await stage.sent()
    await stage.sent()
    assert order == [1, 2]


async def test_a_gap_in_membership_reads_the_list_again(stage: Stage) -> None:
    """The bot leaves where it is no member any more, joins where it is new, and the gap is dismissed."""
    await stage.start("chat:gone", "chat:kept")
    stage.peer.gap("user:bot", 0, 4)
    await stage.list_channels("chat:kept", "chat:new")
    assert (await stage.peer.expect(frames.Unsubscribe)).channel == "chat:gone"
    await stage.peer.accept("chat:new", 0)
    stage.peer.drop()
    await stage.clock.elapse(0.25)
    stage.peer = await stage.server.next()
    connect = await stage.peer.greet(user="bot")
    assert connect.resume is not None
    assert connect.resume["user:bot"] == Position("e1", 4)
    assert connect.resume.keys() == {"user:bot", "chat:kept", "chat:new"}


async def test_the_bot_goes_on_after_a_reconnect(stage: Stage) -> None:
    """What happened meanwhile is recovered and answered."""
    echo(stage.bot)
    await stage.start("chat:lobby")
    stage.peer.drop()
    await stage.clock.elapse(0.25)
    stage.peer = await stage.server.next()
    await stage.peer.greet(user="bot")
    stage.peer.subscribed("chat:lobby", 1, verdict="recovered")
    stage.say("chat:lobby", 1, "missed")
    assert (await stage.sent())[1] == "echo missed"


async def test_more_events_than_the_queue_holds_are_all_handled(stage: Stage) -> None:
    """A slow handler: the bot subscribes again from the last event that it took."""
    go_on = asyncio.Event()
    handled: list[int | None] = []

    @stage.bot.on(MessageCreated)
    async def slow(event: BotEvent[MessageCreated]) -> None:
        await go_on.wait()
        handled.append(event.offset)
        if event.offset == 1003:
            await event.reply("done")

    await stage.start("chat:lobby")
    for offset in range(1, 1003):
        stage.say("chat:lobby", offset, "x")
    await stage.peer.expect(frames.Unsubscribe)
    go_on.set()
    request = await stage.peer.accept("chat:lobby", 1003, verdict="recovered")
    assert request.since is not None
    for offset in range(request.since.offset + 1, 1004):
        stage.say("chat:lobby", offset, "x")
    await stage.sent()
    assert handled == list(range(1, 1004))


async def test_start_functions_run_once_before_listening(stage: Stage) -> None:
    """For instance to join a channel."""

    @stage.bot.on_start
    async def join() -> None:
        await stage.bot.client.call("channel.join", {"channel": "chat:lobby"})

    stage.serving = asyncio.create_task(stage.bot.serve())
    stage.peer = await stage.server.next()
    await stage.peer.greet(user="bot")
    call = await stage.peer.expect(frames.Call)
    assert call.name == "channel.join"
    stage.peer.reply(call, {})
    await stage.list_channels()


async def test_an_app_without_channel_list(
    make_client: Callable[..., Client], server: Server, clock: FakeClock
) -> None:
    """The bot hears the channels that it was given."""
    stage = Stage(Bot(client=make_client(), channels=["jobs:all"]), server, clock)
    stage.serving = asyncio.create_task(stage.bot.serve())
    peer = await server.next()
    await peer.greet(user="bot")
    for channel in ("jobs:all", "user:bot"):
        await peer.accept(channel, 0)
    peer.error(await peer.expect(frames.Call), "not_found")
    peer.send(frames.Ping())
    await peer.expect(frames.Pong)
    stage.bot.stop()
    await stage.serving


async def test_stopping_lets_a_handler_finish(stage: Stage) -> None:
    """Its reply is still sent; then the connection is closed."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @stage.bot.on(MessageCreated)
    async def slow(event: BotEvent[MessageCreated]) -> None:
        started.set()
        await go_on.wait()
        await event.reply("done")

    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "x")
    stage.say("chat:lobby", 2, "never handled")
    await started.wait()
    stage.bot.stop()
    assert {(await stage.peer.expect(frames.Unsubscribe)).channel} == {"chat:lobby"}
    go_on.set()
    assert (await stage.sent())[1] == "done"
    assert stage.serving is not None
    await stage.serving
    assert await stage.peer.closed() == 1000


async def test_a_handler_that_never_ends_is_cut_off(stage: Stage) -> None:
    """Stopping takes 5 s at most."""
    started = asyncio.Event()

    @stage.bot.on(MessageCreated)
    async def stuck(event: BotEvent[MessageCreated]) -> None:
        started.set()
        await asyncio.Event().wait()

    await stage.start("chat:lobby")
    stage.say("chat:lobby", 1, "x")
    await started.wait()
    stage.bot.stop()
    await stage.clock.elapse(5.0)
    assert stage.serving is not None
    await stage.serving


async def test_a_final_end_is_raised(stage: Stage) -> None:
    """A bot whose access was taken away must not look as if it ran."""
    await stage.start("chat:lobby")
    stage.peer.drop(4501, "Revoked.")
    assert stage.serving is not None
    with pytest.raises(ConnectionClosed, match="Revoked"):
        await stage.serving


async def test_a_bot_that_may_not_list_says_so(stage: Stage) -> None:
    """Any refusal but `not_found` ends the bot."""
    stage.serving = asyncio.create_task(stage.bot.serve())
    peer = await stage.server.next()
    await peer.greet(user="bot")
    await peer.accept("user:bot", 0)
    peer.error(await peer.expect(frames.Call), "forbidden")
    with pytest.raises(Refused):
        await stage.serving


def test_wrong_registrations_fail_at_once() -> None:
    """With a message that tells the cure."""
    bot = Bot("ws://server/ws")
    with pytest.raises(TypeError, match="wire_name"):
        bot.on(Event)
    with pytest.raises(ValueError, match="one word"):
        bot.command("two words")
    with pytest.raises(ValueError, match="url"):
        Bot()
    with pytest.raises(ValueError, match="at least 1"):
        Bot("ws://server/ws", at_once=0)

    async def hello(event: BotEvent[Any], names: dict[str, str]) -> None: ...

    with pytest.raises(TypeError, match=r"names of .*hello cannot be read from words"):
        bot.command("hello")(hello)


async def test_handlers_stay_callable(stage: Stage) -> None:
    """A decorator gives back what it was given, for tests of the app's own."""

    async def handler(event: BotEvent[MessageCreated]) -> None: ...

    async def starter() -> None: ...

    async def commanded(event: BotEvent[Any], args: str) -> None: ...

    async def missed(gap: frames.Gap) -> None: ...

    handlers: list[Callable[..., Awaitable[None]]] = [
        stage.bot.on(MessageCreated)(handler),
        stage.bot.on_start(starter),
        stage.bot.command("x")(commanded),
        stage.bot.on_gap(missed),
    ]
    assert handlers == [handler, starter, commanded, missed]
