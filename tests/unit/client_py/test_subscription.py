"""Listening: verdicts, order, gaps, queues, the end of a subscription."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest

from backchannel_client import Event, Gap, Malformed, Overflow, Position, Presence, Refused
from backchannel_protocol import frames

if TYPE_CHECKING:
    from tests.unit.client_py.conftest import Session


class Happened(Event):
    wire_name: ClassVar[str] = "thing.happened"
    n: int


class Other(Event):
    wire_name: ClassVar[str] = "other.happened"


async def test_ready_waits_for_the_verdict(session: Session) -> None:
    """`async with` gives the subscription once the server listens for us."""
    sub = session.client.subscribe("a:b")
    assert (sub.state, sub.verdict, sub.position) == ("subscribing", None, None)
    ready = asyncio.create_task(sub.ready())
    request = await session.peer.expect(frames.Subscribe)
    assert (request.channel, request.since) == ("a:b", None)
    assert not ready.done()
    session.peer.subscribed("a:b", 7, id=request.id)
    await ready
    assert (sub.state, sub.verdict, sub.position) == ("subscribed", "new", Position("e1", 7))


async def test_an_event_has_all_its_fields(session: Session) -> None:
    """Plain data, typed data, and where it stands."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    session.peer.event("a:b", 1, data={"n": 5}, key="key-12345", subject="host-1", time=12)
    event = await anext(sub)
    assert (event.channel, event.name, event.offset, event.epoch) == ("a:b", "thing.happened", 1, "e1")
    assert (event.user, event.key, event.subject, event.time) == ("bob", "key-12345", "host-1", 12)
    assert event.data == {"n": 5}
    assert event.decode(Happened) == Happened(n=5)
    assert event.position == sub.position == Position("e1", 1)
    with pytest.raises(Malformed, match=r"thing\.happened"):
        event.decode(Other)


async def test_a_refused_subscription_raises(session: Session) -> None:
    """`ready` and iteration tell why; the channel is forgotten."""
    sub = session.client.subscribe("a:b")
    session.peer.error(await session.peer.expect(frames.Subscribe), "forbidden")
    with pytest.raises(Refused) as caught:
        await sub.ready()
    assert caught.value.code == "forbidden"
    with pytest.raises(Refused):
        await anext(sub)
    connect = await session.reconnect()
    assert connect.resume is None


async def test_a_busy_server_is_asked_again(session: Session) -> None:
    """`rate_limited` is no reason to give a subscription up."""
    sub = session.client.subscribe("a:b")
    session.peer.error(await session.peer.expect(frames.Subscribe), "rate_limited", retry=True, retry_after=2.0)
    await session.clock.elapse(2.25)
    await session.peer.accept("a:b", 3)
    await sub.ready()


async def test_an_ended_right_ends_the_iteration_behind_the_last_event(session: Session) -> None:
    """`unsubscribed`: what came before is still given out, then the reason is raised."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    session.peer.event("a:b", 1)
    session.peer.send(frames.Unsubscribed(channel="a:b", code="forbidden", message="You left."))
    assert (await anext(sub)).offset == 1
    with pytest.raises(Refused, match="You left"):
        await anext(sub)
    assert sub.state == "ended"


async def test_an_end_that_may_pass_is_asked_again_from_the_position(session: Session) -> None:
    """`unsubscribed` with a code that a retry can help: the client subscribes again and misses nothing."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    session.peer.event("a:b", 1)
    assert (await anext(sub)).offset == 1
    session.peer.send(frames.Unsubscribed(channel="a:b", code="unavailable", message="Later."))
    await session.clock.elapse(0.25)
    request = await session.peer.accept("a:b", 2, verdict="recovered")
    assert request.since == Position("e1", 1)
    session.peer.event("a:b", 2)
    assert (await anext(sub)).offset == 2
    # It worked, so the next trouble starts with a short delay again.
    session.peer.send(frames.Unsubscribed(channel="a:b", code="unavailable", message="Later."))
    await session.clock.armed(0.25)


