"""`move`: a second connection takes over, by offset, before the first is closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backchannel_client import Position, Refused, Subscription
from backchannel_protocol import Limits, frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.unit.client_py.conftest import Peer, Session

    Opened = Callable[..., Awaitable[Session]]


async def listen(session: Session, channel: str = "a:b", offset: int = 0) -> Subscription:
    sub = session.client.subscribe(channel)
    await session.peer.accept(channel, offset)
    await sub.ready()
    return sub


async def move(session: Session, after: float = 30.0) -> tuple[Peer, Peer]:
    """Tell the client to move, and let it begin; returns the old and the new peer."""
    old = session.peer
    old.send(frames.Move(after=after))
    # A random moment in the first half of the time (MOVE-1): its middle, by our chance.
    await session.clock.elapse(after / 4)
    return old, await session.server.next()


async def test_channels_switch_by_offset_then_the_old_connection_closes(session: Session) -> None:
    """P7: none missing, none twice, no change of state."""
    sub = await listen(session)
    old, new = await move(session)
    old.event("a:b", 1)
    assert (await anext(sub)).offset == 1
    connect = await new.expect(frames.Connect)
    assert connect.resume in ({"a:b": Position("e1", 0)}, {"a:b": Position("e1", 1)})
    old.event("a:b", 2)
    assert (await anext(sub)).offset == 2
    new.welcome(connect, session="s-2")
    old.event("a:b", 3)
    assert (await anext(sub)).offset == 3
    assert not old.transport.closed.done()
    new.subscribed("a:b", 3, verdict="recovered")
    for offset in (1, 2, 3, 4):
        new.event("a:b", offset)
    assert (await anext(sub)).offset == 4
    assert await old.closed() == 1000
    assert session.client.session == "s-2"
    assert session.client.state == "connected"
    assert session._states.empty()


async def test_what_the_old_connection_says_of_a_switched_channel_is_ignored(session: Session) -> None:
    """Once the new connection has confirmed a channel, the old one's events and end do not count."""
    one, two = await listen(session, "a:one"), await listen(session, "a:two")
    old, new = await move(session)
    await new.greet()
    new.subscribed("a:one", 0, verdict="recovered")
    new.send(frames.Ping())
    await new.expect(frames.Pong)
    old.event("a:one", None, data={"n": "old"})
    old.send(frames.Unsubscribed(channel="a:one", code="forbidden", message="Draining."))
    old.event("a:two", 1)
    assert (await anext(two)).offset == 1
    new.event("a:one", None, data={"n": "new"})
    assert (await anext(one)).data == {"n": "new"}


async def test_calls_in_flight_are_answered_by_the_old_connection(session: Session) -> None:
    """New calls take the new connection; the old one stays until it has answered."""
    before = asyncio.create_task(session.client.call("thing.do", key=None))
    asked = await session.peer.expect(frames.Call)
    old, new = await move(session)
    await new.greet()
    new.send(frames.Ping())
    await new.expect(frames.Pong)
    after = asyncio.create_task(session.client.call("thing.do"))
    new.reply(await new.expect(frames.Call), "new")
    assert await after == "new"
    assert not old.transport.closed.done()
    old.reply(asked, "old")
    assert await before == "old"
    assert await old.closed() == 1000


async def test_past_its_time_the_old_connection_is_left(session: Session) -> None:
    """A keyed call is sent again on the new one; a keyless one has an unknown outcome."""
    keyed = asyncio.create_task(session.client.call("thing.do"))
    keyless = asyncio.create_task(session.client.call("thing.do", key=None))
    for _ in range(2):
        await session.peer.expect(frames.Call)
    old, new = await move(session, after=8.0)
    await new.greet()
    await session.clock.elapse(6.0)
    assert await old.closed() == 1000
    new.reply(await new.expect(frames.Call), 1)
    assert await keyed == 1
    with pytest.raises(Refused) as caught:
        await keyless
    assert caught.value.outcome == "unknown"


async def test_a_failed_move_is_tried_again_while_the_old_connection_works(session: Session) -> None:
    """The old connection is used until another is open."""
    session.server.unreachable = 1
    session.peer.send(frames.Move(after=30.0))
    await session.clock.elapse(7.5)
    await session.clock.armed(0.25)
    call = asyncio.create_task(session.client.call("thing.do"))
    session.peer.reply(await session.peer.expect(frames.Call), 1)
    assert await call == 1
    session.clock.advance(0.25)
    new = await session.server.next()
    await new.greet()
    assert await session.peer.closed() == 1000
    assert session.client.state == "connected"


async def test_moves_that_failed_do_not_slow_the_way_back(session: Session) -> None:
    """A lone gateway that restarts: the client tries in vain, then comes back as after any loss of a steady one."""
    session.server.unreachable = 5
    session.clock.advance(5.0)
    session.peer.send(frames.Move(after=30.0))
    await session.clock.elapse(7.5)
    for delay in (0.25, 0.5, 1.0, 2.0):
        await session.clock.elapse(delay)
    await session.clock.armed(4.0)
    session.peer.drop(4000)
    await session.becomes("connecting")
    await session.clock.elapse(0.25)
    await (await session.server.next()).greet()
    await session.becomes("connected")


