"""Bots that remember: what is on disk when, what a restarted bot asks for, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from backchannel_client import Bot, BotEvent, Client, ConnectionClosed, Event, Gap, Position, StateError, StateFile
from backchannel_protocol import frames

if TYPE_CHECKING:
    from tests.unit.client_py.conftest import FakeClock, Peer, Server


class MessageCreated(Event):
    wire_name: ClassVar[str] = "message.created"
    text: str


class Life:
    """One life of a bot with a state file, from start to end, and the peer that plays its server."""

    def __init__(self, bot: Bot, server: Server, clock: FakeClock) -> None:
        self.bot = bot
        self.clock = clock
        self.server = server
        self.peer: Peer
        self.serving: asyncio.Task[None]
        self.gaps: list[Gap] = []

        @bot.on(MessageCreated)
        async def echo(event: BotEvent[MessageCreated]) -> None:
            if event.data.text == "fail":
                raise RuntimeError("broken")
            if event.data.text != "ignore":
                await event.reply(event.data.text)

        @bot.on_gap
        async def missed(gap: Gap) -> None:
            self.gaps.append(gap)

    async def connect(self, user: str = "bot") -> None:
        self.serving = asyncio.create_task(self.bot.serve())
        self.peer = await self.server.next()
        await self.peer.greet(user=user)

    async def start(self, *channels: str) -> dict[str, Position | None]:
        """Bring it to listen where it is a member; returns from where it asks for each channel's events."""
        await self.connect()
        own = await self.peer.expect(frames.Subscribe)
        assert own.channel == "user:bot"
        self.peer.subscribed("user:bot", 0, id=own.id, verdict="recovered" if own.since else "new")
        call = await self.peer.expect(frames.Call)
        self.peer.reply(call, {"channels": [{"channel": channel, "joined": True} for channel in channels]})
        since: dict[str, Position | None] = {}
        for _ in channels:
            request = await self.peer.expect(frames.Subscribe)
            since[request.channel] = request.since
            self.peer.subscribed(request.channel, 9, id=request.id, verdict="recovered" if request.since else "new")
        return since

    def say(self, offset: int, text: str, *, channel: str = "chat:lobby", user: str = "alice") -> None:
        self.peer.event(channel, offset, name="message.created", data={"text": text}, user=user)

    async def asked(self) -> tuple[str, str | None, frames.Call]:
        """The bot's next message, not answered yet: its text, its key, its frame."""
        call = await self.peer.expect(frames.Call)
        return self.peer.codec.decode_any(call.data)["text"], call.key, call

    async def answer(self, text: str) -> str | None:
        """Take the bot's next message, which must have this text; returns its key."""
        said, key, call = await self.asked()
        assert said == text
        self.peer.reply(call, {"id": "m"})
        return key

    async def stop(self) -> None:
        self.bot.stop()
        async with asyncio.timeout(5):
            await self.serving

    async def crash(self) -> None:
        """End at once, without a chance to finish anything; the state file is as it is."""
        self.serving.cancel()
        await self.clock.armed(5.0)  # what is at work gets no time
        self.clock.advance(5.0)
        async with asyncio.timeout(5):
            await asyncio.wait([self.serving])


@pytest.fixture
async def live(
    make_client: Callable[..., Client], server: Server, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Callable[..., Life]]:
    """Makes lives of the same bot."""
    lives: list[Life] = []

    def make(**options: Any) -> Life:
        lives.append(Life(Bot(client=make_client(), state=tmp_path / "bot.state", **options), server, clock))
        return lives[-1]

    yield make
    for life in lives:
        life.bot.stop()
        async with asyncio.timeout(5):
            await asyncio.wait([life.serving])


async def positions(tmp_path: Path) -> dict[str, Position]:
    state = StateFile(tmp_path / "bot.state")
    await state.open()
    found = dict(state.positions)
    await state.close()
    return found


async def test_a_restarted_bot_asks_for_what_it_missed(live: Callable[..., Life]) -> None:
    """From behind the last event that was answered; where it was not before, from now."""
    life = live()
    assert await life.start("chat:lobby") == {"chat:lobby": None}
    life.say(10, "a")
    life.say(11, "b")
    await life.answer("a")
    await life.answer("b")
    await life.stop()
    life = live()
    assert await life.start("chat:lobby", "chat:new") == {"chat:lobby": Position("e1", 11), "chat:new": None}
    life.say(12, "c")
    await life.answer("c")


