"""Reconnecting: every channel goes on where it was, with a verdict."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backchannel_client import Client, Gap, Position, Refused, Subscription
from backchannel_protocol import Limits, frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.unit.client_py.conftest import FakeClock, Server, Session

    Opened = Callable[..., Awaitable[Session]]


async def listen(session: Session, channel: str = "a:b", offset: int = 0) -> Subscription:
    sub = session.client.subscribe(channel)
    await session.peer.accept(channel, offset)
    await sub.ready()
    return sub


async def test_recovered_events_follow_and_none_comes_twice(session: Session) -> None:
    """P3: `connect` names the positions; what was heard before is dropped."""
    sub = await listen(session)
    session.peer.event("a:b", 1)
    session.peer.event("a:b", 2)
    assert [(await anext(sub)).offset for _ in range(2)] == [1, 2]
    connect = await session.reconnect()
    assert connect.resume == {"a:b": Position("e1", 2)}
    assert sub.state == "subscribing"
    session.peer.subscribed("a:b", 4, verdict="recovered")
    for offset in (2, 3, 4, 5):
        session.peer.event("a:b", offset)
    assert [(await anext(sub)).offset for _ in range(3)] == [3, 4, 5]
    assert (sub.state, sub.verdict) == ("subscribed", "recovered")


async def test_events_wait_in_the_queue_over_a_reconnect(session: Session) -> None:
    """The position counts what was received, so what is still queued is not sent again."""
    sub = await listen(session)
    session.peer.event("a:b", 1)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    connect = await session.reconnect()
    assert connect.resume == {"a:b": Position("e1", 1)}
    assert (await anext(sub)).offset == 1


async def test_a_verdict_gap_is_told_and_the_stream_goes_on(session: Session) -> None:
    """`trimmed`: the events between the position and the end of catching up will not come."""
    gaps: list[Gap] = []
    sub = session.client.subscribe("a:b", on_gap=gaps.append)
    await session.peer.accept("a:b", 2)
    await sub.ready()
    await session.reconnect()
    session.peer.subscribed("a:b", 50, verdict="gap")
    session.peer.gap("a:b", 2, 50, reason="trimmed")
    session.peer.event("a:b", 51)
    assert (await anext(sub)).offset == 51
    assert [(gap.from_, gap.to, gap.reason) for gap in gaps] == [(2, 50, "trimmed")]


async def test_an_open_gap_is_resumed_from_before_it(session: Session) -> None:
    """Until the app has dismissed it; then the position counts again."""
    sub = await listen(session)
    session.peer.gap("a:b", 0, 5)
    session.peer.event("a:b", 6)
    assert (await anext(sub)).offset == 6
    connect = await session.reconnect()
    assert connect.resume == {"a:b": Position("e1", 0)}
    session.peer.subscribed("a:b", 6, verdict="recovered")
    for offset in range(1, 8):
        session.peer.event("a:b", offset)
    assert [(await anext(sub)).offset for _ in range(6)] == [1, 2, 3, 4, 5, 7]
    assert sub.gaps == ()
    assert (await session.reconnect()).resume == {"a:b": Position("e1", 7)}


async def test_a_reset_is_told_again_until_it_is_dismissed(session: Session) -> None:
    """The first event of a new epoch comes behind a `gap` with reason `reset`."""
    sub = await listen(session, offset=10)
    session.peer.gap("a:b", 0, 2, reason="reset", epoch="e2")
    session.peer.event("a:b", 3)
    event = await anext(sub)
    assert (event.offset, event.epoch) == (3, "e2")
    assert (await session.reconnect()).resume == {"a:b": Position("e1", 10)}
    session.peer.subscribed("a:b", 3, verdict="gap", epoch="e2")
    sub.dismiss_gap()
    session.peer.event("a:b", 4)
    assert (await anext(sub)).offset == 4
    assert (await session.reconnect()).resume == {"a:b": Position("e2", 4)}


async def test_one_refused_channel_does_not_touch_the_others(session: Session) -> None:
    """P4: a verdict per channel."""
    kept, lost = await listen(session, "a:kept"), await listen(session, "a:lost")
    await session.reconnect()
    session.peer.send(frames.Unsubscribed(channel="a:lost", code="forbidden", message="No."))
    session.peer.subscribed("a:kept", 1, verdict="recovered")
    session.peer.event("a:kept", 1)
    assert (await anext(kept)).offset == 1
    with pytest.raises(Refused) as caught:
        await anext(lost)
    assert caught.value.code == "forbidden"
    assert (await session.reconnect()).resume == {"a:kept": Position("e1", 1)}


async def test_a_subscription_without_a_verdict_is_asked_again(session: Session) -> None:
    """It has no position to resume from, so it is subscribed on the new connection."""
    sub = session.client.subscribe("a:b")
    await session.peer.expect(frames.Subscribe)
    connect = await session.reconnect()
    assert connect.resume is None
    await session.peer.accept("a:b", 3)
    await sub.ready()


async def test_subscribing_while_disconnected_works(session: Session) -> None:
    """It goes out with the next connection; with `since` it is part of `connect`."""
    session.peer.drop()
    await session.becomes("connecting")
    plain = session.client.subscribe("a:plain")
    since = session.client.subscribe("a:since", since=Position("e1", 4))
    await session.clock.elapse(0.25)
    session.peer = await session.server.next()
    connect = await session.peer.greet()
    assert connect.resume == {"a:since": Position("e1", 4)}
    session.peer.subscribed("a:since", 5, verdict="recovered")
    await session.peer.accept("a:plain", 1)
    session.peer.event("a:since", 5)
    assert (await anext(since)).offset == 5
    await plain.ready()


async def test_a_channel_left_while_connecting_stays_left(session: Session) -> None:
    """`connect` named it, so the server listens; that is no subscription of the server's own making."""
    sub = await listen(session)
    await session.come_back()
    connect = await session.peer.expect(frames.Connect)
    assert connect.resume == {"a:b": Position("e1", 0)}
    sub.close()
    session.peer.welcome(connect)
    session.peer.subscribed("a:b", 0, verdict="recovered")
    await session.becomes("connected")
    assert (await session.peer.expect(frames.Unsubscribe)).channel == "a:b"
    assert (await session.reconnect()).resume is None


