"""The gateway: accepting, authenticating, limits, life in time, draining, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backchannel.auth.principal import Principal
from backchannel.gateway import transport as doors
from backchannel.relay.relay import Reply
from backchannel.telemetry.metrics import metrics
from backchannel_protocol import JSON, MSGPACK, CloseCode, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Client, MakeWorld, World


def code(client: Client) -> int | None:
    """With which code the connection was closed."""
    return client.closed[0] if client.closed else None


async def test_it_is_what_the_doors_ask_for(world: World) -> None:
    """The gateway and its connections have the shape that `transport.py` states."""
    gateway: doors.Gateway = world.gateway
    http: doors.HttpGateway = world.gateway
    transport: doors.Transport = world.door()
    connection: doors.Connection = gateway.accept(transport, JSON, "::1")
    assert (gateway.frame_limit, gateway.max_queued) == (65_536, 1_048_576)
    assert http.readiness() == {}
    connection.lost()


async def test_a_token_in_the_header_counts_at_connect(world: World) -> None:
    """CONN-5: unless the frame has one."""
    for token, frame, user in (("alice", None, "alice"), ("alice", "bob", "bob"), (None, "bob", "bob")):
        client = world.door(token=token)
        client.ask(f.Connect, token=frame)
        await world.quiet()
        assert client.answer(1).user == user


async def test_answers_of_one_read_leave_together(world: World) -> None:
    """Performance 6: one write per read."""
    client = await world.connect()
    before = len(client.writes)
    client.send(*(f.Unsubscribe(id=n, channel="few:a") for n in range(100, 110)))
    assert len(client.writes) == before + 1
    assert [x.id for x in client.new()] == list(range(100, 110))


@pytest.mark.parametrize(
    ("failure", "reason", "close"),
    [
        (Refused("unauthenticated", "No."), "unauthenticated", CloseCode.UNAUTHENTICATED),
        (Refused("unavailable", "Later."), "unavailable", CloseCode.UNAVAILABLE),
        (RuntimeError("boom"), "internal", CloseCode.UNAVAILABLE),
    ],
)
async def test_a_connect_that_fails(world: World, failure: Exception, reason: str, close: CloseCode) -> None:
    """CONN-10: answered, closed, counted; nothing of the reason beyond the code (ERR-2)."""
    world.authenticator.principals["bad"] = failure
    refused, closes = metrics.refused[reason], metrics.closes[str(int(close))]
    client = world.door()
    with capture_logs() as logs:
        request_id = client.ask(f.Connect, token="bad")
        await world.quiet()
    assert client.answer(request_id).code == reason
    assert code(client) == close
    assert "boom" not in repr(client.frames())
    assert metrics.closes[str(int(close))] == closes + 1
    assert metrics.refused[reason] == refused + (reason != "internal")
    assert [x["event"] for x in logs] == (["cannot authenticate"] if reason == "internal" else [])
    assert not world.gateway.connections


async def test_a_user_s_connections_are_limited(make_world: MakeWorld) -> None:
    """CONN-10: `limit_exceeded`, 4502; also where they connect at once. Room comes back."""
    world = await make_world(connections_per_user=2)
    await world.connect("bob")
    clients = [world.door() for _ in range(4)]
    for client in clients:
        client.ask(f.Connect, token="alice")
    await world.quiet()
    assert [type(client.frames()[0]) for client in clients] == [f.Connected, f.Connected, f.Error, f.Error]
    assert [code(client) for client in clients] == [None, None, 4502, 4502]
    clients[0].lose()
    await world.connect("alice")


async def test_an_address_s_connections_are_limited(make_world: MakeWorld) -> None:
    """At the handshake already, whoever they are; room comes back."""
    world = await make_world(connections_per_address=2)
    first = world.door(address="10.0.0.1")
    world.door(address="10.0.0.1")
    with pytest.raises(Refused, match="limit_exceeded"):
        world.door(address="10.0.0.1")
    world.door(address="10.0.0.2")
    first.lose()
    world.door(address="10.0.0.1")


async def test_pings_and_silence(make_world: MakeWorld) -> None:
    """PING-1, PING-2: at least every `ping` seconds; who is silent for longer than ping + grace is closed."""
    world = await make_world(ping=1.0, grace=0.5)
    lively, dead = await world.connect("alice"), await world.connect("bob", MSGPACK)
    dead.alive = False
    silent = metrics.silent_closes
    await world.after(1.45)
    assert code(dead) is None
    await world.after(0.3)
    assert code(dead) == CloseCode.SILENT
    assert metrics.silent_closes == silent + 1
    await world.after(10.0)
    assert lively.closed is None
    pings = [x for x in lively.frames() if isinstance(x, f.Ping)]
    assert len(pings) >= 10


async def test_connect_must_come_in_time(make_world: MakeWorld) -> None:
    """CONN-8: 4003, precisely enough, whatever the ping is."""
    world = await make_world(connect=2.0)
    client = world.door()
    await world.after(1.9)
    assert code(client) is None
    await world.after(1.2)
    assert code(client) == CloseCode.CONNECT_TIMEOUT


async def test_an_expired_token_ends_the_connection(world: World) -> None:
    """CONN-25, REFRESH: 4005 at that time, and not if it was refreshed."""
    clients = []
    for user in ("alice", "bob"):
        world.authenticator.principals[user] = Principal(user, f"user:{user}", expires=1_760_000_020.0)
        clients.append(await world.connect(user))
    await world.after(5.0)
    world.authenticator.principals["new"] = Principal("bob", "user:bob", expires=1_760_000_100.0)
    request_id = clients[1].ask(f.Refresh, token="new")
    await world.after(14.0)
    assert JSON.decode_any(clients[1].answer(request_id).data) == {"expires": 1_760_000_100_000}
    assert [client.closed for client in clients] == [None, None]
    await world.after(2.2)
    assert clients[0].closed == (CloseCode.EXPIRED, "the token expired")
    assert clients[1].closed is None


async def test_a_refused_refresh_counts_no_refused_connection(world: World) -> None:
    """REFRESH-2: the connection goes on."""
    world.authenticator.principals["bad"] = Refused("unauthenticated", "No.")
    client = await world.connect()
    refused = metrics.refused["unauthenticated"]
    request_id = client.ask(f.Refresh, token="bad")
    await world.quiet()
    assert client.answer(request_id).code == "unauthenticated"
    assert client.closed is None
    assert metrics.refused["unauthenticated"] == refused


async def test_who_connects_together_is_not_pinged_together(world: World) -> None:
    """A reconnect storm must not come back as a storm of pings."""
    clients = [await world.connect(f"u{n}") for n in range(50)]
    moments: set[float] = set()
    for _ in range(30):
        await world.after(1.0)
        if any(client.new(f.Ping) for client in clients):
            moments.add(world.loop.time())
    assert len(moments) > 5


async def test_errors_are_counted_by_code(world: World) -> None:
    """Every error that is sent, whoever made it, once; malformed frames beside."""
    client = await world.connect()
    before = dict(metrics.errors)
    malformed, frames_in = metrics.frames_malformed, metrics.frames_in
    client.send(b"[1,2")
    client.ask(f.History, channel="few:a", limit=1)
    client.ask(f.Call, name="no.such", data={})
    await world.listen(client, "nothing:a")
    changed = {code: n - before.get(code, 0) for code, n in metrics.errors.items() if n != before.get(code, 0)}
    assert changed == {"invalid": 1, "forbidden": 1, "not_found": 2}
    assert metrics.frames_malformed == malformed + 1
    assert metrics.frames_in == frames_in + 4


# Draining


async def test_draining_moves_everybody_spread_out(world: World) -> None:
    """MOVE-1, MOVE-4, P7: `move` tells the time that is left; at its end whoever is still there is closed with 4000."""
    clients = [await world.connect(f"u{n}") for n in range(10)]
    early = world.door()
    began = world.loop.time()
    draining = asyncio.create_task(world.gateway.drain(15.0))
    await world.quiet()
    assert "gateway" in world.gateway.readiness()
    with pytest.raises(Refused, match="unavailable"):
        world.door()
    told: dict[int, float] = {}
    while len(told) < 10:
        await asyncio.sleep(0.1)
        for n, client in enumerate(clients):
            for move in client.new(f.Move):
                told[n] = world.loop.time() - began
                assert move.after == pytest.approx(15.0 - told[n], abs=0.2)
    assert max(told.values()) <= 7.6
    assert len({round(moment) for moment in told.values()}) >= 5
    assert code(early) == CloseCode.MOVED
    # What is asked meanwhile is served (MOVE-2).
    assert (await world.listen(clients[0], "few:a")).verdict == "new"
    for client in clients[1:]:
        client.lose()
    assert not draining.done()
    await draining
    assert world.loop.time() - began == pytest.approx(15.0, abs=0.1)
    assert clients[0].closed is not None
    assert clients[0].closed[0] == CloseCode.MOVED


async def test_draining_ends_when_nobody_is_left(world: World) -> None:
    """Also when they leave before all were told."""
    clients = [await world.connect(f"u{n}") for n in range(5)]
    began = world.loop.time()
    draining = asyncio.create_task(world.gateway.drain(30.0))
    await world.after(4.0)
    for client in clients:
        client.lose()
    await draining
    assert world.loop.time() - began < 8.0


async def test_draining_an_empty_gateway_takes_no_time(world: World) -> None:
    """Nobody is waited for."""
    began = world.loop.time()
    await world.gateway.drain()
    assert world.loop.time() == began


# Leaving nothing behind


async def busy(world: World, codec: Any = JSON) -> Client:
    """A client that uses everything there is."""
    client = await world.connect("alice", codec)
    for channel in ("chat:a", "skip:a", "live:a", "shout:a", "state:a"):
        await world.listen(client, channel)
    client.ask(f.Call, name="note.make", data={})
    client.ask(f.Publish, channel="live:a", name="message.created", data={"n": 1})
    client.ask(f.History, channel="chat:a", limit=5)
    client.ask(f.PresenceRequest, channel="chat:a")
    await world.quiet()
    client.pause()
    client.waiting = 600_000
    world.publish("skip:a", user="alice", key="alices-key")
    await world.emit("state:a")
    await world.quiet()
    return client


@pytest.mark.parametrize("end", ["lost", "closed", "slow", "in the middle"])
async def test_a_connection_that_ends_leaves_nothing(world: World, end: str) -> None:
    """No entry in hub, gateway, wheel or relay, and no reference that keeps it alive."""
    client = await busy(world)
    request = world.relay.requests[-1]
    if end == "closed":
        client.connection.close(CloseCode.REVOKED, "banned")
    elif end == "slow":
        client.waiting = 2_000_000
        client.ask(f.Unsubscribe, channel="chat:a")
        assert client.aborted
    elif end == "in the middle":
        world.relay.gate = asyncio.Event()
        world.log.gate = asyncio.Event()
        client.ask(f.Subscribe, channel="few:z")
        client.ask(f.Publish, channel="shout:z", name="message.created", data={"n": 1})
        client.ask(f.History, channel="chat:a", limit=5)
        await world.quiet()
        client.lose()
        world.relay.gate.set()
        world.log.gate.set()
    else:
        client.lose()
    await world.quiet()
    assert world.relay.cancelled == [request.id]
    assert not world.gateway.connections
    assert not world.gateway._of_user
    assert not world.gateway._of_address
    assert not any(world.gateway._wheel._slots)
    assert not world.gateway.publishing._queues
    assert not world.hub._tasks
    assert world.hub.subscriptions == 0
    assert all(channel.vacant() and channel.joiners is None for channel in world.hub.channels.values())
    reference = weakref.ref(client.connection)
    del client
    gc.collect()
    assert reference() is None


async def test_nothing_is_written_after_the_end(world: World) -> None:
    """A late answer to somebody who is gone goes nowhere, and breaks nothing."""
    client = await busy(world)
    request = world.relay.requests[-1]
    on_reply = world.relay._waiting[request.id]
    client.lose()
    await world.quiet()
    written = len(client.writes)
    on_reply(Reply(id=request.id, data=b"null"))
    client.connection.flush()
    await world.quiet()
    assert len(client.writes) == written


async def test_an_idle_connection_keeps_no_containers(world: World) -> None:
    """Memory: what was needed once is let go of."""
    client = await world.connect()
    request_id = client.ask(f.Call, name="note.make", data={})
    world.relay.answer(world.relay.requests[-1], {"n": 1})
    await world.quiet()
    assert client.answer(request_id)
    connection = client.connection
    assert connection.calls is None
    assert connection._out is None
    assert connection.may_publish is None
    assert connection.drained is None


async def test_gauges_are_taken_away(make_world: MakeWorld) -> None:
    """A gateway that is closed counts no more."""
    before = metrics.measure().get("subscriptions", 0.0)
    world = await make_world()
    await world.connect()
    assert metrics.measure()["subscriptions"] == before + 1
    assert metrics.connections >= 1
    await world.close()
    assert metrics.measure().get("subscriptions", 0.0) == before


async def test_origins(make_world: MakeWorld) -> None:
    """CONN-4: the host's own pages, those that are listed, and what is no browser."""
    world = await make_world(origins=("https://app.example",))
    allows = world.gateway.allows_origin
    assert allows(None, "h:8000")
    assert allows("http://h:8000", "h:8000")
    assert allows("https://app.example", "h:8000")
    assert not allows("https://evil.example", "h:8000")
    assert not allows("null", "h:8000")
    assert not allows("https://evil.example", None)


async def test_the_collector_looks_at_no_connection_for_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there is at a new height is frozen; once most are gone, those that come in their place are as well."""
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(len(world.gateway.connections)))
    clients = [await world.connect(f"user{number}", address=f"::{number}") for number in range(1050)]
    assert frozen == [500, 1050]
    for client in clients[600:]:
        client.lose()
    for number in range(450):
        await world.connect(f"other{number}", address="::1")
    assert frozen == [500, 1050]
    for connection in list(world.gateway.connections)[10:]:
        connection.lost()
    for number in range(520):
        await world.connect(f"later{number}", address="::2")
    assert frozen == [500, 1050, 512]
