"""Subscribing: who may, catching up, and joining without a race."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backchannel.auth.principal import Principal
from backchannel.relay.relay import Grant
from backchannel_protocol import JSON, MSGPACK, Codec, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Heard, MakeWorld, World

NAME = "skip:a"


def at(world: World, offset: int, channel: str = NAME) -> f.Position:
    return f.Position(world.log.epoch(channel), offset)


async def test_from_now(world: World) -> None:
    """SUB-1."""
    for _ in range(3):
        world.log.append(NAME)
    client = await world.connect()
    told = await world.listen(client, NAME)
    assert (told.verdict, told.epoch, told.offset) == ("new", world.log.epoch(NAME), 3)
    assert world.hub.subscriptions == 2  # and one's own


async def test_an_undeclared_namespace_is_not_found(world: World) -> None:
    """REQ-7; the others of the same connect are not hindered (P4)."""
    client = await world.connect()
    assert (await world.listen(client, "nothing:a")).code == "not_found"


async def test_a_resume_from_memory(world: World, codec: Codec) -> None:
    """SUB-11: the frames that the hub remembers answer it without a read; the same bytes as live ones."""
    live = await world.listener(NAME, "bob", codec)
    live.new()
    live.writes.clear()
    for _ in range(5):
        world.publish(NAME)
        await world.quiet()
    reads = world.log.reads
    client = await world.listener(NAME, "alice", codec, since=at(world, 2))
    assert [x.offset for x in client.frames() if isinstance(x, f.Event)] == [3, 4, 5]
    # Beside the reads for alice's own channel.
    assert world.log.reads == reads + 1
    assert b"".join(live.writes[2:5]) in client.writes


async def test_a_resume_from_the_log(world: World, heard: type[Heard]) -> None:
    """SUB-11: what the hub does not remember is read, page by page, and the stream goes on behind it."""
    for _ in range(250):
        world.log.append(NAME)
    client = await world.connect()
    since = at(world, 0)
    request_id = client.ask(f.Subscribe, channel=NAME, since=since)
    await asyncio.sleep(0)
    world.publish(NAME)
    await world.quiet()
    world.publish(NAME)
    await world.quiet()
    assert client.answer(request_id).verdict == "recovered"
    assert heard(NAME).take(client.frames(), since).offsets == list(range(1, 253))


@pytest.mark.parametrize(("missed", "verdict"), [(2, "recovered"), (3, "gap")])
async def test_the_recovery_limit_of_a_namespace(world: World, missed: int, verdict: str) -> None:
    """SUB-2, SUB-12: more than it brings is a gap, and the stream goes on at the head."""
    for _ in range(5):
        world.log.append("few:a")
    client = await world.connect()
    told = await world.listen(client, "few:a", since=at(world, 5 - missed, "few:a"))
    assert (told.verdict, told.offset) == (verdict, 5)
    world.publish("few:a")
    await world.quiet()
    brought = [x.offset for x in client.frames() if isinstance(x, f.Event)]
    assert brought == ([4, 5, 6] if verdict == "recovered" else [6])


async def test_the_recovery_limit_of_the_installation(make_world: MakeWorld) -> None:
    """SUB-2: `limits.recovery`, where the namespace says nothing."""
    world = await make_world(recovery=3)
    for _ in range(5):
        world.log.append(NAME)
    client = await world.connect()
    assert (await world.listen(client, NAME, since=at(world, 1))).verdict == "gap"
    other = await world.connect("bob")
    assert (await world.listen(other, NAME, since=at(world, 2))).verdict == "recovered"


@pytest.mark.parametrize(("first", "verdict"), [(3, "recovered"), (4, "gap")])
async def test_trimmed_events_cannot_be_recovered(world: World, first: int, verdict: str) -> None:
    """SUB-2: the log says what it still has."""
    for _ in range(5):
        world.log.append(NAME)
    await world.listener(NAME, "bob")
    world.log.trim(NAME, first)
    client = await world.connect()
    assert (await world.listen(client, NAME, since=at(world, 2))).verdict == verdict


async def test_a_position_ahead_of_the_hub_is_looked_up_in_the_log(world: World) -> None:
    """SUB-2: another gateway brought the client further than the broker has brought this one. It hears what follows."""
    await world.listener(NAME, "bob")
    for _ in range(3):
        world.log.append(NAME)
    client = await world.connect()
    told = await world.listen(client, NAME, since=at(world, 2))
    assert (told.verdict, told.offset) == ("recovered", 3)
    world.publish(NAME)
    await world.quiet()
    assert [event.offset for event in client.frames() if isinstance(event, f.Event)] == [3, 4]


async def test_a_void_position_is_a_gap(world: World) -> None:
    """SUB-2: another epoch, and an offset past the head."""
    world.log.append(NAME)
    client = await world.connect()
    assert (await world.listen(client, NAME, since=f.Position("old", 1))).verdict == "gap"
    other = await world.connect("bob")
    assert (await world.listen(other, NAME, since=at(world, 2))).verdict == "gap"


async def test_an_ephemeral_channel_knows_no_position(world: World) -> None:
    """SUB-3, EVENT-2."""
    client = await world.connect()
    told = await world.listen(client, "shout:a", since=f.Position("x", 3))
    assert (told.verdict, told.epoch, told.offset) == ("new", "", 0)
    world.shout("shout:a", user="bob")
    await world.quiet()
    (event,) = client.new()
    assert (event.offset, event.user) == (None, "bob")


async def test_to_subscribe_again_tells_the_present_position(world: World) -> None:
    """SUB-4."""
    client = await world.listener(NAME)
    world.publish(NAME)
    await world.quiet()
    client.new()
    request_id = client.ask(f.Subscribe, channel=NAME, since=at(world, 0))
    assert client.new() == [
        f.Subscribed(id=request_id, channel=NAME, verdict="recovered", epoch=world.log.epoch(NAME), offset=1)
    ]
    world.publish(NAME)
    await world.quiet()
    assert [x.offset for x in client.new()] == [2]


async def test_connected_comes_before_everything(world: World) -> None:
    """CONN-23, SUB-14: with resumed channels whose events wait in memory already."""
    await world.listener(NAME, "bob")
    for _ in range(2):
        world.publish(NAME)
    await world.quiet()
    client = world.door()
    client.ask(f.Connect, token="alice", resume={NAME: at(world, 0), "few:a": f.Position("old", 1)})
    await world.quiet()
    frames = client.frames()
    assert isinstance(frames[0], f.Connected)
    verdicts = {x.channel: (x.verdict, x.id) for x in frames if isinstance(x, f.Subscribed)}
    assert verdicts == {NAME: ("recovered", None), "few:a": ("gap", None), "user:alice": ("new", None)}
    mine = [x for x in frames if getattr(x, "channel", None) == NAME and not isinstance(x, f.Presence)]
    assert [type(x) for x in mine] == [f.Subscribed, f.Event, f.Event]


async def test_one_question_for_all_channels(world: World) -> None:
    """The rights of one frame's channels are asked for in one query; one's own channel needs none."""
    world.authenticator.principals["t"] = Principal("alice", "user:alice", channels=("chat:b", "chat:c"))
    client = world.door()
    client.ask(f.Connect, token="t", resume={"chat:a": f.Position("x", 1)})
    await world.quiet()
    ((user, may),) = world.relay.asked
    assert (user, may.listen, may.publish) == ("alice", ["chat:a", "chat:b", "chat:c"], [])


async def test_refusals_do_not_hinder_the_others(world: World) -> None:
    """CONN-22, P4: `unsubscribed` with the reason for each that is refused."""
    world.relay.rule = lambda user, verb, entry: Grant(entry != "chat:b", code="not_found", message="No such channel.")
    client = world.door()
    resume = {name: f.Position("x", 1) for name in ("chat:a", "chat:b", "nothing:c")}
    client.ask(f.Connect, token="alice", resume=resume)
    await world.quiet()
    told = {x.channel: x for x in client.frames() if isinstance(x, f.Subscribed | f.Unsubscribed)}
    assert told["chat:b"] == f.Unsubscribed(channel="chat:b", code="not_found", message="No such channel.")
    assert [type(told[name]) for name in ("chat:b", "nothing:c")] == [f.Unsubscribed] * 2
    assert {type(told[name]) for name in ("chat:a", "user:alice")} == {f.Subscribed}
    assert not world.hub.channels["chat:b"].listeners()


async def test_a_token_s_caps_narrow(world: World) -> None:
    """Nobody is asked for what the token does not allow."""
    world.authenticator.principals["t"] = Principal("alice", "user:alice", caps=("listen:chat:*",))
    client = await world.connect("t")
    assert (await world.listen(client, "few:a")).code == "forbidden"
    assert (await world.listen(client, "chat:a")).verdict == "new"
    assert [may.listen for _, may in world.relay.asked] == [["chat:a"]]


async def test_no_worker_no_subscription(world: World) -> None:
    """SUB: `unavailable`, to be tried again."""
    client = await world.connect()
    world.relay.failure = Refused("unavailable", "No worker is there.", outcome="none", retry_after=1.0)
    error = await world.listen(client, NAME)
    assert (error.code, error.retry, error.retry_after) == ("unavailable", True, 1.0)


async def test_a_worker_that_answers_nonsense_is_internal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """REQ-2, ERR-2: the request is answered whatever breaks, and the reason is in the log."""
    client = await world.connect()

    async def nonsense(request: Any) -> Any:
        raise ValueError("boom")

    monkeypatch.setattr(world.relay, "ask", nonsense)
    with capture_logs() as logs:
        error = await world.listen(client, NAME)
    assert error.code == "internal"
    assert "boom" not in error.message
    assert [x["event"] for x in logs] == ["cannot subscribe"]
    assert world.hub.channels[NAME].vacant()


async def test_a_log_that_fails_while_catching_up_ends_the_subscription(world: World) -> None:
    """UNSUB-10: `unavailable`: subscribe again from where you are."""
    for _ in range(3):
        world.log.append(NAME)
    client = await world.connect()
    await world.listener(NAME, "bob")
    world.log.gate = asyncio.Event()
    request_id = client.ask(f.Subscribe, channel=NAME, since=at(world, 0))
    reads = world.log.reads
    await world.until(lambda: world.log.reads > reads)
    world.log.failure = Refused("unavailable", "The database is away.")
    world.log.gate.set()
    await world.quiet()
    assert client.answer(request_id).code == "unavailable"
    world.log.failure, world.log.gate = None, None
    assert (await world.listen(client, NAME, since=at(world, 0))).verdict == "recovered"


async def test_a_log_behind_the_broker_is_waited_for(world: World, heard: type[Heard]) -> None:
    """A replica that has not got yet what the broker brought: no gap, and no busy loop."""
    await world.listener(NAME, "bob")
    for n in range(3):
        world.publish(NAME, {"n": n, "text": "x" * 60_000})
    await world.quiet()
    assert world.hub.channels[NAME].oldest() > 1
    world.log.visible[NAME] = 0
    since = at(world, 0)
    client = await world.connect()
    client.ask(f.Subscribe, channel=NAME, since=since)
    await world.after(0.06)
    reads = world.log.reads
    del world.log.visible[NAME]
    await world.after(0.1)
    told = heard(NAME).take(client.frames(), since)
    assert (told.offsets, told.missed) == ([1, 2, 3], [])
    assert reads < 10


async def test_a_log_that_stays_behind_costs_a_gap(world: World, heard: type[Heard]) -> None:
    """What cannot be had is told, and the remembered events follow."""
    await world.listener(NAME, "bob")
    for n in range(3):
        world.publish(NAME, {"n": n, "text": "x" * 60_000})
    await world.quiet()
    world.log.visible[NAME] = 0
    since = at(world, 0)
    client = await world.connect()
    client.ask(f.Subscribe, channel=NAME, since=since)
    await world.after(0.5)
    told = heard(NAME).take(client.frames(), since)
    assert told.position == 3
    assert told.missed == [(0, world.hub.channels[NAME].oldest() - 1)]


async def test_catching_up_waits_for_the_socket(world: World, heard: type[Heard]) -> None:
    """LIM-5: missed events are read and written as the socket drains, in pieces; live ones come behind them."""
    for n in range(30):
        world.log.append(NAME, {"n": n, "text": "x" * 20_000})
    client = await world.connect()
    client.pause_at = 2  # `subscribed`, and the first piece
    since = at(world, 0)
    client.ask(f.Subscribe, channel=NAME, since=since)
    await world.quiet()
    assert client.connection.slow
    first = [x.offset for x in client.new(f.Event)]
    assert 0 < len(first) < 30
    assert max(map(len, client.writes)) < 100_000
    world.publish(NAME)
    await world.quiet()
    assert client.new() == []
    for _ in range(20):
        client.pause_at = 1
        client.resume()
        await world.quiet()
    client.resume()
    await world.quiet()
    told = heard(NAME).take(client.frames(), since)
    assert told.offsets == list(range(1, 32))
    assert told.missed == []


async def test_a_log_that_begins_anew_while_catching_up_resets(world: World, heard: type[Heard]) -> None:
    """GAP-6: the rest of the old log does not come, and the new one begins behind a reset."""
    for n in range(30):
        world.log.append(NAME, {"n": n, "text": "x" * 20_000})
    client = await world.connect()
    client.pause_at = 2
    since = at(world, 0)
    client.ask(f.Subscribe, channel=NAME, since=since)
    await world.quiet()
    world.log.renew(NAME)
    world.publish(NAME)
    await world.quiet()
    client.resume()
    await world.quiet()
    world.publish(NAME)
    await world.quiet()
    told = heard(NAME).take(client.frames(), since)
    assert (told.epoch, told.position, len(told.epochs)) == (world.log.epoch(NAME), 2, 2)


async def test_events_trimmed_while_catching_up_are_a_gap(world: World, heard: type[Heard]) -> None:
    """GAP-3: `trimmed`, after a `recovered` that was true when it was given."""
    for n in range(30):
        world.log.append(NAME, {"n": n, "text": "x" * 20_000})
    client = await world.connect()
    client.pause_at = 2
    since = at(world, 0)
    client.ask(f.Subscribe, channel=NAME, since=since)
    await world.quiet()
    for n in range(200):
        world.publish(NAME, {"n": n, "text": "x" * 20_000})
    await world.quiet()
    world.log.trim(NAME, 150)
    client.resume()
    await world.quiet()
    told = heard(NAME).take(client.frames(), since)
    assert told.position == 230
    ((_, to),) = told.missed
    assert to == 149


async def test_unsubscribing_while_catching_up_stops_it(world: World) -> None:
    """UNSUB: nothing more comes, and nobody is left at the channel."""
    for n in range(30):
        world.log.append(NAME, {"n": n, "text": "x" * 20_000})
    client = await world.connect()
    client.pause_at = 2
    client.ask(f.Subscribe, channel=NAME, since=at(world, 0))
    await world.quiet()
    client.ask(f.Unsubscribe, channel=NAME)
    client.new()
    client.resume()
    await world.quiet()
    assert client.new() == []
    assert world.hub.channels[NAME].vacant()


async def test_a_connection_that_is_lost_while_catching_up_leaves_nothing(world: World) -> None:
    """Nobody waits for its socket for ever."""
    for n in range(30):
        world.log.append(NAME, {"n": n, "text": "x" * 20_000})
    client = await world.connect()
    client.pause_at = 2
    client.ask(f.Subscribe, channel=NAME, since=at(world, 0))
    await world.quiet()
    client.lose()
    await world.quiet()
    assert world.hub.channels[NAME].vacant()


async def test_a_subscription_that_is_replaced_while_it_begins(world: World) -> None:
    """UNSUB-3: the first one's answers are void; the second is served, and the channel is not forgotten."""
    client = await world.connect()
    world.relay.gate = asyncio.Event()
    first = client.ask(f.Subscribe, channel=NAME)
    await world.quiet()
    client.ask(f.Unsubscribe, channel=NAME)
    second = client.ask(f.Subscribe, channel=NAME)
    await world.quiet()
    world.relay.gate.set()
    await world.quiet()
    assert client.answer(first).code == "cancelled"
    assert client.answer(second).verdict == "new"
    world.publish(NAME)
    await world.quiet()
    assert [x.offset for x in client.new(f.Event)] == [1]
    assert world.hub.channels[NAME].starting is None