async def test_a_bot_that_has_heard_nothing_misses_nothing_either(live: Callable[..., Life]) -> None:
    """Its place is on disk from the first verdict on."""
    life = live()
    await life.start("chat:lobby", "chat:quiet")
    life.say(10, "a")
    await life.answer("a")
    await life.stop()
    assert await live().start("chat:lobby", "chat:quiet") == {
        "chat:lobby": Position("e1", 10),
        "chat:quiet": Position("e1", 9),
    }


async def test_an_event_counts_once_its_answer_is_acknowledged(live: Callable[..., Life]) -> None:
    """A bot that ends between sending and the reply handles the event again, with the same key: one effect."""
    life = live()
    await life.start("chat:lobby")
    life.say(10, "a")
    _, key, _ = await life.asked()
    await life.crash()
    life = live()
    assert await life.start("chat:lobby") == {"chat:lobby": Position("e1", 9)}
    life.say(10, "a")
    assert await life.answer("a") == key


async def test_the_next_event_waits_until_the_position_is_on_disk(
    live: Callable[..., Life], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So at most one event of a channel is ever handled a second time."""
    order: list[str] = []
    save = StateFile.save

    async def watched(self: StateFile, channel: str, position: Position) -> None:
        await save(self, channel, position)
        order.append(f"saved {position.offset}")

    monkeypatch.setattr(StateFile, "save", watched)
    life = live()
    await life.start("chat:lobby")
    life.say(10, "a")
    life.say(11, "b")
    for text in ("a", "b"):
        await life.answer(text)
        order.append(f"answered {text}")
    await life.stop()
    assert order[-4:] == ["answered a", "saved 10", "answered b", "saved 11"]


async def test_events_without_a_handler_move_the_position_too(live: Callable[..., Life], tmp_path: Path) -> None:
    """The bot's own, others' that it ignores, and those whose handler failed are not met again."""
    life = live()
    await life.start("chat:lobby")
    life.say(10, "mine", user="bot")
    life.peer.event("chat:lobby", 11, name="member.joined")
    life.say(12, "ignore")
    life.say(13, "fail")
    life.say(14, "a")
    await life.answer("a")
    await life.stop()
    assert (await positions(tmp_path))["chat:lobby"] == Position("e1", 14)


async def test_a_gap_is_told_and_the_position_moves_on(live: Callable[..., Life], tmp_path: Path) -> None:
    """In its place among the events; a restarted bot is not told again."""
    life = live()
    await life.start("chat:lobby")
    life.say(10, "a")
    life.peer.gap("chat:lobby", 10, 15, reason="trimmed")
    life.say(16, "b")
    await life.answer("a")
    await life.answer("b")
    assert [(gap.from_, gap.to) for gap in life.gaps] == [(10, 15)]
    life.peer.gap("chat:lobby", 0, 3, reason="reset", epoch="e2")
    life.say(4, "c")
    key = await life.answer("c")
    await life.stop()
    assert (life.gaps[-1].reason, (await positions(tmp_path))["chat:lobby"]) == ("reset", Position("e2", 4))
    assert key is not None


async def test_a_gap_at_the_start(live: Callable[..., Life], tmp_path: Path) -> None:
    """What was missed while the bot did not run, and is not kept any more, is told as well."""
    life = live()
    await life.start("chat:lobby")
    await life.stop()
    life = live()
    await life.connect()
    for _ in range(2):
        frame = await life.peer.receive()
        if isinstance(frame, frames.Subscribe):
            life.peer.subscribed(frame.channel, 0, id=frame.id, verdict="recovered")
    assert isinstance(frame, frames.Call)
    life.peer.reply(frame, {"channels": [{"channel": "chat:lobby", "joined": True}]})
    request = await life.peer.expect(frames.Subscribe)
    life.peer.subscribed("chat:lobby", 50, id=request.id, verdict="gap")
    life.say(51, "a")
    await life.answer("a")
    assert [(gap.from_, gap.to) for gap in life.gaps] == [(9, 50)]
    await life.stop()
    assert (await positions(tmp_path))["chat:lobby"] == Position("e1", 51)


async def test_a_failing_gap_handler_stops_nothing(live: Callable[..., Life], caplog: pytest.LogCaptureFixture) -> None:
    """It is logged like any other handler's failure."""
    life = live()

    @life.bot.on_gap
    async def broken(gap: Gap) -> None:
        raise RuntimeError("broken gap handler")

    await life.start("chat:lobby")
    life.peer.gap("chat:lobby", 9, 15)
    life.say(16, "b")
    await life.answer("b")
    assert "broken gap handler" in caplog.text


async def test_a_channel_that_was_left_is_forgotten(live: Callable[..., Life], tmp_path: Path) -> None:
    """While the bot runs, or while it did not: when it comes back it begins from now."""
    life = live()
    await life.start("chat:left", "chat:taken", "chat:kept")
    life.peer.event("user:bot", 1, name="channel.removed", data={"channel": "chat:left"})
    assert (await life.peer.expect(frames.Unsubscribe)).channel == "chat:left"
    await life.stop()
    assert (await positions(tmp_path)).keys() == {"chat:taken", "chat:kept", "user:bot"}
    life = live()
    assert await life.start("chat:kept") == {"chat:kept": Position("e1", 9)}
    await life.stop()
    assert (await positions(tmp_path)).keys() == {"chat:kept", "user:bot"}


async def test_the_state_of_another_user_ends_the_bot(live: Callable[..., Life]) -> None:
    """Before it listens anywhere."""
    life = live()
    await life.start("chat:lobby")
    await life.stop()
    life = live()
    await life.connect(user="somebody")
    with pytest.raises(StateError, match=r"belongs to 'bot' .* this bot is 'somebody'"):
        await life.serving


async def test_a_second_bot_on_the_file_is_refused(live: Callable[..., Life]) -> None:
    """Before it connects; the first goes on."""
    life = live()
    await life.start("chat:lobby")
    second = live()
    second.serving = asyncio.create_task(second.bot.serve())
    with pytest.raises(StateError, match="Another bot has"):
        await second.serving
    life.say(10, "a")
    await life.answer("a")


async def test_a_state_that_cannot_be_written_ends_the_bot(
    live: Callable[..., Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not go on and forget."""
    life = live()
    await life.start("chat:lobby")
    life.say(10, "a")
    _, _, call = await life.asked()

    def full(self: StateFile, channel: str, position: Position | None) -> None:
        raise StateError("The disk is full.")

    monkeypatch.setattr(StateFile, "note", full)
    life.peer.reply(call, {"id": "m"})
    with pytest.raises(StateError, match="disk is full"):
        await life.serving


async def test_a_final_close_leaves_the_event_for_the_next_run(live: Callable[..., Life], tmp_path: Path) -> None:
    """The event whose answer could not be sent is not taken for handled."""
    life = live()
    await life.start("chat:lobby")
    life.say(10, "a")
    await life.asked()
    life.peer.drop(4501, "Revoked.")
    with pytest.raises(ConnectionClosed, match="Revoked"):
        await life.serving
    assert (await positions(tmp_path))["chat:lobby"] == Position("e1", 9)


async def test_an_answer_waits_for_the_connection_as_long_as_it_takes(live: Callable[..., Life]) -> None:
    """A server that is away for many times the patience of a call: the event is not given up, and is answered once."""
    life = live()
    await life.start("chat:lobby")
    life.say(10, "a")
    _, key, _ = await life.asked()
    began = life.clock.now
    attempts = life.server.unreachable = 40
    life.peer.drop()
    while life.server.attempts < attempts + 2:
        life.clock.advance(1.0)
        for _ in range(10):
            await asyncio.sleep(0)
    assert life.clock.now - began > 5 * 30.0
    life.peer = await life.server.next()
    await life.peer.greet(user="bot")
    calls: list[str | None] = []
    while not calls:
        frame = await life.peer.receive()
        if isinstance(frame, frames.Call):
            calls.append(frame.key)
            life.peer.reply(frame, {"id": "m"})
        elif life.clock.delays()[0] <= 10.0:
            life.clock.advance(life.clock.delays()[0])
    assert calls == [key]


async def test_the_queue_is_bounded_and_the_log_keeps_the_rest(live: Callable[..., Life]) -> None:
    """`queue`: past it the bot asks again, from behind what it has handled, and misses nothing."""
    life = live(queue=2)
    await life.start("chat:lobby")
    life.say(10, "a")
    said, _, call = await life.asked()
    assert said == "a"
    for offset, text in enumerate("bcdef", start=11):
        life.say(offset, text)
    assert (await life.peer.expect(frames.Unsubscribe)).channel == "chat:lobby"
    life.peer.reply(call, {"id": "m"})
    for text in "bc":
        await life.answer(text)
    request = await life.peer.expect(frames.Subscribe)
    assert request.since == Position("e1", 12)


CONSTRUCTORS: list[Callable[[Path], Any]] = [str, Path, StateFile]


@pytest.mark.parametrize("form", CONSTRUCTORS)
async def test_a_path_or_a_state_file(form: Callable[[Path], Any], tmp_path: Path) -> None:
    """Any of them names it; nothing is opened before the bot serves."""
    bot = Bot("ws://server/ws", state=form(tmp_path / "bot.state"))
    assert isinstance(bot, Bot)
    assert not (tmp_path / "bot.state").exists()
