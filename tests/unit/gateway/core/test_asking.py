"""What clients ask for: calls, publishes, history, presence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw
from structlog.testing import capture_logs

from backchannel.auth.principal import Principal
from backchannel.relay.relay import Grant
from backchannel.telemetry.metrics import metrics
from backchannel_protocol import JSON, MSGPACK, Codec, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Client, MakeWorld, World


def data(client: Client, request_id: int) -> Any:
    return client.codec.decode_any(client.answer(request_id).data)


# Calls


async def test_a_command_goes_to_the_relay(world: World, codec: Codec) -> None:
    """CALL: body and encoding as they came, with lane, key, user and the time that is left."""
    client = await world.connect("alice", codec)
    body = {"channel": "chat:a", "text": "ü"}
    request_id = client.ask(f.Call, name="message.send", data=body, key="Wq3f9ZkT", timeout=3.0)
    (request,) = world.relay.requests
    assert (request.kind, request.name, request.data) == ("command", "message.send", codec.encode(body))
    assert (request.encoding, request.key, request.lane) == (codec.name, "Wq3f9ZkT", "chat:a\x1f0")
    assert (request.principal.user, request.timeout) == ("alice", 3.0)
    assert request.connection == client.connection.session.id
    world.relay.answer(request, {"id": "m-1", "x": [1, None, "ü"]}, positions={"chat:a": 7})
    await world.quiet()
    assert client.answer(request_id).positions == {"chat:a": 7}
    assert data(client, request_id) == {"id": "m-1", "x": [1, None, "ü"]}


@pytest.mark.parametrize(
    ("name", "body", "lane", "timeout"),
    [
        ("message.send", {"channel": "chat:a", "thread": 7}, "chat:a\x1f7", 10.0),
        ("note.make", {}, "user:alice", 10.0),
        ("order.place", {"shop": "s1"}, "s1", 2.0),
        ("message.list", {}, "", 10.0),
    ],
)
async def test_lanes(world: World, name: str, body: Any, lane: str, timeout: float) -> None:
    """The declared fields, with their defaults; the user where there are none; queries have no lane and no key."""
    client = await world.connect()
    client.ask(f.Call, name=name, data=body, key="Wq3f9ZkT")
    (request,) = world.relay.requests
    assert (request.lane, request.timeout) == (lane, timeout)
    assert request.key == (None if name == "message.list" else "Wq3f9ZkT")


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("no.such", {}, "not_found"),
        ("message.send", {}, "invalid"),
        ("message.send", {"channel": 7}, "invalid"),
        ("message.send", [1], "invalid"),
        ("note.make", {}, "forbidden"),
    ],
)
async def test_calls_that_get_no_further(world: World, codec: Codec, name: str, body: Any, code: str) -> None:
    """CALL-1 and the token's caps: refused here, once."""
    world.authenticator.principals["t"] = Principal("alice", "user:alice", caps=("call:message.*", "call:no.such"))
    client = await world.connect("t", codec)
    request_id = client.ask(f.Call, name=name, data=body)
    assert client.answer(request_id).code == code
    assert world.relay.requests == []


async def test_replies_of_one_tick_leave_in_one_write(world: World) -> None:
    """Performance 6."""
    client = await world.connect()
    ids = [client.ask(f.Call, name="note.make", data={}) for _ in range(5)]
    before = len(client.writes)
    for request in world.relay.requests:
        world.relay.answer(request, None)
    await world.quiet()
    assert len(client.writes) == before + 1
    assert [x.id for x in client.new()] == ids


async def test_a_failure_is_passed_on(world: World) -> None:
    """REQ-4: with the app's own code."""
    client = await world.connect()
    request_id = client.ask(f.Call, name="note.make", data={})
    refusal = Refused("sold_out", "None.", details={"left": 0})
    world.relay.answer(world.relay.requests[0], failure=refusal)
    await world.quiet()
    error = client.answer(request_id)
    assert (error.code, error.message, error.details, error.retry) == ("sold_out", "None.", {"left": 0}, False)


async def test_a_cancelled_call_is_answered(world: World) -> None:
    """CANCEL-1, CANCEL-3."""
    client = await world.connect()
    request_id = client.ask(f.Call, name="note.make", data={})
    client.send(f.Cancel(id=request_id))
    await world.quiet()
    assert client.answer(request_id).code == "cancelled"
    assert world.relay.cancelled == [world.relay.requests[0].id]
    client.send(f.Cancel(id=request_id), f.Cancel(id=99))
    assert len(world.relay.cancelled) == 1


async def test_a_reply_without_a_form_in_msgpack_is_internal(world: World) -> None:
    """REQ-2: answered once all the same."""
    client = await world.connect("alice", MSGPACK)
    request_id = client.ask(f.Call, name="note.make", data={})
    with capture_logs() as logs:
        world.relay.answer(world.relay.requests[0], {"n": 2**70})
        await world.quiet()
    assert client.answer(request_id).code == "internal"
    assert [x["event"] for x in logs] == ["a reply cannot be sent"]


