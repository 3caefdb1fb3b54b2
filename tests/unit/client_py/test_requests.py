"""Asking: typed calls, ids, keys, time-outs, cancelling, and what a lost connection does to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest
from msgspec import Struct

from backchannel_client import ConnectionClosed, Event, Malformed, Position, Refused
from backchannel_protocol import Command, Limits, Outcome, Query, frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.unit.client_py.conftest import Session

    Opened = Callable[..., Awaitable[Session]]


class Placed(Struct):
    id: int


class Place(Command[Placed]):
    wire_name: ClassVar[str] = "order.place"
    shop: str
    quantity: int = 1


class Find(Query[list[Placed]]):
    wire_name: ClassVar[str] = "order.find"


class Nameless(Command[Placed]):
    pass


class Sampled(Event):
    wire_name: ClassVar[str] = "load.sampled"
    cpu: float


async def test_a_struct_is_a_typed_call(session: Session) -> None:
    """The struct knows its name, and its answer comes back as the type that it declares."""
    call = asyncio.create_task(session.client.call(Place(shop="a", quantity=2)))
    frame = await session.peer.expect(frames.Call)
    assert (frame.name, session.peer.codec.decode_any(frame.data)) == (
        "order.place",
        {"shop": "a", "quantity": 2},
    )
    assert frame.timeout is None
    session.peer.reply(frame, {"id": 7})
    assert await call == Placed(id=7)


async def test_a_name_is_a_plain_call(session: Session) -> None:
    """The string form takes and gives plain data; no data is an empty map."""
    call = asyncio.create_task(session.client.call("order.place"))
    frame = await session.peer.expect(frames.Call)
    assert session.peer.codec.decode_any(frame.data) == {}
    session.peer.reply(frame, {"any": [1, None]})
    assert await call == {"any": [1, None]}


async def test_request_tells_the_positions(session: Session) -> None:
    """Snapshot and stream join by `positions`."""
    call = asyncio.create_task(session.client.request(Find()))
    session.peer.reply(await session.peer.expect(frames.Call), [{"id": 1}], {"shop:a": 12})
    data, positions = await call
    assert (data, positions) == ([Placed(id=1)], {"shop:a": 12})


async def test_answers_may_come_in_another_order(session: Session) -> None:
    """Answers are matched by id; ids differ, on one connection and the next."""
    calls = [asyncio.create_task(session.client.call("thing.do", {"n": n})) for n in range(3)]
    asked = [await session.peer.expect(frames.Call) for _ in calls]
    assert len({frame.id for frame in asked}) == 3
    for frame in reversed(asked):
        session.peer.reply(frame, session.peer.codec.decode_any(frame.data)["n"])
    assert await asyncio.gather(*calls) == [0, 1, 2]


async def test_an_error_is_refused_with_all_it_says(session: Session) -> None:
    """`Refused` carries code, message, retry, outcome, details, retry_after."""
    call = asyncio.create_task(session.client.call("thing.do"))
    frame = await session.peer.expect(frames.Call)
    session.peer.send(
        frames.Error(
            id=frame.id,
            code="sold_out",
            message="None left.",
            retry=True,
            outcome="none",
            details={"left": 0},
            retry_after=1.5,
        )
    )
    with pytest.raises(Refused, match="None left") as caught:
        await call
    error = caught.value
    assert (error.code, error.retry, error.outcome, error.details, error.retry_after) == (
        "sold_out",
        True,
        "none",
        {"left": 0},
        1.5,
    )


async def test_an_answer_of_another_shape_is_malformed(session: Session) -> None:
    """A wrong answer is an error of its own, and the connection goes on."""
    call = asyncio.create_task(session.client.call(Place(shop="a")))
    session.peer.reply(await session.peer.expect(frames.Call), {"id": "seven"})
    with pytest.raises(Malformed):
        await call
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_keys_are_random_by_default_and_none_on_request(session: Session) -> None:
    """A command has a key of its own, an app's key is used as it is, a query needs none."""
    for request in (
        session.client.call("thing.do"),
        session.client.call("thing.do"),
        session.client.call("thing.do", key="my-own-key"),
        session.client.call("thing.do", key=None),
        session.client.call(Find()),
    ):
        task = asyncio.create_task(request)
        await asyncio.sleep(0)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    keys = [(await session.peer.expect(frames.Call)).key for _ in range(5)]
    assert keys == [f"{1:032x}", f"{2:032x}", "my-own-key", None, None]