async def test_a_channel_left_before_its_verdict_can_be_joined_anew(session: Session) -> None:
    """The verdict of the resume crosses `unsubscribe` and `subscribe`, and is not the new one's."""
    sub = await listen(session)
    await session.reconnect()
    sub.close()
    again = session.client.subscribe("a:b")
    await session.peer.expect(frames.Unsubscribe)
    session.peer.subscribed("a:b", 1, verdict="recovered")
    session.peer.event("a:b", 1)
    await session.peer.accept("a:b", 4)
    session.peer.event("a:b", 5)
    assert (await anext(again)).offset == 5
    again.close()
    await session.peer.expect(frames.Unsubscribe)
    assert (await session.reconnect()).resume is None


async def test_positions_over_the_frame_limit_are_subscribed_afterwards(opened: Opened) -> None:
    """`connect` must fit into a frame; the channels that do not are not lost."""
    session = await opened(greeting={"limits": Limits(frame=1075)})
    await listen(session, "a:first")
    await listen(session, "a:second")
    connect = await session.reconnect(limits=Limits(frame=1075))
    assert connect.resume == {"a:first": Position("e1", 0)}
    request = await session.peer.expect(frames.Subscribe)
    assert (request.channel, request.since) == ("a:second", Position("e1", 0))


async def test_no_more_channels_are_resumed_than_allowed(opened: Opened) -> None:
    """CONN-21: the whole `connect` would be refused; the rest is subscribed, and refused one by one."""
    session = await opened(greeting={"limits": Limits(channels=1)})
    await listen(session, "a:first")
    await listen(session, "a:second")
    connect = await session.reconnect()
    assert connect.resume == {"a:first": Position("e1", 0)}
    assert (await session.peer.expect(frames.Subscribe)).channel == "a:second"


async def test_a_subscription_made_before_connecting(
    make_client: Callable[..., Client], server: Server, clock: FakeClock
) -> None:
    """`subscribe` may come first; the frame follows `connected`."""
    client = make_client()
    sub = client.subscribe("a:b")
    connecting = asyncio.create_task(client.connect())
    peer = await server.next()
    await peer.greet()
    await peer.accept("a:b", 0)
    await connecting
    await sub.ready()


async def test_a_refusal_after_a_reconnect_that_may_pass_is_asked_again(session: Session) -> None:
    """A listener that was there before is not given up for a server that failed once."""
    sub = await listen(session)
    await session.reconnect()
    session.peer.send(frames.Unsubscribed(channel="a:b", code="internal", message="Oops."))
    await session.clock.elapse(0.25)
    session.peer.error(await session.peer.expect(frames.Subscribe), "internal", retry=True)
    await session.clock.elapse(0.5)
    request = await session.peer.accept("a:b", 1, verdict="recovered")
    assert request.since == Position("e1", 0)
    session.peer.event("a:b", 1)
    assert (await anext(sub)).offset == 1


async def test_a_retry_that_waits_is_overtaken_by_a_reconnect(session: Session) -> None:
    """`connect` resumes the channel, so the retry must not subscribe it a second time."""
    sub = session.client.subscribe("a:b", since=Position("e1", 0))
    request = await session.peer.expect(frames.Subscribe)
    session.peer.error(request, "rate_limited", retry=True, retry_after=3.0)
    await session.clock.armed(3.25)
    connect = await session.reconnect()
    assert connect.resume == {"a:b": Position("e1", 0)}
    session.clock.advance(20)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    session.peer.subscribed("a:b", 0, verdict="recovered")
    session.peer.event("a:b", 1)
    assert (await anext(sub)).offset == 1


async def test_a_gap_that_nobody_heard_needs_no_dismissal(session: Session) -> None:
    """On a channel that the server made and the app does not listen to, the position just moves."""
    session.peer.subscribed("user:alice", 1)
    session.peer.gap("user:alice", 1, 5)
    session.peer.event("user:alice", 6)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    assert (await session.reconnect()).resume == {"user:alice": Position("e1", 6)}
    session.peer.subscribed("user:alice", 9, verdict="gap")
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    assert (await session.reconnect()).resume == {"user:alice": Position("e1", 9)}


async def test_the_listener_that_is_most_behind_decides(session: Session) -> None:
    """One has dismissed a reset and the other has not: the resume is from before it, in the old epoch."""
    one = await listen(session, offset=10)
    two = session.client.subscribe("a:b")
    await two.ready()
    session.peer.gap("a:b", 0, 3, reason="reset", epoch="e2")
    session.peer.event("a:b", 4)
    assert (await anext(one)).offset == (await anext(two)).offset == 4
    one.dismiss_gap()
    assert (await session.reconnect()).resume == {"a:b": Position("e1", 10)}
    two.dismiss_gap()
    session.peer.subscribed("a:b", 4, verdict="gap", epoch="e2")
    session.peer.event("a:b", 5)
    assert (await anext(one)).offset == (await anext(two)).offset == 5