async def test_asking_from_the_http_door(world: World) -> None:
    """The way that a `call` takes; refusals come as failures, and are counted."""
    principal = Principal("alice", "key:k:alice")
    asking = asyncio.create_task(world.gateway.ask(principal, "note.make", b"{}", "Wq3f9ZkT", 5.0))
    await world.quiet()
    (request,) = world.relay.requests
    assert (request.principal, request.key, request.connection, request.encoding) == (
        principal,
        "Wq3f9ZkT",
        "",
        "json",
    )
    world.relay.answer(request, {"n": 1})
    assert (await asking).data == b'{"n":1}'
    errors = metrics.errors["not_found"]
    reply = await world.gateway.ask(principal, "no.such", b"{}", None, 5.0)
    assert reply.failure is not None
    assert reply.failure.code == "not_found"
    assert metrics.errors["not_found"] == errors + 1


# Publishing


async def test_publishing_on_a_live_channel(world: World, codec: Codec) -> None:
    """PUB-4, EVENT-3: accepted with its offset; heard by listeners, the key by one's own connections only."""
    client = await world.connect("alice", codec)
    await world.listen(client, "live:a")
    other = await world.listener("live:a", "bob")
    fields = {"channel": "live:a", "name": "message.created", "key": "Wq3f9ZkT"}
    request_id = client.ask(f.Publish, data={"n": 5, "unknown": 1}, **fields)
    await world.quiet()
    reply = data(client, request_id)
    head = await world.broker.head("live:a")
    assert reply == {"epoch": head.epoch, "offset": 1}
    (event,) = [x for x in client.new() if isinstance(x, f.Event)]
    assert (event.user, event.key, event.offset) == ("alice", "Wq3f9ZkT", 1)
    assert client.codec.decode_any(event.data) == {"n": 5}
    (event,) = other.new(f.Event)
    assert (event.user, event.key) == ("alice", None)


async def test_a_repeated_publish_gets_the_same_offset(world: World) -> None:
    """PUB-5: per user and key; it is heard once."""
    client = await world.listener("live:a")
    fields = {"channel": "live:a", "name": "message.created", "data": {"n": 1}, "key": "Wq3f9ZkT"}
    first = client.ask(f.Publish, **fields)
    second = client.ask(f.Publish, **fields)
    await world.quiet()
    other = await world.connect("bob")
    third = other.ask(f.Publish, **fields)
    await world.quiet()
    assert [data(client, first)["offset"], data(client, second)["offset"], data(other, third)["offset"]] == [1, 1, 2]
    assert [x.offset for x in client.new(f.Event)] == [1, 2]


async def test_an_ephemeral_publish_tells_no_position(world: World) -> None:
    """PUB-4, EVENT-2: on an ephemeral channel, and for an ephemeral event on a live one."""
    client = await world.listener("shout:a")
    await world.listen(client, "live:a")
    first = client.ask(f.Publish, channel="shout:a", name="message.created", data={})
    second = client.ask(f.Publish, channel="live:a", name="typing.started", data={})
    await world.quiet()
    assert (data(client, first), data(client, second)) == ({}, {})
    assert [(x.channel, x.offset) for x in client.new(f.Event)] == [("shout:a", None), ("live:a", None)]


@pytest.mark.parametrize(
    ("channel", "name", "body", "code"),
    [
        ("nothing:a", "message.created", {}, "not_found"),
        ("chat:a", "message.created", {}, "forbidden"),
        ("state:a", "message.created", {}, "forbidden"),
        ("live:a", "no.such", {}, "not_found"),
        ("live:a", "message.created", {"n": "x"}, "invalid"),
        ("live:secret", "message.created", {}, "forbidden"),
        ("live:capped", "message.created", {}, "forbidden"),
    ],
)
@pytest.mark.parametrize("answered", [True, False])
async def test_refused_publishes(
    world: World, codec: Codec, channel: str, name: str, body: Any, code: str, answered: bool
) -> None:
    """PUB-1 to PUB-3: refused with a reason, or counted where no answer is wanted."""
    caps = ("publish:live:a", "publish:live:secret", "publish:nothing:*", "publish:chat:*", "publish:state:*")
    world.authenticator.principals["t"] = Principal("alice", "user:alice", caps=caps)
    world.relay.rule = lambda user, verb, entry: Grant(entry != "live:secret message.created")
    client = await world.connect("t", codec)
    errors = metrics.errors[code]
    if answered:
        request_id = client.ask(f.Publish, channel=channel, name=name, data=body)
        await world.quiet()
        assert client.answer(request_id).code == code
    else:
        client.send(f.Publish(channel=channel, name=name, data=Raw(codec.encode(body))))
        await world.quiet()
        assert client.new() == []
    assert metrics.errors[code] == errors + 1