async def test_a_keyed_call_is_sent_again_with_its_key(session: Session) -> None:
    """P2: after a lost connection the same key goes out again, so it takes effect once."""
    call = asyncio.create_task(session.client.call(Place(shop="a")))
    first = await session.peer.expect(frames.Call)
    await session.reconnect()
    again = await session.peer.expect(frames.Call)
    assert (again.key, again.name, again.data) == (first.key, first.name, first.data)
    session.peer.reply(again, {"id": 1})
    assert await call == Placed(id=1)


async def test_resent_calls_keep_their_order_before_new_ones(session: Session) -> None:
    """Calls of one client go out in the order in which they were asked, also after a reconnect."""
    calls = [asyncio.create_task(session.client.call("thing.do", {"n": 1}))]
    await session.peer.expect(frames.Call)
    session.peer.drop()
    await session.becomes("connecting")
    calls.append(asyncio.create_task(session.client.call("thing.do", {"n": 2})))
    await session.clock.elapse(0.25)
    session.peer = await session.server.next()
    await session.peer.greet()
    for n in (1, 2):
        frame = await session.peer.expect(frames.Call)
        assert session.peer.codec.decode_any(frame.data) == {"n": n}
        session.peer.reply(frame, n)
    assert await asyncio.gather(*calls) == [1, 2]


async def test_a_keyless_call_in_flight_has_an_unknown_outcome(session: Session) -> None:
    """Without a key it is never sent twice: `unavailable`, outcome `unknown`."""
    call = asyncio.create_task(session.client.call("thing.do", key=None))
    await session.peer.expect(frames.Call)
    await session.reconnect()
    with pytest.raises(Refused) as caught:
        await call
    assert (caught.value.code, caught.value.outcome) == ("unavailable", "unknown")
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_queries_and_reads_are_sent_again_without_a_key(session: Session) -> None:
    """What changes nothing may be repeated."""
    client = session.client
    asked = [
        asyncio.create_task(client.call(Find())),
        asyncio.create_task(client.history("a:b")),
        asyncio.create_task(client.presence("a:b")),
    ]
    kinds = [type(await session.peer.receive()) for _ in asked]
    await session.reconnect()
    again = [await session.peer.receive() for _ in asked]
    assert [type(frame) for frame in again] == kinds
    session.peer.reply(again[0], [])
    session.peer.reply(again[1], {"epoch": "e1", "head": 0, "first": 0, "events": []})
    session.peer.send(frames.Presence(id=again[2].id, channel="a:b", revision=1, members=[], count=0))  # type: ignore[union-attr]
    await asyncio.gather(*asked)


async def test_a_call_waits_for_the_connection(session: Session) -> None:
    """A call that is asked while there is no connection goes out with the next one."""
    session.peer.drop()
    await session.becomes("connecting")
    call = asyncio.create_task(session.client.call("thing.do", key=None))
    await session.clock.elapse(0.25)
    session.peer = await session.server.next()
    await session.peer.greet()
    session.peer.reply(await session.peer.expect(frames.Call), 1)
    assert await call == 1


async def test_a_time_out_cancels_and_tells_the_outcome(session: Session) -> None:
    """The server is told the time and the end of it; a late answer is ignored."""
    call = asyncio.create_task(session.client.call("thing.do", timeout=4.0))
    frame = await session.peer.expect(frames.Call)
    assert frame.timeout == 4.0
    await session.clock.elapse(4.0)
    with pytest.raises(Refused, match="within 4 s") as caught:
        await call
    assert (caught.value.code, caught.value.outcome) == ("unavailable", "unknown")
    assert (await session.peer.expect(frames.Cancel)).id == frame.id
    session.peer.reply(frame, "late")
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_a_resent_call_has_the_time_that_is_left(session: Session) -> None:
    """The deadline is the caller's, whatever happens to connections in between."""
    call = asyncio.create_task(session.client.call("thing.do", timeout=4.0))
    await session.peer.expect(frames.Call)
    await session.reconnect()
    frame = await session.peer.expect(frames.Call)
    assert frame.timeout == pytest.approx(3.75)
    session.peer.reply(frame, 1)
    await call


