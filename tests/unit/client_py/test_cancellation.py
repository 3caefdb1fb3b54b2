"""Cancelling at every point at which a call waits leaves the client as good as new."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

import pytest

from backchannel_client import Client, Gap, Position, Refused, Subscription
from backchannel_protocol import frames

if TYPE_CHECKING:
    from tests.unit.client_py.conftest import FakeClock, Peer, Server

CHANNEL = "thing:all"
EPOCH = "e1"


class CancelAt:
    """Awaits `work` and cancels the task that does so where it waits for the time number `at`.

    `late` cancels in the moment in which what it waits for has come, which is when results get lost.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, *, late: bool) -> None:
        self.waits = 0
        self._work = work
        self._at = at
        self._late = late

    @property
    def cancelled(self) -> bool:
        """Whether it came to that point."""
        return self.waits > self._at

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        step: Callable[[Any], Any] = inner.send
        given: Any = None
        while True:
            try:
                future = step(given)
            except StopIteration as done:
                return done.value
            if self.waits == self._at:
                self._cancel(future)
            self.waits += 1
            try:
                given = yield future
                step = inner.send
            except BaseException as exc:
                given, step = exc, inner.throw

    def _cancel(self, future: asyncio.Future[Any] | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._late and future is not None:
            future.add_done_callback(lambda _: task.cancel())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)


class Answering:
    """Plays the server: answers everything, on every connection, and has a log of one channel."""

    def __init__(self, server: Server) -> None:
        self.offset = 0
        self.gap: frames.Gap | None = None
        self.peers: list[Peer] = []
        self._server = server
        self.others: set[str] = set()
        """Channels that are listened to, beside the one with the log."""
        self._listening: list[Peer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._accept())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            peer = await self._server.next()
            self.peers.append(peer)
            self._spawn(self._serve(peer))

    async def _serve(self, peer: Peer) -> None:
        while True:
            frame = peer.codec.decode_client(await peer.transport.to_server.get())
            await asyncio.sleep(0)
            self._answer(peer, frame)

    def _answer(self, peer: Peer, frame: frames.ClientFrame) -> None:
        match frame:
            case frames.Connect():
                peer.welcome(frame)
                for channel, position in (frame.resume or {}).items():
                    self._subscribe(peer, channel, position, None)
            case frames.Subscribe():
                self._subscribe(peer, frame.channel, frame.since, frame.id)
            case frames.Unsubscribe():
                self.others.discard(frame.channel)
                if frame.channel == CHANNEL and peer in self._listening:
                    self._listening.remove(peer)
                peer.reply(frame, {})
            case frames.Call(name="thing.emit"):
                self.emit()
                peer.reply(frame, {})
            case frames.Call():
                peer.reply(frame, peer.codec.decode_any(frame.data))
            case frames.Publish():
                peer.reply(frame, {"offset": self.offset, "epoch": EPOCH})
            case frames.History():
                peer.reply(frame, frames.HistoryReply(epoch=EPOCH, head=self.offset, first=1, events=[]))
            case frames.PresenceRequest():
                peer.send(frames.Presence(channel=frame.channel, revision=1, id=frame.id, members=[], count=0))
            case _:
                pass

    def _subscribe(self, peer: Peer, channel: str, since: Position | None, request: int | None) -> None:
        if channel != CHANNEL:
            self.others.add(channel)
        elif peer not in self._listening:
            self._listening.append(peer)
        peer.subscribed(channel, self.offset, id=request, verdict="recovered" if since else "new", epoch=EPOCH)
        for offset in range(since.offset + 1 if since else self.offset + 1, self.offset + 1):
            peer.event(channel, offset)

    def emit(self) -> None:
        """Something happens on the channel."""
        self.offset += 1
        for peer in self._listening:
            peer.event(CHANNEL, self.offset)

    def skip(self, count: int) -> None:
        """So much happens on the channel, of which the listeners are told the gap."""
        for peer in self._listening:
            peer.gap(CHANNEL, self.offset, self.offset + count)
        self.offset += count