async def test_all_clients_of_a_user_are_told_on_their_own_channel(world: World) -> None:
    """`user:<id>` is heard on each of the user's connections, and by nobody else."""
    mine = [await world.connect("alice", codec) for codec in (JSON, MSGPACK)]
    other = await world.connect("bob")
    world.publish("user:alice")
    await world.quiet()
    assert [[x.channel for x in client.new()] for client in (*mine, other)] == [["user:alice"], ["user:alice"], []]


async def test_a_token_and_an_own_channel_that_are_known_leave_no_task(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who comes back where nothing must be waited for is answered in the same read, by one write."""
    await world.connect()
    principal = Principal(user="alice", id="user:alice")
    monkeypatch.setattr(world.authenticator, "at_once", lambda token: principal)
    spawned: list[Any] = []
    monkeypatch.setattr(world.hub, "spawn", spawned.append)
    client = world.door()
    client.send(f.Connect(id=1, token="alice"))
    assert [type(frame) for frame in client.new()] == [f.Connected, f.Subscribed]
    assert len(client.writes) == 1
    assert not spawned
    assert world.hub.subscriptions == 2


async def test_an_own_channel_that_cannot_be_heard_is_refused(world: World) -> None:
    """Who comes while the log does not answer is connected, and told that the own channel is not."""
    world.log.failure = Refused("unavailable", "The log is gone.")
    client = await world.connect("carol")
    await world.quiet()
    ended = [frame for frame in client.frames() if isinstance(frame, f.Unsubscribed)]
    assert [(frame.channel, frame.code) for frame in ended] == [("user:carol", "unavailable")]
    assert world.hub.subscriptions == 0


async def test_an_own_channel_is_resumed_from_its_log(world: World) -> None:
    """What a user missed on the own channel comes also where the channel is not listened to yet."""
    for _ in range(2):
        world.log.append("user:dave")
    client = world.door()
    client.send(f.Connect(id=1, token="dave", resume={"user:dave": at(world, 0, "user:dave")}))
    await world.quiet()
    frames = client.new()
    assert [type(frame) for frame in frames] == [f.Connected, f.Subscribed, f.Event, f.Event]
    assert isinstance(frames[1], f.Subscribed)
    assert (frames[1].verdict, frames[1].offset) == ("recovered", 2)


async def test_all_who_wait_for_their_own_channels_begin_when_those_are_ready(world: World) -> None:
    """Channels that open in one tick are asked for together; who comes later waits for the same."""
    world.log.gate = asyncio.Event()
    early = [await world.connect(user) for user in ("alice", "bob")]
    late = await world.connect("alice")
    world.log.gate.set()
    await world.quiet()
    listening = {name: set(channel.listeners()) for name, channel in world.hub.channels.items()}
    assert listening["user:alice"] == {early[0].connection, late.connection}
    assert listening["user:bob"] == {early[1].connection}


async def test_own_channels_whose_log_cannot_be_read_are_refused(world: World) -> None:
    """All that were asked for together are, and the next time is another try."""
    world.log.failure = Refused("unavailable", "The store is away.")
    clients = [await world.connect(user) for user in ("alice", "bob")]
    await world.quiet()
    assert not any(client.connection.session.subscriptions for client in clients)
    world.log.failure = None
    later = await world.connect("alice")
    await world.quiet()
    assert world.hub.channels["user:alice"].has(later.connection)