async def test_a_call_that_was_never_sent_has_had_no_effect(session: Session) -> None:
    """Without a connection the time runs all the same, and the outcome is `none`."""
    session.server.unreachable = 1000
    session.peer.drop()
    await session.becomes("connecting")
    call = asyncio.create_task(session.client.call("thing.do", timeout=0.1))
    await session.clock.elapse(0.1)
    with pytest.raises(Refused, match="no connection") as caught:
        await call
    assert caught.value.outcome == "none"


async def test_cancelling_a_call_tells_the_server_and_harms_nothing(session: Session) -> None:
    """`cancel` goes out, the answer is ignored, the next call works."""
    call = asyncio.create_task(session.client.call("thing.do"))
    frame = await session.peer.expect(frames.Call)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await session.peer.expect(frames.Cancel)).id == frame.id
    session.peer.error(frame, "cancelled")
    call = asyncio.create_task(session.client.call("thing.do"))
    session.peer.reply(await session.peer.expect(frames.Call), 2)
    assert await call == 2


async def test_a_cancelled_call_is_not_sent_again(session: Session) -> None:
    """Nobody waits for it any more."""
    call = asyncio.create_task(session.client.call("thing.do"))
    await session.peer.expect(frames.Call)
    session.peer.drop()
    await session.becomes("connecting")
    call.cancel()
    await session.clock.elapse(0.25)
    session.peer = await session.server.next()
    await session.peer.greet()
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_open_requests_stay_within_the_limit(opened: Opened) -> None:
    """What is over `limits.open_requests` waits for an answer to come."""
    session = await opened(greeting={"limits": Limits(open_requests=2)})
    calls = [asyncio.create_task(session.client.call("thing.do", {"n": n})) for n in range(3)]
    first = await session.peer.expect(frames.Call)
    await session.peer.expect(frames.Call)
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    session.peer.reply(first, 0)
    frame = await session.peer.expect(frames.Call)
    assert session.peer.codec.decode_any(frame.data) == {"n": 2}
    for call in calls:
        call.cancel()


async def test_subscribes_count_as_open_requests_too(opened: Opened) -> None:
    """They take half of the limit at most, and calls take what is left."""
    session = await opened(greeting={"limits": Limits(open_requests=4)})
    for n in range(3):
        session.client.subscribe(f"a:{n}")
    calls = [asyncio.create_task(session.client.call("thing.do", {"n": n})) for n in range(3)]
    asked = [await session.peer.receive() for _ in range(4)]
    assert [type(frame) for frame in asked] == [frames.Subscribe] * 2 + [frames.Call] * 2
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)
    assert isinstance(asked[0], frames.Subscribe)
    assert isinstance(asked[1], frames.Subscribe)
    for subscribe in asked[:2]:
        assert isinstance(subscribe, frames.Subscribe)
        session.peer.subscribed(subscribe.channel, 0, id=subscribe.id)
    assert {type(await session.peer.receive()) for _ in range(2)} == {frames.Subscribe, frames.Call}
    for call in calls:
        call.cancel()


async def test_an_unknown_outcome_is_sent_again_with_the_key(session: Session) -> None:
    """CALL-6: `unavailable` with outcome `unknown`, until there is no time left."""
    call = asyncio.create_task(session.client.call("thing.do", timeout=8.0))
    first = await session.peer.expect(frames.Call)
    session.peer.error(first, "unavailable", retry=True, retry_after=1.0, outcome="unknown")
    await session.clock.elapse(1.25)
    again = await session.peer.expect(frames.Call)
    assert (again.key, again.timeout) == (first.key, 6.75)
    session.peer.error(again, "unavailable", retry=True, retry_after=9.0, outcome="unknown")
    with pytest.raises(Refused) as caught:
        await call
    assert (caught.value.code, caught.value.outcome) == ("unavailable", "unknown")