async def test_a_move_that_fails_after_the_old_connection_went(session: Session) -> None:
    """The attempt was under way when the old connection was lost: a loss of a steady one all the same."""
    await session.reconnect()
    await session.reconnect()
    session.clock.advance(5.0)
    old, new = await move(session)
    await new.expect(frames.Connect)
    session.clock.advance(5.0)
    new.drop()
    old.drop(4000)
    await session.becomes("connecting")
    await session.clock.elapse(0.25)
    await (await session.server.next()).greet()


async def test_a_steady_connection_resets_the_delay_for_its_move(session: Session) -> None:
    """Trouble of long ago must not make a move miss its time."""
    await session.reconnect()
    await session.reconnect()
    session.clock.advance(5.0)
    session.server.unreachable = 1
    session.peer.send(frames.Move(after=30.0))
    await session.clock.elapse(7.5)
    await session.clock.armed(0.25)


async def test_too_many_connections_while_moving_is_not_final(session: Session) -> None:
    """The old connection still counts against the limit, and is about to go."""
    old, new = await move(session)
    connect = await new.expect(frames.Connect)
    new.error(connect, "limit_exceeded")
    await session.clock.elapse(0.25)
    await (await session.server.next()).greet()
    assert await old.closed() == 1000


async def test_losing_the_old_connection_while_moving(session: Session) -> None:
    """The gateway went faster than it said: the channels wait for the new connection."""
    sub = await listen(session)
    old, new = await move(session)
    connect = await new.expect(frames.Connect)
    old.drop()
    await session.becomes("connecting")
    assert sub.state == "subscribing"
    new.welcome(connect, session="s-2")
    await session.becomes("connected")
    new.subscribed("a:b", 1, verdict="recovered")
    new.event("a:b", 1)
    assert (await anext(sub)).offset == 1


async def test_losing_the_old_connection_before_the_move_begins(session: Session) -> None:
    """There is nothing to wait for any more: the client comes back as after any loss."""
    session.peer.send(frames.Move(after=30.0))
    await session.clock.armed(7.5)
    session.peer.drop(4000)
    await session.becomes("connecting")
    await session.clock.elapse(0.25)
    await (await session.server.next()).greet()
    await session.becomes("connected")


async def test_a_final_end_before_the_move_begins(session: Session) -> None:
    """4500-4999 are final while moving too."""
    session.peer.send(frames.Move(after=30.0))
    await session.clock.armed(7.5)
    session.peer.drop(4501)
    assert (await session.client.wait_closed()).code == 4501


async def test_a_subscribe_in_flight_is_asked_on_the_new_connection(session: Session) -> None:
    """The old connection's late verdict is of no interest any more."""
    sub = session.client.subscribe("a:b")
    late = await session.peer.expect(frames.Subscribe)
    old, new = await move(session)
    await new.greet()
    request = await new.expect(frames.Subscribe)
    old.subscribed("a:b", 99, id=late.id)
    new.subscribed("a:b", 5, id=request.id)
    await sub.ready()
    assert sub.position == Position("e1", 5)


async def test_a_channel_refused_by_the_new_connection_ends(session: Session) -> None:
    """A right that ended meanwhile ends the subscription, and the old connection can go."""
    sub = await listen(session)
    old, new = await move(session)
    await new.greet()
    new.send(frames.Unsubscribed(channel="a:b", code="forbidden", message="No."))
    with pytest.raises(Refused):
        await anext(sub)
    assert await old.closed() == 1000


async def test_a_late_verdict_of_the_old_connection_does_not_take_a_channel_back(session: Session) -> None:
    """A `subscribe` with a position in flight is part of the new `connect`, whose verdict counts."""
    sub = session.client.subscribe("a:b", since=Position("e1", 3))
    late = await session.peer.expect(frames.Subscribe)
    call = asyncio.create_task(session.client.call("thing.do"))
    await session.peer.expect(frames.Call)
    old, new = await move(session)
    connect = await new.greet()
    assert connect.resume == {"a:b": Position("e1", 3)}
    new.subscribed("a:b", 3, verdict="recovered")
    await sub.ready()
    old.subscribed("a:b", 3, id=late.id, verdict="recovered")
    old.event("a:b", 4, data={"n": "old"})
    old.send(frames.Ping())
    await old.expect(frames.Pong)
    new.event("a:b", 4, data={"n": "new"})
    assert (await anext(sub)).data == {"n": "new"}
    # A call that nobody waits for does not hold the old connection.
    call.cancel()
    assert await old.closed() == 1000


async def test_a_channel_beyond_the_frame_limit_moves_by_subscribe(opened: Opened) -> None:
    """Refused there for good, it ends; refused for now, it is asked again."""
    limits = Limits(frame=1075)
    session = await opened(greeting={"limits": limits})
    first, second = await listen(session, "a:first"), await listen(session, "a:second")
    old, new = await move(session)
    connect = await new.greet(limits=limits)
    assert connect.resume == {"a:first": Position("e1", 0)}
    new.subscribed("a:first", 0, verdict="recovered")
    new.error(await new.expect(frames.Subscribe), "unavailable", retry=True)
    assert await old.closed() == 1000
    await session.clock.elapse(0.25)
    request = await new.accept("a:second", 1, verdict="recovered")
    assert request.since == Position("e1", 0)
    new.event("a:second", 1)
    assert (await anext(second)).offset == 1
    assert first.state == "subscribed"
