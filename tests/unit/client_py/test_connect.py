"""Connecting, connecting again, and knowing when to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from backchannel_client import Client, ConnectionClosed, Gap, Position, Refused
from backchannel_protocol import CloseCode, frames

if TYPE_CHECKING:
    from tests.unit.client_py.conftest import FakeClock, Server, Session

Opened = Callable[..., Awaitable["Session"]]
MakeClient = Callable[..., Client]


async def test_the_first_frame_introduces_the_client(make_client: MakeClient, server: Server) -> None:
    """`connect` carries the token and who the client is, and no positions yet."""
    client = make_client(token="secret", name="tester")
    states = [client.state]
    client.on_state(states.append)
    connecting = asyncio.create_task(client.connect())
    peer = await server.next()
    connect = await peer.greet(user="carol", session="s-9")
    await connecting
    assert (connect.token, connect.resume) == ("secret", None)
    assert connect.client == frames.ClientInfo(name="tester")
    assert states == ["disconnected", "connecting", "connected"]
    assert (client.state, client.user, client.session) == ("connected", "carol", "s-9")
    assert client.limits.frame == 65536


async def test_before_the_start_a_client_says_what_to_do(make_client: MakeClient) -> None:
    """The message of an error tells the cure."""
    client = make_client()
    with pytest.raises(ConnectionClosed, match="async with client"):
        _ = client.user
    with pytest.raises(ConnectionClosed, match="async with client"):
        await client.call("thing.do")


async def test_an_async_token_function_is_awaited(make_client: MakeClient, server: Server) -> None:
    """`token` may be a function, also an async one."""

    async def fetch() -> str:
        return "fetched"

    client = make_client(token=fetch)
    connecting = asyncio.create_task(client.connect())
    connect = await (await server.next()).greet()
    await connecting
    assert connect.token == "fetched"


async def test_a_lost_connection_comes_back_with_growing_delays(session: Session) -> None:
    """Full jitter over a ceiling of 0.5 s that doubles; half of it here, by our chance."""
    session.server.unreachable = 2
    session.peer.drop()
    await session.becomes("connecting")
    for delay in (0.25, 0.5, 1.0):
        await session.clock.elapse(delay)
    await (await session.server.next()).greet()
    await session.becomes("connected")


async def test_the_delay_starts_over_only_after_a_connection_that_stayed_up(session: Session) -> None:
    """A server that accepts and drops at once must not be hammered; a steady one resets the backoff."""
    for delay in (0.25, 0.5):
        session.peer.drop()
        await session.becomes("connecting")
        await session.clock.elapse(delay)
        session.peer = await session.server.next()
        await session.peer.greet()
        await session.becomes("connected")
    session.clock.advance(5)
    session.peer.drop()
    await session.clock.armed(0.25)


@pytest.mark.parametrize("code", [4500, 4501, 4502, 4999])
async def test_a_final_close_code_ends_the_client(session: Session, code: int) -> None:
    """4500-4999: do not reconnect; waiting calls and iterations are told."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    call = asyncio.create_task(session.client.call("thing.do"))
    await session.peer.expect(frames.Call)
    session.peer.drop(code, "Go away.")
    with pytest.raises(ConnectionClosed, match="Go away") as caught:
        await call
    assert (caught.value.code, caught.value.final, caught.value.outcome) == (code, True, "unknown")
    with pytest.raises(ConnectionClosed):
        await anext(sub)
    await session.becomes("disconnected")
    assert (await session.client.wait_closed()).code == code
    assert session.server.attempts == 1
    with pytest.raises(ConnectionClosed):
        await session.client.call("thing.do")
    with pytest.raises(ConnectionClosed):
        session.client.subscribe("a:c")


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 4000, 4001, 4005, 4499])
async def test_other_close_codes_reconnect(session: Session, code: int) -> None:
    """4000-4499 and WebSocket's own codes: reconnect."""
    session.peer.drop(code)
    await session.becomes("connecting")
    await session.clock.elapse(0.25)
    await (await session.server.next()).greet()
    await session.becomes("connected")


async def test_a_token_function_is_asked_once_more(opened: Opened) -> None:
    """4500 with a callable token: one attempt with a fresh token at once, then it is final."""
    tokens = iter(["old", "new", "newer"])
    session = await opened(token=lambda: next(tokens))
    session.peer.drop(4500)
    peer = await session.server.next()
    connect = await peer.expect(frames.Connect)
    assert connect.token == "new"
    peer.error(connect, "unauthenticated")
    end = await session.client.wait_closed()
    assert end.code == CloseCode.UNAUTHENTICATED
    assert session.server.attempts == 2


async def test_the_same_token_is_not_another_one(opened: Opened) -> None:
    """CLOSE-2: after 4500 the client comes back only with another token than the refused one."""
    session = await opened(token=lambda: "same")
    session.peer.drop(4500)
    end = await session.client.wait_closed()
    assert (end.code, session.server.attempts) == (4500, 1)