async def test_a_later_refusal_knows_nothing_of_an_earlier_sending(session: Session) -> None:
    """Who is turned away for now, after a first sending that may have arrived, is not told that nothing happened.

    It is sent again while there is time; a refusal that no retry can change is an answer for good.
    """
    call = asyncio.create_task(session.client.call("thing.do", timeout=8.0))
    first = await session.peer.expect(frames.Call)
    await session.reconnect()
    again = await session.peer.expect(frames.Call)
    assert again.key == first.key
    session.peer.error(again, "unavailable", retry=True, retry_after=1.0, outcome="none")
    await session.clock.elapse(1.25)
    session.peer.error(await session.peer.expect(frames.Call), "rate_limited", retry=True, retry_after=9.0)
    with pytest.raises(Refused) as caught:
        await call
    assert (caught.value.code, caught.value.outcome) == ("rate_limited", "unknown")
    call = asyncio.create_task(session.client.call("thing.do"))
    await session.peer.expect(frames.Call)
    await session.reconnect()
    session.peer.error(await session.peer.expect(frames.Call), "forbidden")
    with pytest.raises(Refused) as caught:
        await call
    assert (caught.value.code, caught.value.outcome) == ("forbidden", "none")


@pytest.mark.parametrize("key", [None, "a-key-of-mine"])
@pytest.mark.parametrize("outcome", ["none", "unknown"])
async def test_what_is_told_at_once(session: Session, key: str | None, outcome: Outcome) -> None:
    """Without a key nothing is repeated, and what did not happen is for the app to decide."""
    call = asyncio.create_task(session.client.call("thing.do", key=key))
    session.peer.error(await session.peer.expect(frames.Call), "unavailable", retry=True, outcome=outcome)
    if key is not None and outcome == "unknown":
        await session.clock.elapse(0.25)
        session.peer.error(await session.peer.expect(frames.Call), "forbidden")
    with pytest.raises(Refused):
        await call
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_a_pause_survives_a_reconnect_and_a_cancellation(session: Session) -> None:
    """A call that waits to be repeated goes out on the next connection, unless nobody waits for it."""
    kept = asyncio.create_task(session.client.call("thing.do", {"n": 1}))
    given_up = asyncio.create_task(session.client.call("thing.do", {"n": 2}))
    for _ in range(2):
        frame = await session.peer.expect(frames.Call)
        session.peer.error(frame, "unavailable", retry=True, retry_after=5.0, outcome="unknown")
    await session.clock.armed(5.25)
    given_up.cancel()
    await session.reconnect()
    await session.clock.elapse(5.0)
    session.peer.reply(await session.peer.expect(frames.Call), 1)
    assert await kept == 1
    session.peer.send(frames.Ping())
    await session.peer.expect(frames.Pong)


async def test_a_final_end_in_a_pause_is_told(session: Session) -> None:
    """A call that waits to be repeated must not wait for its deadline."""
    call = asyncio.create_task(session.client.call("thing.do"))
    frame = await session.peer.expect(frames.Call)
    session.peer.error(frame, "unavailable", retry=True, retry_after=5.0, outcome="unknown")
    await session.clock.armed(5.25)
    session.peer.drop(4501)
    with pytest.raises(ConnectionClosed) as caught:
        await call
    assert caught.value.outcome == "unknown"


async def test_the_server_is_told_no_more_than_it_allows(opened: Opened) -> None:
    """CALL-4: `timeout` is at most `limits.call`; the client itself waits longer."""
    session = await opened(greeting={"limits": Limits(call=3.0)})
    call = asyncio.create_task(session.client.call("thing.do", timeout=60.0))
    frame = await session.peer.expect(frames.Call)
    assert frame.timeout == 3.0
    session.peer.reply(frame, 1)
    await call