async def test_leaving_unsubscribes_and_stops_quietly(session: Session) -> None:
    """After `async with` the iterator stops, and events on the way are dropped."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    async with sub:
        session.peer.event("a:b", 1)
        await anext(sub)
    assert (await session.peer.expect(frames.Unsubscribe)).channel == "a:b"
    session.peer.event("a:b", 2)
    assert [event async for event in sub] == []
    sub.close()


async def test_subscribing_again_is_not_confused_by_what_is_on_the_way(session: Session) -> None:
    """Events and an `unsubscribed` of the old subscription cross the new `subscribe`."""
    old = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    await old.ready()
    old.close()
    new = session.client.subscribe("a:b")
    await session.peer.expect(frames.Unsubscribe)
    session.peer.event("a:b", 1)
    session.peer.send(frames.Unsubscribed(channel="a:b", code="forbidden", message="Old."))
    await session.peer.accept("a:b", 5)
    session.peer.event("a:b", 6)
    assert (await anext(new)).offset == 6


async def test_cancelling_an_iteration_loses_no_event(session: Session) -> None:
    """A time-out around `anext` is a normal thing to do."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    waiting = asyncio.ensure_future(anext(sub))
    await asyncio.sleep(0)
    waiting.cancel()
    session.peer.event("a:b", 1)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await anext(sub)).offset == 1


async def test_two_listeners_share_one_channel(session: Session) -> None:
    """A second local subscription needs no frame; the last one to leave unsubscribes."""
    first = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 4)
    await first.ready()
    second = session.client.subscribe("a:b")
    await second.ready()
    assert second.position == Position("e1", 4)
    session.peer.event("a:b", 5)
    assert (await anext(first)).offset == (await anext(second)).offset == 5
    first.close()
    session.peer.event("a:b", 6)
    assert (await anext(second)).offset == 6
    second.close()
    await session.peer.expect(frames.Unsubscribe)


async def test_a_second_listener_may_start_earlier(session: Session) -> None:
    """It gets the missed events, and the first hears none twice."""
    first = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 4)
    session.peer.event("a:b", 5)
    assert (await anext(first)).offset == 5
    second = session.client.subscribe("a:b", since=Position("e1", 3))
    await session.peer.expect(frames.Unsubscribe)
    request = await session.peer.accept("a:b", 5, verdict="recovered")
    assert request.since == Position("e1", 3)
    for offset in (4, 5, 6):
        session.peer.event("a:b", offset)
    assert [(await anext(second)).offset for _ in range(3)] == [4, 5, 6]
    assert (await anext(first)).offset == 6


async def test_a_subscription_the_server_made_is_joined_without_a_frame(session: Session) -> None:
    """`subscribed` without id: the server listens for us; leaving locally does not end it."""
    session.peer.subscribed("user:alice", 9)
    session.peer.event("user:alice", 10)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    sub = session.client.subscribe("user:alice")
    await sub.ready()
    assert sub.position == Position("e1", 10)
    session.peer.event("user:alice", 11)
    assert (await anext(sub)).offset == 11
    sub.close()
    connect = await session.reconnect()
    assert connect.resume == {"user:alice": Position("e1", 11)}


async def test_asking_for_what_the_server_makes_anyway_is_harmless(session: Session) -> None:
    """The app's `subscribe` may cross the server's own, and be refused as a repetition."""
    sub = session.client.subscribe("user:alice")
    request = await session.peer.expect(frames.Subscribe)
    session.peer.subscribed("user:alice", 2)
    session.peer.error(request, "conflict")
    session.peer.event("user:alice", 3)
    assert (await anext(sub)).offset == 3