async def test_the_first_connect_raises_the_refusal(make_client: MakeClient, server: Server) -> None:
    """A wrong token is told to whoever enters the client."""
    connecting = asyncio.create_task(make_client().connect())
    peer = await server.next()
    connect = await peer.expect(frames.Connect)
    peer.error(connect, "unauthenticated")
    with pytest.raises(ConnectionClosed, match="Do not reconnect before there is another token") as caught:
        await connecting
    assert caught.value.code == 4500


async def test_a_busy_server_is_asked_again_when_it_says(
    make_client: MakeClient, server: Server, clock: FakeClock
) -> None:
    """`retry_after` of a refused `connect` is the least delay."""
    connecting = asyncio.create_task(make_client(open_timeout=None).connect())
    peer = await server.next()
    peer.error(await peer.expect(frames.Connect), "unavailable", retry=True, retry_after=7.0)
    await clock.elapse(7.0)
    await (await server.next()).greet()
    await connecting


async def test_connecting_gives_up_after_open_timeout(
    make_client: MakeClient, server: Server, clock: FakeClock
) -> None:
    """A server that is not there is an error with its reason, not silence."""
    server.unreachable = 1000
    connecting = asyncio.create_task(make_client(open_timeout=3.0).connect())
    await clock.armed(0.25)
    clock.advance(3.0)
    with pytest.raises(ConnectionClosed, match="Nobody listens there"):
        await connecting


async def test_a_server_that_never_answers_connect_is_left(
    make_client: MakeClient, server: Server, clock: FakeClock
) -> None:
    """An attempt takes 10 s at most; then comes the next."""
    connecting = asyncio.create_task(make_client(open_timeout=None).connect())
    peer = await server.next()
    await peer.expect(frames.Connect)
    await clock.elapse(10.0)
    assert await peer.closed() is None
    await clock.elapse(0.25)
    await (await server.next()).greet()
    await connecting


async def test_a_token_function_that_fails_is_tried_again(
    make_client: MakeClient, server: Server, clock: FakeClock
) -> None:
    """Fetching a token needs a network too."""
    answers: list[str | Exception] = [OSError("no network"), "t2"]

    def fetch() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    connecting = asyncio.create_task(make_client(token=fetch).connect())
    await clock.elapse(0.25)
    connect = await (await server.next()).greet()
    await connecting
    assert connect.token == "t2"


async def test_a_token_function_can_refuse_for_good(make_client: MakeClient) -> None:
    """A login that is over is final."""

    def fetch() -> str:
        raise Refused("unauthenticated", "Sign in again.")

    with pytest.raises(ConnectionClosed, match="Sign in again"):
        await make_client(token=fetch).connect()


async def test_pings_are_answered(session: Session) -> None:
    """`ping` is answered by `pong`."""
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_silence_is_a_dead_peer(session: Session) -> None:
    """Silence past ping + grace: the connection is aborted, and another one opened."""
    session.clock.advance(34.9)
    assert not session.peer.transport.closed.done()
    session.clock.advance(0.2)
    assert await session.peer.closed() is None
    await session.becomes("connecting")


async def test_any_frame_breaks_the_silence(session: Session) -> None:
    """The patience counts from the last frame that was heard."""
    session.clock.advance(30)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    session.clock.advance(34)
    assert not session.peer.transport.closed.done()
    session.clock.advance(1.1)
    await session.becomes("connecting")


async def test_unknown_verdicts_and_reasons_mean_that_something_is_missing(session: Session) -> None:
    """EVO-2: they are taken for `gap` and `trimmed`, so the app loads a snapshot."""
    gaps: list[Gap] = []
    sub = session.client.subscribe("a:b", since=Position("e1", 1), on_gap=gaps.append)
    request = await session.peer.expect(frames.Subscribe)
    verdict = {"type": "subscribed", "id": request.id, "channel": "a:b", "verdict": "partly", "epoch": "e1"}
    session.peer.transport.to_client.put_nowait(session.peer.codec.encode(verdict | {"offset": 4}))
    gap = {"type": "gap", "channel": "a:b", "epoch": "e1", "from": 4, "to": 6, "reason": "weather"}
    session.peer.transport.to_client.put_nowait(session.peer.codec.encode(gap))
    session.peer.transport.to_client.put_nowait(session.peer.codec.encode(gap | {"to": "six"}))
    # A reason that is known makes the frame a broken one, and no gap of a later version.
    broken = gap | {"to": 99, "reason": "slow", "later": 2**60}
    session.peer.transport.to_client.put_nowait(session.peer.codec.encode(broken))
    session.peer.event("a:b", 7)
    assert (await anext(sub)).offset == 7
    assert [(hole.from_, hole.to, hole.reason) for hole in gaps] == [(1, 4, "trimmed"), (4, 6, "trimmed")]


