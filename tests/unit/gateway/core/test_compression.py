"""Compression behind the doors: one compressed frame per event and encoding, for all who agreed, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backchannel.gateway import connection, delivery
from backchannel.gateway.deflate import deflated
from backchannel_protocol import JSON, MSGPACK, Codec
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Client, Heard, MakeWorld, World

LOBBY = "chat:lobby"
TEXT = "the same words again and again, " * 20
RSV1 = 0x40


async def listener(world: World, user: str, codec: Codec, compress_from: int, channel: str = LOBBY) -> Client:
    """A client that agreed to compression, or, with 0, did not."""
    world.compress_from = compress_from
    return await world.listener(channel, user, codec)


async def mixture(world: World, of_each: int) -> dict[tuple[Codec, int], list[Client]]:
    """Listeners of every kind."""
    kinds = [(codec, compress_from) for codec in (JSON, MSGPACK) for compress_from in (0, 100)]
    return {
        (codec, compress_from): [
            await listener(world, f"{codec.name}{compress_from}{n}", codec, compress_from) for n in range(of_each)
        ]
        for codec, compress_from in kinds
    }


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The frames that were given to the compressor, in order."""
    seen: list[bytes] = []

    def counted(framed: bytes, least: int) -> bytes:
        seen.append(framed)
        return deflated(framed, least)

    monkeypatch.setattr(delivery, "deflated", counted)
    monkeypatch.setattr(connection, "deflated", counted)
    return seen


async def test_an_event_is_compressed_once_per_encoding(world: World, compressed: list[bytes]) -> None:
    """However many agreed: all of an encoding get one object, and those who did not agree get the plain one."""
    clients = await mixture(world, 5)
    compressed.clear()
    for _ in range(3):
        world.publish(LOBBY, {"text": TEXT})
    await world.quiet()
    assert len(compressed) == 3 * 2
    writes = {}
    for kind, of_kind in clients.items():
        writes[kind] = of_kind[0].writes[-1]
        assert all(client.writes[-1] is writes[kind] for client in of_kind)
        for client in of_kind:
            events = client.new(f.Event)
            assert [event.offset for event in events] == [1, 2, 3]
            assert all(client.codec.decode_any(event.data) == {"text": TEXT} for event in events)
        assert bool(writes[kind][0] & RSV1) is bool(kind[1])
    for codec in (JSON, MSGPACK):
        assert len(writes[codec, 100]) < len(writes[codec, 0]) / 3


async def test_nothing_is_compressed_for_nobody(world: World, compressed: list[bytes], codec: Codec) -> None:
    """As long as nobody who listens agreed, neither the compressor nor a set for such listeners is there."""
    await listener(world, "elsewhere", codec, 1, "few:a")
    plain = await listener(world, "plain", codec, 0)
    compressed.clear()
    world.publish(LOBBY, {"text": TEXT})
    await world.quiet()
    assert plain.new(f.Event)
    assert compressed == []
    assert world.hub.channels[LOBBY].deflated is None


async def test_what_is_short_is_sent_plain(world: World, codec: Codec) -> None:
    """The threshold is in bytes of the message."""
    client = await listener(world, "alice", codec, 300)
    for text, is_compressed in ((TEXT, True), ("short", False), (TEXT[:280], True), (TEXT[:120], False)):
        world.publish(LOBBY, {"text": text})
        await world.quiet()
        assert bool(client.writes[-1][0] & RSV1) is is_compressed, text


async def test_replies_are_compressed_one_by_one(world: World, compressed: list[bytes], codec: Codec) -> None:
    """What only one connection gets is compressed above the threshold too; pings and short answers never are."""
    client = await listener(world, "alice", codec, 200)
    compressed.clear()
    request_id = client.ask(f.Call, name="message.list", data={"n": 1})
    await world.quiet()
    world.relay.answer(world.relay.requests[-1], {"text": TEXT})
    await world.quiet()
    assert client.writes[-1][0] & RSV1
    assert client.codec.decode_any(client.answer(request_id).data) == {"text": TEXT}
    assert len(compressed) == 1
    await world.after(60.0)
    assert not any(write[0] & RSV1 for write in client.writes[-2:])


async def test_the_senders_own_event_names_its_key(world: World, codec: Codec) -> None:
    """A compressing sender learns its key, and the compressed frame of the others does not have it."""
    own = await listener(world, "alice", codec, 100)
    other = await listener(world, "bob", codec, 100)
    world.publish(LOBBY, {"text": TEXT}, user="alice", key="key-1")
    await world.quiet()
    assert [event.key for event in own.new(f.Event)] == ["key-1"]
    assert [event.key for event in other.new(f.Event)] == [None]
    assert own.writes[-1][0] & other.writes[-1][0] & RSV1


async def test_recovered_events_are_compressed(world: World, heard: type[Heard], codec: Codec) -> None:
    """Who comes back gets what it missed in compressed form, then what follows, without a hole."""
    for _ in range(4):
        world.publish(LOBBY, {"text": TEXT})
    await world.quiet()
    world.compress_from = 100
    client = await world.connect("alice", codec)
    epoch = world.log.epoch(LOBBY)
    client.ask(f.Subscribe, channel=LOBBY, since=f.Position(epoch, 1))
    await world.quiet()
    world.publish(LOBBY, {"text": TEXT})
    await world.quiet()
    assert sum(write[0] & RSV1 > 0 for write in client.writes) >= 2
    assert heard(LOBBY).take(client.frames(), f.Position(epoch, 1)).offsets == [2, 3, 4, 5]


async def test_slow_and_gone_listeners(world: World, heard: type[Heard], codec: Codec) -> None:
    """Those who agreed leave and re-enter the fast sets, and the channel, like all others."""
    client = await listener(world, "alice", codec, 100, "skip:a")
    gone = await listener(world, "bob", codec, 100, "skip:a")
    channel = world.hub.channels["skip:a"]
    client.pause()
    client.waiting = world.gateway.max_queued - 1
    world.publish("skip:a", {"text": TEXT})
    await world.quiet()
    assert channel.listeners() == [gone.connection, client.connection]
    client.resume()
    gone.ask(f.Unsubscribe, channel="skip:a")
    await world.quiet()
    world.publish("skip:a", {"text": TEXT})
    await world.quiet()
    told = heard("skip:a").take(client.frames())
    assert (told.missed, told.offsets) == ([(0, 1)], [2])
    assert channel.listeners() == [client.connection]
    client.lose()
    await world.quiet()
    assert channel.vacant()


async def test_many_kinds_hear_the_same_in_one_order(make_world: MakeWorld, heard: type[Heard]) -> None:
    """Across slices and ticks, with messages above and below the threshold."""
    world = await make_world()
    clients = [client for of_kind in (await mixture(world, 40)).values() for client in of_kind]
    sizes = [0, 5, 30, 1, 12, 0, 40]
    for size in sizes:
        world.publish(LOBBY, {"text": "words and words " * size})
        world.publish(LOBBY, {"text": "x"})
        await world.until(lambda: True)
    await world.after(0.01)
    texts = [text for size in sizes for text in ("words and words " * size, "x")]
    for client in clients:
        frames = client.frames()
        assert heard(LOBBY).take(frames).offsets == list(range(1, len(texts) + 1))
        got = [client.codec.decode_any(x.data)["text"] for x in frames if isinstance(x, f.Event)]
        assert got == texts