async def test_the_right_to_publish_is_asked_per_event_and_leased(world: World) -> None:
    """A grant holds for a minute, a refusal for a moment; the worker is asked for channel and event."""
    client = await world.connect()

    async def publish(name: str = "message.created") -> Any:
        request_id = client.ask(f.Publish, channel="live:a", name=name, data={})
        await world.quiet()
        return client.answer(request_id)

    for _ in range(3):
        await publish()
    await publish("typing.started")
    asked = [entry for _, may in world.relay.asked for entry in may.publish]
    assert asked == ["live:a message.created", "live:a typing.started"]
    world.relay.rule = lambda user, verb, entry: Grant(False)
    await world.after(61.0)
    assert (await publish()).code == "forbidden"
    world.relay.rule = lambda user, verb, entry: Grant(True)
    assert (await publish()).code == "forbidden"
    await world.after(1.0)
    assert data(client, (await publish()).id)["offset"] == 4


async def test_grants_to_publish_do_not_pile_up(make_world: MakeWorld) -> None:
    """A client may name any number of channels."""
    world = await make_world(burst=1000)
    client = await world.connect()
    for n in range(300):
        client.ask(f.Publish, channel=f"shout:c{n}", name="message.created", data={})
        await world.quiet()
    assert client.connection.may_publish is not None
    assert len(client.connection.may_publish) <= 64


async def test_what_one_connection_publishes_stays_in_order(world: World) -> None:
    """Also where the first has to wait for its right."""
    client = await world.listener("live:a")
    world.relay.gate = asyncio.Event()
    ids = [client.ask(f.Publish, channel="live:a", name="message.created", data={"n": n}) for n in range(5)]
    await world.quiet()
    assert client.new() == []
    world.relay.gate.set()
    await world.quiet()
    assert [data(client, request_id)["offset"] for request_id in ids] == [1, 2, 3, 4, 5]
    assert [JSON.decode_any(x.data).get("n", 0) for x in client.new(f.Event)] == [0, 1, 2, 3, 4]


async def test_a_reply_does_not_wait_for_the_next_publish(world: World) -> None:
    """REQ-2: an answer that is known leaves, although the next event still waits for its right."""
    client = await world.connect()
    first = client.ask(f.Publish, channel="shout:a", name="message.created", data={})
    await world.quiet()
    world.relay.gate = asyncio.Event()
    client.send(
        f.Publish(id=50, channel="shout:a", name="message.created", data=Raw(b"{}")),
        f.Publish(id=51, channel="shout:b", name="message.created", data=Raw(b"{}")),
    )
    await world.quiet()
    assert [x.id for x in client.new(f.Reply)] == [first, 50]
    world.relay.gate.set()


async def test_what_waits_to_be_published_is_bounded(make_world: MakeWorld) -> None:
    """LIM-3 bounds requests with an id; those without are bounded as well."""
    world = await make_world(open_requests=10)
    client = await world.connect()
    world.relay.gate = asyncio.Event()
    errors = metrics.errors["limit_exceeded"]
    for _ in range(50):
        client.send(f.Publish(channel="shout:a", name="message.created", data=Raw(b"{}")))
    await world.quiet()
    assert metrics.errors["limit_exceeded"] == errors + 40
    world.relay.gate.set()


async def test_a_broker_that_fails_is_internal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """ERR-2, and the next one is served."""
    client = await world.connect()

    async def fail(*arguments: Any) -> Any:
        raise RuntimeError("boom")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(world.broker, "append", fail)
        request_id = client.ask(f.Publish, channel="live:a", name="message.created", data={})
        await world.quiet()
    assert client.answer(request_id).code == "internal"
    assert [x["event"] for x in logs] == ["cannot publish"]
    request_id = client.ask(f.Publish, channel="live:a", name="message.created", data={})
    await world.quiet()
    assert data(client, request_id)["offset"] == 1


# History


async def history(world: World, client: Client, channel: str = "few:a", **fields: Any) -> Any:
    request_id = client.ask(f.History, channel=channel, **{"limit": 3, **fields})
    await world.quiet()
    answer = client.answer(request_id)
    return client.codec.decode_any(answer.data) if isinstance(answer, f.Reply) else answer.code


def offsets(page: Any) -> list[int]:
    return [event["offset"] for event in page["events"]]