async def test_unknown_frames_are_ignored(session: Session) -> None:
    """A later version may have more frames, and broken bytes are no reason to fall over."""
    codec = session.peer.codec
    broken: tuple[object, ...] = (
        {"type": "gap", "reason": []},
        {"type": "gap", "reason": "slow"},
        {"type": ["gap"]},
        {"type": "news"},
        [],
    )
    for message in (*map(codec.encode, broken), b"\xff\xfe"):
        session.peer.transport.to_client.put_nowait(message)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_a_token_is_refreshed_before_it_expires(opened: Opened) -> None:
    """With a token function: `refresh` in time, then again before the next expiry."""
    tokens = iter(["first", "second", "third"])
    now = 1_700_000_000_000
    session = await opened(token=lambda: next(tokens), greeting={"time": now, "expires": now + 10_000, "ping": 1e6})
    await session.clock.elapse(8.25)
    refresh = await session.peer.expect(frames.Refresh)
    assert refresh.token == "second"
    session.peer.reply(refresh, {"expires": now + 18_250})
    await session.clock.elapse(8.25)
    assert (await session.peer.expect(frames.Refresh)).token == "third"


async def test_a_refused_refresh_is_tried_again_in_what_is_left(opened: Opened) -> None:
    """A refresh may meet a busy server."""
    now = 1_700_000_000_000
    session = await opened(token=lambda: "t", greeting={"time": now, "expires": now + 100_000, "ping": 1e6})
    await session.clock.elapse(82.5)
    session.peer.error(await session.peer.expect(frames.Refresh), "unavailable", retry=True)
    await session.clock.elapse(14.4375)
    await session.peer.expect(frames.Refresh)


async def test_a_fixed_token_is_never_refreshed(opened: Opened) -> None:
    """There is no other token to send."""
    now = 1_700_000_000_000
    session = await opened(greeting={"time": now, "expires": now + 10_000, "ping": 1e6})
    assert session.clock.delays() == [1e6 + 10]


async def test_closing_says_goodbye(session: Session) -> None:
    """Leaving `async with` closes with code 1000 and changes the state once."""
    async with session.client:
        pass
    assert await session.peer.closed() == 1000
    await session.becomes("disconnected")
    assert (await session.client.wait_closed()).asked_for


async def test_cancelling_the_first_connect_closes(make_client: MakeClient, server: Server) -> None:
    """A cancelled `async with` leaves nothing running."""
    client = make_client()
    connecting = asyncio.create_task(client.connect())
    peer = await server.next()
    await peer.expect(frames.Connect)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert await peer.closed() is None
    assert client.state == "disconnected"


async def test_a_callback_that_fails_does_no_harm(session: Session) -> None:
    """`on_state` callbacks are the app's code; they may be removed again."""
    seen: list[str] = []
    remove = session.client.on_state(seen.append)

    def fail(state: str) -> None:
        raise RuntimeError(state)

    session.client.on_state(fail)
    await session.reconnect()
    assert seen == ["connecting", "connected"]
    remove()
    remove()
    await session.client.close()
    assert seen == ["connecting", "connected"]


async def test_a_guest_comes_back_as_the_same_guest(opened: Opened) -> None:
    """Without a token of the app's own, what `connected.token` says is shown from then on, on a move too."""
    session = await opened(token=None, greeting={"user": "guest-1", "token": "g1", "expires": 2_000_000_000_000})
    assert session.client.guest_token == "g1"
    connect = await session.reconnect(user="guest-1")
    assert connect.token == "g1"
    session.peer.send(frames.Move(after=0.0))
    assert (await (await session.server.next()).greet(user="guest-1")).token == "g1"
    assert session.client.guest_token == "g1"


async def test_a_guests_first_connect_has_no_token(make_client: MakeClient, server: Server) -> None:
    """That is what makes it a guest; an attempt that brought no `connected` changes nothing."""
    client = make_client(token=None)
    connecting = asyncio.create_task(client.connect())
    peer = await server.next()
    assert (await peer.greet(token="g1")).token is None
    await connecting


async def test_the_apps_own_token_goes_first(opened: Opened) -> None:
    """Whatever the server says."""
    session = await opened(token="mine", greeting={"token": "g1"})
    assert (await session.reconnect()).token == "mine"


async def test_a_guest_that_is_turned_down_is_not_made_another_one(opened: Opened) -> None:
    """What waits was asked under the old name: a new guest must not ask it again. The app decides."""
    session = await opened(token=None, greeting={"token": "g1"})
    session.peer.drop(CloseCode.UNAUTHENTICATED)
    assert (await session.client.wait_closed()).final


async def test_states_are_told_from_now_to_the_end(session: Session) -> None:
    """The state as it is, each new one, and `disconnected` as the last."""

    async def watch() -> list[str]:
        return [state async for state in session.client.states()]

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await session.reconnect()
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    await session.client.close()
    assert await watching == ["connected", "connecting", "connected", "disconnected"]
    assert [state async for state in session.client.states()] == ["disconnected"]


async def test_a_slow_reader_of_states_is_told_the_newest(session: Session) -> None:
    """Nothing piles up, and the last one is never missing."""
    states = session.client.states()
    assert await anext(states) == "connected"
    await session.reconnect()
    assert await anext(states) == "connected"
    await session.reconnect()
    await session.client.close()
    assert [state async for state in states] == ["disconnected"]


async def test_reading_states_can_be_left(session: Session) -> None:
    """The callback behind it goes with it."""
    states = session.client.states()
    assert await anext(states) == "connected"
    before = len(session.client._on_state)
    await states.aclose()
    assert len(session.client._on_state) == before - 1