async def test_an_answer_that_the_server_listens_already_resets_nothing(session: Session) -> None:
    """SUB-4: it comes when our `subscribe` crossed the server's own, and the position goes on."""
    sub = session.client.subscribe("user:alice")
    request = await session.peer.expect(frames.Subscribe)
    session.peer.subscribed("user:alice", 2)
    session.peer.gap("user:alice", 2, 4)
    session.peer.subscribed("user:alice", 6, verdict="recovered", id=request.id)
    for offset in (5, 6, 7):
        session.peer.event("user:alice", offset)
    assert [(await anext(sub)).offset for _ in range(3)] == [5, 6, 7]
    assert len(sub.gaps) == 1


async def test_a_gap_is_told_at_its_place_in_the_stream(session: Session) -> None:
    """`on_gap` is awaited between the events before and behind the gap."""
    story: list[object] = []

    async def missed(gap: Gap) -> None:
        story.append((gap.from_, gap.to, gap.reason))
        await asyncio.sleep(0)
        sub.dismiss_gap(gap)

    sub = session.client.subscribe("a:b", on_gap=missed)
    await session.peer.accept("a:b", 0)
    session.peer.event("a:b", 1)
    session.peer.gap("a:b", 1, 5)
    session.peer.event("a:b", 6)
    before = await anext(sub)
    story.append(before.offset)
    behind = await anext(sub)
    story.append(behind.offset)
    assert story == [1, (1, 5, "slow"), 6]
    assert sub.gaps == ()
    assert sub.position == Position("e1", 6)


async def test_without_on_gap_the_gap_stays_open(session: Session) -> None:
    """The app can look at `gaps`, and a position to go on from lies before the gap."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    session.peer.gap("a:b", 0, 5)
    session.peer.event("a:b", 6)
    assert (await anext(sub)).offset == 6
    assert [(gap.from_, gap.to) for gap in sub.gaps] == [(0, 5)]
    assert sub.position == Position("e1", 0)
    sub.dismiss_gap()
    assert sub.position == Position("e1", 6)


async def test_a_gap_dismissed_before_its_place_is_not_told(session: Session) -> None:
    """The app has said already that it does without."""
    gaps: list[Gap] = []
    sub = session.client.subscribe("a:b", on_gap=gaps.append)
    await session.peer.accept("a:b", 0)
    session.peer.gap("a:b", 0, 5)
    session.peer.event("a:b", 6)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    sub.dismiss_gap()
    assert (await anext(sub)).offset == 6
    assert gaps == []


async def test_the_first_verdict_can_be_a_gap(session: Session) -> None:
    """Subscribing from a position that the log does not have any more."""
    gaps: list[Gap] = []
    sub = session.client.subscribe("a:b", since=Position("e0", 3), on_gap=gaps.append)
    assert sub.position == Position("e0", 3)
    request = await session.peer.accept("a:b", 8, verdict="gap")
    assert request.since == Position("e0", 3)
    session.peer.event("a:b", 9)
    assert (await anext(sub)).offset == 9
    assert [(gap.reason, gap.to, gap.epoch) for gap in gaps] == [("reset", 8, "e1")]


async def test_presence_changes_reach_the_listener(session: Session) -> None:
    """A `presence` frame without id is a change; a callback that fails is logged."""
    changes: list[Presence] = []

    def note(change: Presence) -> None:
        changes.append(change)
        raise RuntimeError

    sub = session.client.subscribe("a:b", on_presence=note)
    await session.peer.accept("a:b", 0)
    session.peer.send(frames.Presence(channel="a:b", revision=2, left=["bob"], count=0))
    session.peer.event("a:b", 1)
    await anext(sub)
    assert [change.left for change in changes] == [["bob"]]


async def test_overflow_raises_behind_what_was_queued(session: Session) -> None:
    """The policy `raise`: a named error, and a position from which nothing is lost."""
    sub = session.client.subscribe("a:b", queue=2)
    await session.peer.accept("a:b", 0)
    for offset in (1, 2, 3):
        session.peer.event("a:b", offset)
    await session.peer.expect(frames.Unsubscribe)
    assert [(await anext(sub)).offset for _ in range(2)] == [1, 2]
    with pytest.raises(Overflow, match=r"since=subscription\.position"):
        await anext(sub)
    again = session.client.subscribe("a:b", since=sub.position)
    request = await session.peer.accept("a:b", 3, verdict="recovered")
    assert request.since == Position("e1", 2)
    session.peer.event("a:b", 3)
    assert (await anext(again)).offset == 3


async def test_drop_oldest_keeps_the_newest(session: Session) -> None:
    """For events that the next one makes worthless; how many went is counted."""
    sub = session.client.subscribe("a:b", queue=2, overflow="drop_oldest")
    await session.peer.accept("a:b", 0)
    for n in range(5):
        session.peer.event("a:b", None, data={"n": n})
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    assert [(await anext(sub)).data["n"] for _ in range(2)] == [3, 4]
    assert sub.dropped == 3


async def test_what_is_no_channel_or_position_never_leaves(session: Session) -> None:
    """One bad value must not spoil the `connect` that resumes all channels."""
    with pytest.raises(Refused, match="chat:lobby"):
        session.client.subscribe("lobby")
    with pytest.raises(Refused, match="no position"):
        session.client.subscribe("a:b", since=Position("e1", -1))
    with pytest.raises(ValueError, match="queue"):
        session.client.subscribe("a:b", queue=0)


async def test_hundreds_of_subscriptions_are_asked_in_portions(session: Session) -> None:
    """At most 128 without an answer at one time, so that calls find room too."""
    subs = [session.client.subscribe(f"a:{n}") for n in range(130)]
    asked = [await session.peer.expect(frames.Subscribe) for _ in range(128)]
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    session.peer.error(asked[0], "forbidden")
    session.peer.subscribed("a:1", 0, id=asked[1].id)
    assert [(await session.peer.expect(frames.Subscribe)).channel for _ in range(2)] == ["a:128", "a:129"]
    await subs[1].ready()


async def test_closing_the_client_stops_iterations_quietly(session: Session) -> None:
    """`close()` is the app's own wish and no error."""
    sub = session.client.subscribe("a:b")
    await session.peer.accept("a:b", 0)
    await sub.ready()
    await session.client.close()
    assert [event async for event in sub] == []