async def test_history_both_ways(world: World, codec: Codec) -> None:
    """HIST-1 to HIST-3: the newest, below `before`, above `since`; always in rising order."""
    client = await world.connect("alice", codec)
    for n in range(1, 9):
        world.log.append("few:a", {"n": n}, user="bob", subject="s")
    await world.listen(client, "few:a")
    epoch = world.log.epoch("few:a")
    newest = await history(world, client)
    assert newest["events"][-1] == {
        "name": "message.created",
        "data": {"n": 8},
        "offset": 8,
        "user": "bob",
        "subject": "s",
        "time": 1_760_000_000_000,
    }
    assert (newest["epoch"], newest["head"], newest["first"], offsets(newest)) == (epoch, 8, 1, [6, 7, 8])
    for before, expected in ((9, [6, 7, 8]), (6, [3, 4, 5]), (3, [1, 2]), (1, []), (0, []), (1000, [6, 7, 8])):
        assert offsets(await history(world, client, before=f.Position(epoch, before))) == expected
    for since, expected in ((0, [1, 2, 3]), (6, [7, 8]), (8, []), (1000, [])):
        assert offsets(await history(world, client, since=f.Position(epoch, since))) == expected


async def test_history_ahead_of_the_hub(world: World) -> None:
    """HIST-3: a position above what the broker has brought leaves no hole in a walk downwards."""
    client = await world.listener("few:a")
    for _ in range(5):
        world.log.append("few:a")
    epoch = world.log.epoch("few:a")
    assert offsets(await history(world, client, before=f.Position(epoch, 6))) == [3, 4, 5]
    assert offsets(await history(world, client, before=f.Position(epoch, 600))) == [3, 4, 5]


async def test_history_of_a_live_channel(world: World) -> None:
    """HIST-5: what the log still has, and since when."""
    client = await world.listener("live:a")
    for _ in range(8):
        await world.emit("live:a")
    await world.quiet()
    page = await history(world, client, "live:a", limit=100)
    assert (offsets(page), page["first"], page["head"]) == ([4, 5, 6, 7, 8], 4, 8)


async def test_history_of_another_epoch_is_void(world: World) -> None:
    """HIST-4: by what the log says, also where the hub does not know it yet."""
    client = await world.listener("few:a")
    old = world.log.epoch("few:a")
    world.log.renew("few:a")
    assert await history(world, client, since=f.Position(old, 0)) == "conflict"
    assert offsets(await history(world, client, since=f.Position(world.log.epoch("few:a"), 0))) == []


async def test_history_is_bounded_below_by_the_grant(world: World) -> None:
    """HIST-6, SUB-5: nothing older than the user's joining, whichever way, and `first` says so."""
    for _ in range(8):
        world.log.append("few:a")
    world.relay.rule = lambda user, verb, entry: Grant(True, 5)
    client = await world.listener("few:a")
    epoch = world.log.epoch("few:a")
    page = await history(world, client, limit=100)
    assert (offsets(page), page["first"]) == ([6, 7, 8], 6)
    assert offsets(await history(world, client, limit=2, since=f.Position(epoch, 0))) == [6, 7]
    assert offsets(await history(world, client, limit=2, before=f.Position(epoch, 7))) == [6]
    assert offsets(await history(world, client, limit=2, before=f.Position(epoch, 6))) == []


async def test_an_ephemeral_channel_has_no_history(world: World) -> None:
    """HIST-6."""
    client = await world.listener("shout:a")
    assert await history(world, client, "shout:a") == "invalid"


async def test_a_page_is_no_larger_than_what_may_be_queued(make_world: MakeWorld) -> None:
    """HIST-3: fewer events than asked for, from the right end; one at least."""
    world = await make_world(queued=2000)
    client = await world.connect()
    for n in range(6):
        world.log.append("few:a", {"text": "x" * (300 if n < 5 else 5000)})
    await world.listen(client, "few:a")
    epoch = world.log.epoch("few:a")
    assert offsets(await history(world, client, limit=100, since=f.Position(epoch, 0))) == [1, 2, 3]
    assert offsets(await history(world, client, limit=100, since=f.Position(epoch, 5))) == [6]
    assert offsets(await history(world, client, limit=100)) == [6]
    assert offsets(await history(world, client, limit=100, before=f.Position(epoch, 6))) == [3, 4, 5]


async def test_a_right_that_ends_while_a_page_is_read(world: World) -> None:
    """P6: the page is not sent any more."""
    client = await world.listener("few:a")
    world.log.gate = asyncio.Event()
    request_id = client.ask(f.History, channel="few:a", limit=3)
    await world.quiet()
    world.publish("few:a", ends=["alice"])
    await world.quiet()
    world.log.gate.set()
    await world.quiet()
    assert client.answer(request_id).code == "forbidden"


@pytest.mark.parametrize(
    ("failure", "code"), [(Refused("unavailable", "Away."), "unavailable"), (RuntimeError("boom"), "internal")]
)
async def test_history_that_cannot_be_read(world: World, failure: Exception, code: str) -> None:
    """REQ-2: answered in any case."""
    client = await world.listener("few:a")
    world.log.failure = failure
    with capture_logs():
        assert await history(world, client) == code