async def test_a_request_over_the_frame_limit_is_refused_here(session: Session) -> None:
    """It is `too_large` before it costs the connection."""
    with pytest.raises(Refused, match="65536") as caught:
        await session.client.call("thing.do", {"text": "x" * 70_000})
    assert caught.value.code == "too_large"


async def test_publish_takes_a_struct_or_a_name(session: Session) -> None:
    """Both forms; the answer tells where the event stands; a key makes repeating safe."""
    publish = asyncio.create_task(session.client.publish("load:host", Sampled(cpu=0.5)))
    frame = await session.peer.expect(frames.Publish)
    assert (frame.channel, frame.name, session.peer.codec.decode_any(frame.data)) == (
        "load:host",
        "load.sampled",
        {"cpu": 0.5},
    )
    await session.reconnect()
    again = await session.peer.expect(frames.Publish)
    assert again.key == frame.key is not None
    session.peer.reply(again, {"epoch": "e1", "offset": 3})
    assert await publish == frames.PublishReply(epoch="e1", offset=3)
    publish = asyncio.create_task(session.client.publish("load:host", "load.sampled", {"cpu": 1}))
    session.peer.reply(await session.peer.expect(frames.Publish), {})
    assert await publish == frames.PublishReply()


async def test_history_and_presence_have_their_structs(session: Session) -> None:
    """`history` is answered by a reply, `presence` by a frame of that name with the id."""
    history = asyncio.create_task(session.client.history("a:b", since=Position("e1", 2), limit=5))
    frame = await session.peer.expect(frames.History)
    assert (frame.since, frame.before, frame.limit) == (Position("e1", 2), None, 5)
    event = {"name": "x.done", "data": {"a": 1}, "offset": 3, "user": "bob", "time": 9}
    session.peer.reply(frame, {"epoch": "e1", "head": 3, "first": 1, "events": [event]})
    page = await history
    assert (page.head, page.events[0].data, page.events[0].offset) == (3, {"a": 1}, 3)

    presence = asyncio.create_task(session.client.presence("a:b"))
    asked = await session.peer.expect(frames.PresenceRequest)
    members = [frames.Member(user="bob", since=1)]
    session.peer.send(frames.Presence(id=asked.id, channel="a:b", revision=4, members=members, count=1))
    answer = await presence
    assert (answer.members, answer.count, answer.revision) == (members, 1, 4)


@pytest.mark.parametrize("name", ["", "Thing.do", "thing..do", "x" * 65])
async def test_what_is_no_name_never_leaves(session: Session, name: str) -> None:
    """A wrong name or channel is refused with the grammar, before the server sees it."""
    with pytest.raises(Refused, match=r"noun\.verb"):
        await session.client.call(name)
    with pytest.raises(Refused, match="namespace:name"):
        await session.client.publish("no channel", "thing.done", {})
    with pytest.raises(TypeError, match="wire_name"):
        await session.client.call(Nameless())


async def test_what_a_stuck_connection_does_not_take_waits_here(session: Session) -> None:
    """So much may wait to be sent; past it calls wait unsent, where a time-out has had no effect. Nothing grows."""
    go_on = asyncio.Event()
    send = session.peer.transport.send

    async def stuck(message: bytes) -> None:
        await go_on.wait()
        await send(message)

    session.peer.transport.send = stuck  # type: ignore[method-assign]
    text = "x" * 50_000
    calls = [asyncio.create_task(session.client.call("a.b", {"text": text}, timeout=5.0)) for _ in range(20)]
    await session.clock.elapse(5.0)
    outcomes = []
    for call in calls:
        with pytest.raises(Refused) as caught:
            await call
        outcomes.append(caught.value.outcome)
    assert outcomes == ["unknown"] * 6 + ["none"] * 14
    later = asyncio.create_task(session.client.call("a.b", {"n": 1}))
    go_on.set()
    while not isinstance(frame := await session.peer.receive(), frames.Call) or frame.timeout is not None:
        pass
    session.peer.reply(frame, "done")
    assert await later == "done"