class Scene:
    """A connected client with a subscription, and what was heard on it."""

    def __init__(self, client: Client, answering: Answering) -> None:
        self.client = client
        self.answering = answering
        self.heard: list[int] = []
        self.gaps: list[Gap] = []
        self.sub: Subscription

    async def missed(self, gap: Gap) -> None:
        """Fill a gap, which takes a request."""
        await self.client.call("thing.do", {"n": gap.to})
        self.gaps.append(gap)
        self.heard += range(gap.from_ + 1, gap.to + 1)
        self.sub.dismiss_gap(gap)

    async def hear(self) -> None:
        """Take the next event."""
        event = await anext(self.sub)
        assert event.offset is not None
        self.heard.append(event.offset)


async def call(scene: Scene) -> None:
    assert await scene.client.call("thing.do", {"n": 1}) == {"n": 1}


async def publish(scene: Scene) -> None:
    await scene.client.publish(CHANNEL, "thing.happened", {"n": 1})


async def history(scene: Scene) -> None:
    await scene.client.history(CHANNEL)


async def presence(scene: Scene) -> None:
    await scene.client.presence(CHANNEL)


async def subscribe(scene: Scene) -> None:
    async with scene.client.subscribe("other:all") as sub:
        assert sub.verdict == "new"


async def subscribe_from_the_past(scene: Scene) -> None:
    scene.answering.emit()
    scene.answering.emit()
    async with scene.client.subscribe(CHANNEL, since=Position(EPOCH, 0)) as sub:
        assert [(await anext(sub)).offset, (await anext(sub)).offset] == [1, 2]


async def listen(scene: Scene) -> None:
    for _ in range(3):
        await scene.client.call("thing.emit")
        await scene.hear()


async def listen_behind(scene: Scene) -> None:
    for _ in range(3):
        scene.answering.emit()
    for _ in range(3):
        await scene.hear()


async def fill_a_gap(scene: Scene) -> None:
    scene.answering.skip(3)
    scene.answering.emit()
    await scene.hear()


async def at_the_same_time(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(scene.client.call("thing.do", {"n": n})) for n in range(3)]
        group.create_task(scene.client.call("thing.emit"))
        group.create_task(scene.hear())
    assert [task.result() for task in tasks] == [{"n": n} for n in range(3)]


async def call_over_a_reconnect(scene: Scene) -> None:
    calling = asyncio.ensure_future(scene.client.call("thing.do", {"n": 5}))
    try:
        scene.answering.peers[-1].drop()
        await asyncio.sleep(0)
        assert await calling == {"n": 5}
    finally:
        calling.cancel()


OPERATIONS: list[Callable[[Scene], Coroutine[Any, Any, None]]] = [
    call,
    publish,
    history,
    presence,
    subscribe,
    subscribe_from_the_past,
    listen,
    listen_behind,
    fill_a_gap,
    at_the_same_time,
    call_over_a_reconnect,
]

Enter = Callable[[], contextlib.AbstractAsyncContextManager[Scene]]


@pytest.fixture
def enter(make_client: Callable[..., Client], server: Server, clock: FakeClock) -> Enter:
    """A fresh scene; in the end, nothing of it may be left."""

    @contextlib.asynccontextmanager
    async def scene() -> AsyncIterator[Scene]:
        before = asyncio.all_tasks()
        answering = Answering(server)
        ticking = asyncio.create_task(tick(clock))
        scene = Scene(make_client(), answering)
        async with asyncio.timeout(5):
            await scene.client.connect()
            scene.sub = scene.client.subscribe(CHANNEL, on_gap=scene.missed)
            await scene.sub.ready()
            yield scene
            await scene.client.close()
        for peer in answering.peers:
            was_dropped = peer.transport.end is not None
            assert was_dropped or peer.transport.closed.done(), "a connection was left open"
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await answering.stop()
        assert asyncio.all_tasks() == before, "a task was left behind"

    return scene


