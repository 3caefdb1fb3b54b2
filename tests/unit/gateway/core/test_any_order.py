"""The hub, whatever comes in whatever order: each listener hears each offset once, or is told the gap."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from backchannel_protocol import JSON, MSGPACK
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.gateway.core.conftest import Client, Heard, World

OnVirtualTime = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
NewWorld = Callable[..., "World"]


steps = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 4)),
    st.tuples(st.just("bring"), st.lists(st.integers(0, 200), max_size=6)),
    st.tuples(st.just("time"), st.sampled_from([0.0, 0.0, 0.03, 0.06, 0.2])),
    st.tuples(st.just("trim"), st.integers(0, 3)),
    st.tuples(st.just("lag"), st.integers(0, 3)),
    st.tuples(st.just("renew"), st.just(0)),
    st.tuples(st.just("join"), st.booleans()),
    st.tuples(st.just("slow"), st.booleans()),
)


@settings(max_examples=200, deadline=None)
@given(script=st.lists(steps, max_size=40), durable=st.booleans())
def test_every_listener_hears_every_offset_once_or_is_told_the_gap(
    on_virtual_time: OnVirtualTime,
    new_world: NewWorld,
    heard: type[Heard],
    script: list[tuple[str, Any]],
    durable: bool,
) -> None:
    """P3: events lost, doubled, early and late, a log that lags, is trimmed or begins anew, listeners that join at any
    time and stop reading: each hears the offsets in order, each once, or a gap that covers what is missing."""
    name = "skip:a" if durable else "state:a"

    async def run() -> None:
        world = new_world()
        published: list[Any] = []
        clients: list[tuple[Client, f.Position | None]] = [
            (await world.connect("u0"), None),
            (await world.connect("u1", MSGPACK), None),
        ]
        for client, _ in clients:
            client.ask(f.Subscribe, channel=name)
        await world.quiet()
        if durable:
            # The broker brings what the script says, and nothing by itself.
            world.broker._listening.clear()
        for action, value in script:
            if action == "publish":
                for _ in range(value):
                    if durable:
                        published.append(world.log.append(name, subject="s"))
                    else:
                        await world.emit(name, subject=f"s{value}")
            elif action == "bring":
                world.hub.receive([published[n % len(published)] for n in value if published])
            elif action == "time":
                await world.after(value)
            elif action == "trim" and durable:
                world.log.trim(name, max(world.log.first.get(name, 1), len(world.log.events.get(name, [])) + 1 - value))
            elif action == "lag" and durable:
                world.log.visible[name] = max(0, len(world.log.events.get(name, [])) - value)
            elif action == "renew":
                world.forget(name)
            elif action == "join":
                channel = world.hub.channels[name]
                since = f.Position(channel.epoch, max(0, channel.offset - 3)) if value else None
                client = await world.connect(f"u{len(clients)}", JSON if value else MSGPACK)
                client.ask(f.Subscribe, channel=name, since=since)
                clients.append((client, since))
                if durable:
                    world.broker._listening.clear()
            elif action == "slow":
                client, _ = clients[0]
                if value and not client.connection.slow:
                    client.waiting = 600_000
                    client.pause()
                elif not value and client.connection.slow:
                    client.resume()
        world.log.visible.clear()
        if clients[0][0].connection.slow:
            clients[0][0].resume()
        await world.after(6.0)
        if durable:
            head = world.log._head(name)
        else:
            head = await world.broker.head(name)
            world.hub._lost()
            await world.after(1.0)
        for client, since in clients:
            listener = heard(name).take(client.frames(), since)
            assert not listener.over
            assert (listener.epoch, listener.position) == (head.epoch, head.offset)
        await world.close()

    with capture_logs():
        on_virtual_time(run)


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(8)), lost=st.sets(st.integers(0, 7)), doubled=st.lists(st.integers(0, 7)))
def test_whatever_the_order_a_whole_log_leaves_no_gap(
    on_virtual_time: OnVirtualTime,
    new_world: NewWorld,
    heard: type[Heard],
    order: list[int],
    lost: set[int],
    doubled: list[int],
) -> None:
    """On durable channels gaps are none while the log has everything, or answering all with `gap` would pass."""

    async def run() -> None:
        world = new_world()
        client = await world.listener("few:a")
        envelopes = [world.log.append("few:a") for _ in range(8)]
        world.hub.receive([envelopes[n] for n in [*order, *doubled] if n not in lost])
        await world.after(3.0)
        listener = heard("few:a").take(client.frames())
        assert listener.offsets == list(range(1, 9))
        assert listener.missed == []
        await world.close()

    on_virtual_time(run)