async def test_the_position_stays_before_what_comes_late(session: Session) -> None:
    """Events that fill a gap queue behind newer ones: until they are taken, whoever goes on elsewhere needs them."""
    sub = session.client.subscribe("a:b", since=Position("e1", 1))
    await session.peer.accept("a:b", 2, verdict="recovered")
    session.peer.event("a:b", 2)
    session.peer.gap("a:b", 2, 5)
    session.peer.event("a:b", 6)
    await session.come_back()
    connect = await session.peer.greet()
    await session.becomes("connected")
    assert connect.resume == {"a:b": Position("e1", 2)}
    session.peer.subscribed("a:b", 7, verdict="recovered")
    for offset in range(3, 8):
        session.peer.event("a:b", offset)
    taken = []
    for _ in range(6):
        event = await anext(sub)
        taken.append((event.offset, sub.position))
    assert taken == [
        (2, Position("e1", 2)),
        (6, Position("e1", 2)),
        (3, Position("e1", 3)),
        (4, Position("e1", 4)),
        (5, Position("e1", 6)),
        (7, Position("e1", 7)),
    ]


async def test_a_cancelled_gap_is_told_again(session: Session) -> None:
    """Whoever was cut off while loading a snapshot is called once more by the next iteration."""
    told: list[int] = []
    never = asyncio.Event()

    async def load(gap: Gap) -> None:
        told.append(gap.to)
        if len(told) == 1:
            await never.wait()
        sub.dismiss_gap(gap)

    sub = session.client.subscribe("a:b", on_gap=load)
    await session.peer.accept("a:b", 0)
    session.peer.gap("a:b", 0, 5)
    session.peer.event("a:b", 6)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(sub)
    assert (await anext(sub)).offset == 6
    assert told == [5, 5]