async def tick(clock: FakeClock) -> None:
    """Let what waits for a reconnect come about: time passes when nothing else does."""
    while True:
        for _ in range(50):
            await asyncio.sleep(0)
        if clock.delays() and clock.delays()[0] <= 1.0:
            clock.advance(clock.delays()[0])


async def cancelled(at: CancelAt) -> bool:
    """Await it in a task of its own; returns whether that was cancelled, or got so far at least."""

    async def run() -> None:
        await at

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return at.cancelled


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when it comes"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_cancelling_anywhere_harms_nothing(
    operation: Callable[[Scene], Coroutine[Any, Any, None]], late: bool, enter: Enter
) -> None:
    """For every point: later calls get their own answers, events come in order, none missing, none twice, every gap is
    told, and closing leaves no connection and no task behind."""
    points = 0
    while True:
        async with enter() as scene:
            goes_on = await cancelled(CancelAt(operation(scene), points, late=late))
            answers = await asyncio.gather(*(scene.client.call("thing.do", {"n": n}) for n in range(3)))
            assert answers == [{"n": n} for n in range(3)]
            await scene.client.call("thing.emit")
            while not scene.heard or scene.heard[-1] < scene.answering.offset:
                await scene.hear()
            assert scene.heard == list(range(1, scene.answering.offset + 1))
            assert scene.sub.gaps == ()
            assert scene.answering.others == set(), "a channel is still listened to"
        if not goes_on:
            break
        points += 1
    assert points > 0


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when it comes"])
async def test_closing_cancelled_anywhere_is_closed_by_the_next_close(late: bool, enter: Enter) -> None:
    """Whatever was cut off in the middle of its goodbye."""
    points = 0
    goes_on = True
    while goes_on:
        async with enter() as scene:
            goes_on = await cancelled(CancelAt(scene.client.close(), points, late=late))
            points += 1
    assert points > 1


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when it comes"])
async def test_connecting_cancelled_anywhere_leaves_nothing_open(
    late: bool, make_client: Callable[..., Client], server: Server
) -> None:
    """Also in the moment in which the connection opens."""
    points = 0
    goes_on = True
    while goes_on:
        before = asyncio.all_tasks()
        answering = Answering(server)
        client = make_client()
        goes_on = await cancelled(CancelAt(client.connect(), points, late=late))
        if goes_on:
            assert client.state == "disconnected"
        await client.close()
        assert all(peer.transport.closed.done() for peer in answering.peers)
        await answering.stop()
        assert asyncio.all_tasks() == before
        points += 1
    assert points > 1


@pytest.mark.parametrize("steps", range(12))
async def test_closing_while_a_connection_opens(steps: int, make_client: Callable[..., Client], server: Server) -> None:
    """However far it has come: what opens in the very moment of the close is closed as well."""
    answering = Answering(server)
    client = make_client()
    connecting = asyncio.create_task(client.connect())
    for _ in range(steps):
        await asyncio.sleep(0)
    await client.close()
    await asyncio.wait([connecting])
    for _ in range(10):
        await asyncio.sleep(0)  # the server's side of it
    assert server.attempts == len(answering.peers)
    assert all(peer.transport.closed.done() for peer in answering.peers)
    await answering.stop()


async def test_a_client_in_a_task_group(enter: Enter) -> None:
    """A failing sibling cancels what waits; the client goes on."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("a sibling failed")

    async def both(*works: Coroutine[Any, Any, None]) -> None:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)

    async with enter() as scene:
        with pytest.raises(ExceptionGroup, match="unhandled errors"):
            await both(scene.hear(), fail())
        scene.answering.emit()
        await scene.hear()
        assert scene.heard == [1]


async def test_a_timeout_around_a_call(enter: Enter) -> None:
    """`asyncio.timeout` is a cancellation like any other."""
    async with enter() as scene:
        with contextlib.suppress(Refused), pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await scene.client.call("thing.do", {"n": 1})
        assert await scene.client.call("thing.do", {"n": 2}) == {"n": 2}
