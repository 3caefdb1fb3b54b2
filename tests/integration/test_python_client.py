"""The Python client against the real server, in processes of its own, over both encodings."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from backchannel.chat import ListChannels, MessageCreated, SendMessage
from backchannel_client import JSON, MSGPACK, Client, Event, Gap, Position, Refused, Subscription
from backchannel_protocol import Codec

if TYPE_CHECKING:
    from tests.integration.conftest import Process

PATIENCE = 30.0
LOBBY = "chat:lobby"
FLAGS = ("--drain", "1", "--calls", "100000", "--burst", "100000", "--recovery", "100000")

STAGE = '''
"""An app with a live channel on which clients publish, and a log that a resume reaches back into not far."""

from backchannel import App, Command, Context, Event, Namespace, Struct

app = App("stage")


@app.namespace("board")
class Board(Namespace):
    kind = "live"
    clients_may_publish = True

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        return True

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        return ctx.user != "mallory"


@app.namespace("diary")
class Diary(Namespace):
    recovery = 5

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        return True


@app.event("stroke.drawn")
class Drawn(Event):
    x: int
    y: int


@app.event("line.written")
class Written(Event):
    n: int


class Done(Struct):
    n: int


@app.command("line.write", lane="channel")
class Write(Command[Done]):
    channel: str
    n: int


@app.handle(Write)
async def write(ctx: Context, line: Write) -> Done:
    """Write a line."""
    ctx.publish(line.channel, Written(line.n))
    return Done(line.n)
'''


class Drawn(Event):
    wire_name: ClassVar[str] = "stroke.drawn"
    x: int
    y: int


@pytest.fixture(params=[JSON, MSGPACK], ids=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> Codec:
    value: Codec = request.param
    return value


@pytest.fixture
async def stage(make_process: Callable[[], Process], tmp_path: Path) -> Process:
    """A server process that serves the app above."""
    (tmp_path / "stage.py").write_text(STAGE)
    process = make_process()
    await process.start("stage:app")
    return process


async def messages(sub: Subscription, count: int) -> list[MessageCreated]:
    """The next messages of a chat channel."""
    heard: list[MessageCreated] = []
    async with asyncio.timeout(PATIENCE):
        while len(heard) < count:
            event = await anext(sub)
            if event.name == "message.created":
                heard.append(event.decode(MessageCreated))
    return heard


async def test_two_people_chat(process: Process, codec: Codec) -> None:
    """Typed and plain calls, events on both sides, history and presence."""
    async with (
        Client(process.url, token=process.token("alice"), codec=codec) as alice,
        Client(process.url, token=process.token("bob"), codec=codec) as bob,
        alice.subscribe(LOBBY) as hers,
        bob.subscribe(LOBBY) as his,
    ):
        assert (alice.user, alice.state, hers.verdict) == ("alice", "connected", "new")
        page = await alice.call(ListChannels())
        assert [channel.channel for channel in page.channels if channel.joined] == [LOBBY]
        sent = await alice.call(SendMessage(channel=LOBBY, text="Tea? ☕"))
        answered = await bob.call("message.send", {"channel": LOBBY, "text": "Yes."})
        for sub in (hers, his):
            heard = await messages(sub, 2)
            assert [(message.id, message.user, message.text) for message in heard] == [
                (sent.id, "alice", "Tea? ☕"),
                (answered["id"], "bob", "Yes."),
            ]
        log = await bob.history(LOBBY, limit=100)
        assert [event.data["text"] for event in log.events if event.name == "message.created"] == ["Tea? ☕", "Yes."]
        assert {member.user for member in (await bob.presence(LOBBY)).members or ()} == {"alice", "bob"}
        with pytest.raises(Refused) as refused:
            await bob.call("message.send", {"channel": LOBBY, "text": ""})
        assert refused.value.code == "invalid"


async def stream(client: Client, count: int, halfway: asyncio.Event) -> None:
    """Send so many messages, one after another."""
    for n in range(count):
        await client.call(SendMessage(channel=LOBBY, text=f"message {n}"), timeout=PATIENCE)
        if n == count // 3:
            halfway.set()


async def test_a_killed_server_loses_and_doubles_nothing(process: Process, codec: Codec) -> None:
    """The listener resumes where it was; what was under way is sent again and takes effect once."""
    states: list[str] = []
    halfway = asyncio.Event()
    async with (
        Client(process.url, token=process.token("alice"), codec=codec) as alice,
        Client(process.url, token=process.token("bob"), codec=codec) as bob,
        bob.subscribe(LOBBY) as sub,
    ):
        bob.on_state(states.append)
        sending = asyncio.create_task(stream(alice, 60, halfway))
        await asyncio.wait_for(halfway.wait(), PATIENCE)
        await process.end(signal.SIGKILL)
        await process.start()
        await asyncio.wait_for(sending, PATIENCE)
        heard = await messages(sub, 60)
        assert [message.text for message in heard] == [f"message {n}" for n in range(60)]
        assert [message.seq for message in heard] == list(range(1, 61))
        assert (states, sub.verdict) == (["connecting", "connected"], "recovered")


async def test_a_server_that_is_replaced_is_left_in_time(process: Process, codec: Codec) -> None:
    """SIGTERM tells clients to move; the next server starts on the same port, and the stream of messages goes on
    without a loss and without anybody noticing but by the states."""
    begun, replaced = asyncio.Event(), asyncio.Event()

    async def talk(client: Client) -> int:
        count = 0
        while not replaced.is_set() or count % 10:
            await client.call(SendMessage(channel=LOBBY, text=f"message {count}"), timeout=PATIENCE)
            begun.set()
            count += 1
        return count

    async with (
        Client(process.url, token=process.token("alice"), codec=codec) as alice,
        Client(process.url, token=process.token("bob"), codec=codec) as bob,
        bob.subscribe(LOBBY, queue=1_000_000) as sub,
    ):
        session = bob.session
        talking = asyncio.create_task(talk(alice))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        assert await process.end(signal.SIGTERM) == 0
        await process.start(*FLAGS)
        replaced.set()
        count = await asyncio.wait_for(talking, PATIENCE)
        heard = await messages(sub, count)
        assert [message.text for message in heard] == [f"message {n}" for n in range(count)]
        assert [message.seq for message in heard] == list(range(1, count + 1))
        assert (sub.verdict, sub.gaps) == ("recovered", ())
        assert bob.session != session


@pytest.fixture
async def process(make_process: Callable[[], Process]) -> Process:
    """A server process that serves the demo, drains quickly, and lets one client talk fast."""
    process = make_process()
    await process.start(*FLAGS)
    return process


async def test_a_token_is_refreshed_while_connected(process: Process, codec: Codec) -> None:
    """The connection outlives its first two tokens: each is replaced before it expires."""
    fetched = asyncio.Event()
    tokens: list[str] = []

    async def token() -> str:
        tokens.append(process.token("alice", lifetime=3.5))
        if len(tokens) == 3:
            fetched.set()
        return tokens[-1]

    async with Client(process.url, token=token, codec=codec) as alice:
        session, states = alice.session, list[str]()
        alice.on_state(states.append)
        await asyncio.wait_for(fetched.wait(), PATIENCE)
        await alice.call(ListChannels())
        assert (alice.session, states) == (session, [])


async def test_publishing_on_a_live_channel(stage: Process, codec: Codec) -> None:
    """By struct and by name, with dense offsets, heard by others and by the publisher; a repeated key is one event, and
    who may not is told."""
    async with (
        Client(stage.url, token=stage.token("alice"), codec=codec) as alice,
        Client(stage.url, token=stage.token("bob"), codec=codec) as bob,
        Client(stage.url, token=stage.token("mallory"), codec=codec) as mallory,
        alice.subscribe("board:one") as hers,
        bob.subscribe("board:one") as his,
    ):
        first = await alice.publish("board:one", Drawn(1, 2), key="stroke-0001")
        again = await alice.publish("board:one", Drawn(1, 2), key="stroke-0001")
        second = await bob.publish("board:one", "stroke.drawn", {"x": 3, "y": 4})
        assert (first, first.offset, second.offset) == (again, 1, 2)
        for sub in (hers, his):
            async with asyncio.timeout(PATIENCE):
                events = [await anext(sub), await anext(sub)]
            assert [(event.decode(Drawn), event.user, event.offset) for event in events] == [
                (Drawn(1, 2), "alice", 1),
                (Drawn(3, 4), "bob", 2),
            ]
        with pytest.raises(Refused) as refused:
            await mallory.publish("board:one", Drawn(0, 0))
        assert refused.value.code == "forbidden"
        with pytest.raises(Refused) as refused:
            await alice.publish("board:one", "stroke.drawn", {"x": "left"})
        assert refused.value.code == "invalid"


async def test_a_gap_is_told_filled_and_gone(stage: Process, codec: Codec) -> None:
    """Too much was missed for a resume: the gap comes first, history fills it, and the stream goes on behind it."""
    heard: list[int] = []
    gaps: list[Gap] = []
    async with Client(stage.url, token=stage.token("alice"), codec=codec) as alice:
        async with alice.subscribe("diary:d") as sub:
            before = sub.position
        assert before is not None
        for n in range(1, 21):
            await alice.call("line.write", {"channel": "diary:d", "n": n})

        async def fill(gap: Gap) -> None:
            gaps.append(gap)
            since = Position(gap.epoch, gap.from_)
            while since.offset < gap.to:
                page = await alice.history("diary:d", since=since, limit=7)
                missed = [event for event in page.events if event.offset <= gap.to]
                heard.extend(event.data["n"] for event in missed)
                since = Position(page.epoch, missed[-1].offset)
            sub.dismiss_gap(gap)

        async with alice.subscribe("diary:d", since=before, on_gap=fill) as sub:
            assert sub.verdict == "gap"
            await alice.call("line.write", {"channel": "diary:d", "n": 21})
            async with asyncio.timeout(PATIENCE):
                heard.append((await anext(sub)).data["n"])
        assert heard == list(range(1, 22))
        assert [(gap.from_, gap.to, gap.reason) for gap in gaps] == [(0, 20, "trimmed")]
        async with alice.subscribe("diary:d", since=Position(before.epoch, 17)) as sub:
            assert sub.verdict == "recovered"
            async with asyncio.timeout(PATIENCE):
                assert [(await anext(sub)).data["n"] for _ in range(4)] == [18, 19, 20, 21]


async def test_a_guest_stays_the_same_guest(make_process: Callable[[], Process], codec: Codec) -> None:
    """Over a killed server, and in the next run with the token that it was given; another one is somebody else."""
    process = make_process()
    await process.start("--guests")
    async with (
        Client(process.url, codec=codec) as guest,
        Client(process.url, codec=codec) as other,
    ):
        user, token = guest.user, guest.guest_token
        assert user.startswith("guest-")
        assert other.user != user
        async with guest.subscribe(f"user:{user}") as sub:
            states = guest.states()
            assert await anext(states) == "connected"
            await process.end(signal.SIGKILL)
            await process.start("--guests")
            async with asyncio.timeout(PATIENCE):
                while await anext(states) != "connected":
                    pass
            await guest.call(ListChannels())
            assert (guest.user, guest.guest_token, sub.state) == (user, token, "subscribed")
            await states.aclose()
    async with Client(process.url, token=token, codec=codec) as again:
        assert again.user == user
